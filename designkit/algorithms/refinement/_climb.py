"""Laws of independent letters that are moved to where derivatives point."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from designkit.diffusion.base import categorical

if TYPE_CHECKING:
    from torch import Tensor

    from designkit.algorithms.sampling._constrained_draw import Guard
    from designkit.randomness import Noise

_DECAYS = 0.9, 0.999
_LEAST_STEP = 1e-8


@dataclass
class Climb:
    """B laws of L independent letters each, and Adam's moments (Kingma and Ba 2015, 1412.6980).

    Attributes:
        tokens: (B, L) the sequences that they begin at.
        free: (B, L) bool, positions that may change.
        roots: (B, L) first sequences of their lineages; rows of -1 where there is none.
        logits: (B, L, K) float64.
        mean, square: (B, L, K) running means of derivatives and of their squares.
    """

    tokens: Tensor
    free: Tensor
    roots: Tensor
    logits: Tensor
    mean: Tensor
    square: Tensor

    @classmethod
    def start(
        cls, tokens: Tensor, free: Tensor, roots: Tensor, size: int, mutations: float
    ) -> Climb:
        """Laws whose draws differ from sequences in ``mutations`` letters on average.

        Args:
            tokens: (B, L).
            free: (B, L) bool.
            roots: (B, L).
            size: number of letters K.
            mutations: mean number of changes; that of uniform letters at most.
        """
        import torch

        own = torch.nn.functional.one_hot(tokens, size).double()
        # Of what is spread over all letters a share 1 / K falls on the one that is there.
        changes = mutations / free.sum(1).clamp(min=1) * size / max(1, size - 1)
        share = changes.double().clamp(max=1)[:, None, None]
        logits = ((1 - share) * own + share / size).log()
        zeros = torch.zeros_like(logits)
        return cls(tokens, free, roots, logits, zeros, zeros)

    def drawn(
        self, noise: Noise, samples: int, guard: Guard | None, most_edits: int | None
    ) -> Tensor:
        """Sequences (B, samples, L).

        Args:
            noise: of the B laws, in an update.
            samples: of each.
            guard: constraints on letters and words, which all of them satisfy; None for none.
            most_edits: from the roots; None for any number. Where there are more, those stay that
                the law prefers most to the letters of the root; they may break the constraints.
        """
        probs = self.logits.softmax(-1)
        if guard is None:
            uniform = noise.uniform("token", self.tokens.shape[1], samples)
            letters = categorical(probs[:, None].expand(-1, samples, -1, -1), uniform)
            letters = letters.where(self.free[:, None], self.tokens[:, None])
        else:
            letters = guard.draw(self.tokens, probs, self.free, noise, samples)
        if most_edits is None:
            return letters
        return self._within(letters, most_edits, noise)

    def _within(self, letters: Tensor, most: int, noise: Noise) -> Tensor:
        """Sequences (B, S, L) with at most so many edits.

        Those that stay are drawn without repetition, in proportion to their odds.
        """
        import torch

        roots = self.roots[:, None].expand_as(letters)
        changed = (letters != roots) & (roots >= 0)
        log_probs = self.logits.log_softmax(-1)[:, None].expand(*letters.shape, -1)
        own, other = (
            log_probs.gather(-1, some.clamp(min=0)[..., None]).squeeze(-1)
            for some in (letters, roots)
        )
        uniform = noise.uniform("edit", letters.shape[2], letters.shape[1])
        keys = (own - other - (-uniform.log()).log()).masked_fill(~changed, -torch.inf)
        rank = keys.argsort(-1, descending=True).argsort(-1)
        return letters.where(~changed | (rank < most), roots)

    def estimate(self, slopes: Tensor, used: Tensor) -> Tensor:
        """Derivative (B, L, K) of the expected worth of draws by the logits.

        A draw counts as if it were the probabilities (straight-through, Bengio et al. 2013,
        1308.3432): the derivative by these is the mean over draws of that by their letters. It is
        exact for a worth that is a sum over positions.

        Args:
            slopes: (B, S, L, K) derivatives of the worth at the draws.
            used: (B, S) bool, the draws that count.
        """
        weight = used.to(slopes)[..., None, None]
        by_probs = (slopes * weight).sum(1) / weight.sum(1).clamp(min=1)
        probs = self.logits.softmax(-1)
        centred = by_probs - (probs * by_probs).sum(-1, keepdim=True)
        return probs * centred * self.free[..., None]

    def step(self, slopes: Tensor, used: Tensor, update: int, learning_rate: float) -> None:
        """One step of Adam up; laws without a draw that counts stay.

        Args:
            slopes: see ``estimate``.
            used: see ``estimate``.
            update: the number of steps before this one.
            learning_rate: length of a step in a logit, at most.
        """
        change = self.estimate(slopes.double(), used)
        moves = used.any(1)[:, None, None]
        first, second = _DECAYS
        mean = first * self.mean + (1 - first) * change
        square = second * self.square + (1 - second) * change.square()
        self.mean, self.square = mean.where(moves, self.mean), square.where(moves, self.square)
        mean = self.mean / (1 - first ** (update + 1))
        length = (self.square / (1 - second ** (update + 1))).sqrt() + _LEAST_STEP
        self.logits = (self.logits + learning_rate * mean / length).where(moves, self.logits)
