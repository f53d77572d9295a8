"""The network of ``base_pairs``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from designkit.dot_bracket import partners
from designkit.errors import UsageError

if TYPE_CHECKING:
    from designkit.models.base_pairs import BasePairsDenoiser

LEAST = 1e-30
"""Stands for the probability of a letter that cannot be, whose logarithm there is not."""


class BasePairsNet(nn.Module):
    """The guess of each base from what is known of its partner.

    Args:
        settings: of the law.

    Attributes:
        partners: (L,) the position that each base pairs with, its own for none.
        groups: (L,) numbers; positions of different ones do not depend on each other.
    """

    partners: Tensor
    groups: Tensor

    def __init__(self, settings: BasePairsDenoiser):
        super().__init__()
        self.law = nn.Parameter(settings.law().float(), requires_grad=False)
        places = torch.tensor(partners(settings.structure))
        groups = torch.minimum(places, torch.arange(len(places)))
        self.share, self.pair = settings.hairpins, settings.pair_law().float()
        self.hairpins = []
        for positions, words in settings.stable_hairpins().values():
            own, letters = torch.tensor(positions), torch.tensor(words)
            self.hairpins.append((own, nn.functional.one_hot(letters, 4).float()))
            groups[own] = own[:, :1]
        self.register_buffer("partners", places, persistent=False)
        self.register_buffer("groups", groups, persistent=False)

    def forward(
        self, x_t: Tensor, t: Tensor, condition: Tensor | None = None, valid: Tensor | None = None
    ) -> Tensor:
        """Logarithms (B, L, 4) of the probabilities.

        Args:
            x_t: (B, L, 5) one-hots, or probabilities of letters, the last one the mask.
            t: (B,) does not matter.
            condition: does not matter.
            valid: does not matter.

        Raises:
            UsageError: sequences of another length than the structure.
        """
        length = self.law.shape[0]
        if x_t.shape[1] != length:
            raise UsageError(
                f"the structure has {length} bases, not {x_t.shape[1]}: its prior writes "
                "sequences of that length alone"
            )
        probs = torch.einsum("blv,lvk->blk", x_t[:, self.partners], self.law)
        for positions, words in self.hairpins:
            own = positions.to(x_t.device)
            probs[:, own] = self._mixed(x_t[:, own], probs[:, own], own, words.to(x_t.device))
        return probs.clamp(min=LEAST).log()

    def _mixed(self, block: Tensor, plain: Tensor, positions: Tensor, words: Tensor) -> Tensor:
        """Guesses (B, H, P, 4) in hairpins that are words with a probability of ``share``.

        Args:
            block: (B, H, P, 5) what is known of them.
            plain: (B, H, P, 4) the guesses if none is a word.
            positions: (H, P).
            words: (W, P, 4) one-hots, equally probable.
        """
        hidden = block[..., 4]
        fit = torch.einsum("bhpk,wpk->bhwp", block[..., :4], words) + hidden[:, :, None]
        match = fit.prod(-1)  # (B, H, W)
        inner = (block[:, :, 1:-1, :4] * self.law[positions[:, 1:-1], 4]).sum(-1)
        loop = (inner + hidden[:, :, 1:-1]).prod(-1)
        pair = self.pair.to(block.device)
        law = nn.functional.pad(pair, (0, 1, 0, 1))
        law[4, :4], law[:4, 4], law[4, 4] = pair.sum(0), pair.sum(1), 1.0
        closing = torch.einsum("bhi,ij,bhj->bh", block[:, :, 0], law, block[:, :, -1])
        of_words = self.share * match.mean(2)
        total = of_words + (1 - self.share) * loop * closing
        weight = (of_words / total.clamp(min=LEAST))[..., None, None]
        letters = torch.einsum("bhw,wpk->bhpk", match, words)
        letters = letters / match.sum(2).clamp(min=LEAST)[..., None, None]
        return weight * letters + (1 - weight) * plain
