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
    """

    partners: Tensor

    def __init__(self, settings: BasePairsDenoiser):
        super().__init__()
        self.law = nn.Parameter(settings.law().float(), requires_grad=False)
        places = torch.tensor(partners(settings.structure))
        self.register_buffer("partners", places, persistent=False)

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
        return probs.clamp(min=LEAST).log()
