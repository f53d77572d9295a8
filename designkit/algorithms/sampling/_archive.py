"""The best distinct sequences of populations."""

from __future__ import annotations

from typing import TYPE_CHECKING

from designkit.algorithms.sampling._guided import BestDecoded
from designkit.algorithms.sampling.base import Request, without_nan
from designkit.distinct import first_equal

if TYPE_CHECKING:
    from torch import Tensor

_EMPTY = -1
"""Token of places that hold no sequence."""


def repeated(tokens: Tensor) -> Tensor:
    """Whether one before it in its population is the same, (P, N) bool, of sequences (P, N, L)."""
    import torch

    populations, count, _ = tokens.shape
    number = torch.arange(populations * count, device=tokens.device)
    owned = torch.cat([number[:, None] // count, tokens.flatten(0, 1)], dim=1)
    return (first_equal(owned) != number).view(populations, count)


def ranked(keys: Tensor) -> Tensor:
    """Places from the highest key to the lowest, the first of equals first, along the last axis."""
    return keys.argsort(dim=-1, descending=True, stable=True)


class Archive:
    """The best distinct clean sequences that were scored for each of P populations.

    Sequences without a score rank below all others.

    Args:
        like: (P * size,) int64 on the device of the designs, population by population.
        size: sequences to keep of each population.
        request: what breaks its constraints ranks as without a score.
        objectives: rewards of a sequence, O.

    Attributes:
        tokens: (P, size, L) int64, best first; -1 in places that are empty yet.
        rewards: (P, size, O) float64; -inf in empty places, the lowest number for "no score".
    """

    def __init__(self, like: Tensor, size: int, request: Request, objectives: int = 1):
        import torch

        self._guard = request.guard
        self.tokens = like.new_full((len(like) // size, size, request.length), _EMPTY)
        shape = (*self.tokens.shape[:2], objectives)
        self.rewards = torch.full(shape, -torch.inf, dtype=torch.float64, device=like.device)

    def add(self, rows: Tensor, tokens: Tensor, rewards: Tensor) -> None:
        """Note N scored sequences.

        Args:
            rows: (N,) the design that each was scored for.
            tokens: (N, L).
            rewards: (N,); NaN or -inf for "no score".
        """
        import torch

        populations, size, length = self.tokens.shape
        owner, order = (rows // size).sort(stable=True)
        counts = owner.bincount(minlength=populations)
        most = int(counts.max())
        before = counts.cumsum(0) - counts
        place = owner * most + torch.arange(len(rows), device=rows.device) - before[owner]
        every = tokens.new_full((populations * most, length), _EMPTY)
        scored = torch.full_like(every[:, 0], -torch.inf, dtype=torch.float64)
        every[place], scored[place] = tokens[order], rewards[order]
        self.merge(every.view(populations, most, length), scored.view(populations, most, 1))

    def merge(self, tokens: Tensor, rewards: Tensor) -> None:
        """Note n sequences (P, n, L) of each population, with their rewards (P, n, O).

        Args:
            tokens: -1 for places that are none.
            rewards: NaN or -inf for "no score".
        """
        import torch

        size = self.tokens.shape[1]
        lowest = torch.finfo(torch.float64).min
        if self._guard is not None:
            holds = self._guard.holds(tokens.clamp(min=0).flatten(0, 1))
            rewards = rewards.where(holds.view(*tokens.shape[:2], 1), -torch.inf)
        rewards = without_nan(rewards).clamp(min=lowest)
        tokens = torch.cat([self.tokens, tokens], dim=1)
        rewards = torch.cat([self.rewards, rewards], dim=1)
        is_none = (tokens[..., 0] == _EMPTY) | repeated(tokens)
        order = self.order(rewards, is_none)[:, :size, None]
        self.rewards = rewards.masked_fill(is_none[..., None], -torch.inf).gather(
            1, order.expand(-1, -1, rewards.shape[2])
        )
        self.tokens = tokens.gather(1, order.expand(-1, -1, tokens.shape[2]))
        self.tokens = self.tokens.where(~self.rewards[..., :1].isneginf(), _EMPTY)

    def order(self, rewards: Tensor, is_none: Tensor) -> Tensor:
        """Places (P, n) of sequences from the best to the worst.

        Args:
            rewards: (P, n, O).
            is_none: (P, n) bool, places that hold no sequence, or one again: they come last.
        """
        return ranked(rewards[..., 0].masked_fill(is_none, -float("inf")))

    def filled(self) -> Tensor:
        """The best sequences (P * size, L); the very best again where fewer have a score."""
        import torch

        is_scored = self.rewards[..., 0] > torch.finfo(torch.float64).min
        return self.tokens.where(is_scored[..., None], self.tokens[:, :1]).flatten(0, 1)

    def instead_of(self, tokens: Tensor) -> Tensor:
        """The best sequences (P * size, L); ``tokens`` where there are fewer."""
        found = self.tokens.flatten(0, 1)
        is_none = found[:, :1] == _EMPTY
        if self._guard is not None:
            is_none = is_none | ~self._guard.holds(found.clamp(min=0))[:, None]
        return tokens.where(is_none, found)


class DistinctBest:
    """The best sequence that was scored for each design, no two of a population the same.

    A design whose best is another's too gets the best sequence of the population that is none's.

    Args:
        like: (P * size,) int64 on the device of the designs, population by population.
        size: designs of a population.
        request: what breaks its constraints is not kept.
    """

    def __init__(self, like: Tensor, size: int, request: Request):
        self._own = BestDecoded(like, request)
        self._all = Archive(like, size, request)

    def add(self, rows: Tensor, tokens: Tensor, rewards: Tensor) -> None:
        """See ``Archive.add``."""
        self._own.add(rows, tokens, rewards)
        self._all.add(rows, tokens, rewards)

    def instead_of(self, tokens: Tensor) -> Tensor:
        """The best sequences (P * size, L); of designs for which none has a score, ``tokens``."""
        import torch

        populations, size, length = self._all.tokens.shape
        own = self._own.instead_of(tokens).view(populations, size, length)
        everything = torch.cat([own, self._all.tokens], dim=1)
        again = repeated(everything)
        again[:, size:] |= self._all.rewards[..., 0] <= torch.finfo(torch.float64).min
        order = ranked(-again.double())[:, :size]
        kept = everything.gather(1, order[..., None].expand(-1, -1, length))
        return kept.flatten(0, 1)
