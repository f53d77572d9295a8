"""The law of one step of the reverse process, and draws from it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

    from designkit.randomness import Noise


@dataclass(frozen=True)
class Transition:
    """The law of one step: independent letters at the positions that it may change.

    Attributes:
        positions: (A, P) int64.
        probs: (A, P, K) probabilities of the letters there.
        open: (A, P) bool; False for places that only fill the row up.
    """

    positions: Tensor
    probs: Tensor
    open: Tensor

    def draw(self, noise: Noise, candidates: int, purpose: str = "token") -> Tensor:
        """Letters of each candidate, (A, candidates, P) int64.

        Args:
            noise: of the A rows at this step.
            candidates: M.
            purpose: of the noise; for steps that are only tried.
        """
        uniform = noise.uniform(purpose, self.positions, candidates)
        return categorical(self.probs[:, None].expand(-1, candidates, -1, -1), uniform)

    def write(self, x_t: Tensor, letters: Tensor) -> Tensor:
        """States (A, L) with the letters (A, M, P) of each candidate put in, (A, M, L)."""
        candidates = letters.shape[1]
        kept = x_t.gather(1, self.positions)[:, None]
        children = x_t[:, None].repeat(1, candidates, 1)
        index = self.positions[:, None].expand(-1, candidates, -1)
        return children.scatter(2, index, letters.where(self.open[:, None], kept))

    def log_prob(self, letters: Tensor) -> Tensor:
        """Log-probability of the letters (A, M, P) of each candidate, (A, M) float64."""
        logs = self.probs.double().log()[:, None].expand(-1, letters.shape[1], -1, -1)
        taken = logs.gather(-1, letters[..., None]).squeeze(-1)
        return taken.where(self.open[:, None], 0.0).sum(-1)

    def tilted(self, log_factors: Tensor) -> Transition:
        """The law times exp(log_factors), (A, P, K), normalised over the letters."""
        return replace(self, probs=_tilted(self.probs, log_factors))

    def tilted_guess(self, log_factors: Tensor) -> Transition:
        """The law that follows from the guess of clean letters times exp(log_factors), normalised.

        Where letters stay once they are drawn that is the law times the same.
        """
        return self.tilted(log_factors)


@dataclass(frozen=True)
class Revision(Transition):
    """The law of a step after which letters may change again: it follows from a guess.

    Attributes:
        guess: (A, P, K) of the clean letters.
        law: gives ``probs`` of a guess.
        log_factors: (A, P, K) of letters by which the law was tilted; None for none.
    """

    guess: Tensor
    law: Callable[[Tensor], Tensor]
    log_factors: Tensor | None = None

    def tilted(self, log_factors: Tensor) -> Transition:
        """See ``Transition.tilted``; another guess will be tilted in the same way."""
        before = self.log_factors
        every = log_factors if before is None else before + log_factors
        return replace(self, probs=_tilted(self.probs, log_factors), log_factors=every)

    def tilted_guess(self, log_factors: Tensor) -> Transition:
        """See ``Transition.tilted_guess``."""
        return self.of_guess(_tilted(self.guess, log_factors))

    def of_guess(self, guess: Tensor) -> Transition:
        """The law that follows from another guess (A, P, K), tilted as this one is."""
        made = replace(self, guess=guess, probs=self.law(guess), log_factors=None)
        return made if self.log_factors is None else made.tilted(self.log_factors)


def _tilted(probs: Tensor, log_factors: Tensor) -> Tensor:
    """Probabilities (A, P, K) times exp(log_factors), normalised, in float64."""
    factors = (log_factors - log_factors.amax(-1, keepdim=True)).exp()
    weights = probs.double() * factors
    total = weights.sum(-1, keepdim=True)
    # A factor may be negligible for every letter that has a probability.
    return (weights / total).where(total > 0, probs.double())


def categorical(probs: Tensor, uniform: Tensor) -> Tensor:
    """Tokens by inversion of the cumulative distribution, in float64.

    Args:
        probs: (..., K) non-negative weights, not necessarily normalised, not all zero.
        uniform: (...) numbers in (0, 1).

    Returns:
        (...) int64 tokens in 0..K-1; a token of probability 0 is never returned.
    """
    cumulative = probs.double().cumsum(-1)
    threshold = uniform[..., None] * cumulative[..., -1:]
    return (cumulative <= threshold).sum(-1)
