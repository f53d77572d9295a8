"""Sums over all ways of weighted letters through an automaton, for many rows at once.

The forward-backward algorithm, position by position (Rabiner 1989, doi 10.1109/5.18626). Rows are
the last axis of its tensors, so that a step multiplies and adds whole runs of memory.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from designkit.constraints._automaton import Automaton

_LEAST_SUM = 1e-140
"""Of the ways on from a state that has any, relative to the state with the most."""

_BETWEEN_SCALINGS = 8
"""Positions. A letter weighs at least ``LEAST_WEIGHT`` of the heaviest one, and 1e-140 times eight
of these is a number still."""

_NUMBERS = 1 << 16
"""That a step of a scan works on at once, so that they stay in the cache."""

LEAST_WEIGHT = 1e-20
"""Of an allowed letter whose probability is 0, or was rounded to it: drawn where nothing else is
left. Weights are the model's own probability over the proposal's, hence right in any case."""


class Scan:
    """An automaton that reads sequences of one length.

    Weights of letters are (L, K, N) float64 of N rows: 0, or at least ``LEAST_WEIGHT`` times the
    largest of their position.

    Args:
        automaton: that reads them.
        frames: (L,) which of its tables holds at each position.
        device: of the rows.

    Attributes:
        dead: number of the state that is never left, the last; S is the number of the others.
        tables: (2, S + 1, K) int64, the next state of each state and letter.
        rows: how many rows are best scanned at once.
    """

    def __init__(
        self, automaton: Automaton, frames: Sequence[int], device: torch.device | str = "cpu"
    ):
        import torch

        size = len(automaton.tables[0][0])
        self.dead = automaton.states
        rows = [[*table, [-1] * size] for table in automaton.tables]
        self.tables = torch.tensor(rows, device=device) % (self.dead + 1)
        self.rows = max(32, _NUMBERS // self.tables[0].numel())
        self.frames = tuple(frames)
        self._frames = torch.tensor(self.frames, device=device)
        self._flat = tuple(self.tables.flatten(1))

    def log_total(self, weights: Tensor) -> Tensor:
        """Log of the weight (N,) of all sequences that the automaton lives through."""
        weights, log_total = _scaled(weights)
        ahead = self._end(weights)
        for place in reversed(range(len(weights))):
            ahead = self._before(place, ahead, weights[place]).sum(1)
            if place % _BETWEEN_SCALINGS == 0:
                log_total = log_total + _rescale(ahead).log()
        return log_total + ahead[0].log()

    def ahead(self, weights: Tensor) -> Tensor:
        """(L + 1, S + 1, N) the weight of all ways on from each state, before each position.

        Up to a factor of row and position; 0 exactly where there is no way.
        """
        found = weights.new_empty(len(weights) + 1, self.dead + 1, weights.shape[2])
        self._fill_ahead(found, _scaled(weights)[0])
        return found

    def _fill_ahead(self, found: Tensor, weights: Tensor) -> None:
        """``ahead`` of weights whose largest is 1 everywhere, into ``found``."""
        import torch

        places = found.unbind()
        places[-1].copy_(self._end(weights))
        for place in reversed(range(len(weights))):
            ways = self._before(place, places[place + 1], weights[place])
            torch.sum(ways, 1, out=places[place])
            if place % _BETWEEN_SCALINGS == 0:
                _rescale(places[place])

    def _end(self, weights: Tensor) -> Tensor:
        """(S + 1, N) ways on after the last letter: one, unless the automaton is dead."""
        end = weights.new_ones(self.dead + 1, weights.shape[2])
        end[-1] = 0
        return end

    def _before(self, place: int, ahead: Tensor, weights: Tensor) -> Tensor:
        """Ways on by each letter (S + 1, K, N) before a position, by those after it (S + 1, N)."""
        ways = ahead.index_select(0, self._flat[self.frames[place]])
        return ways.view(-1, *weights.shape).mul_(weights)

    def letters(self, weights: Tensor, positions: Tensor) -> Tensor:
        """Weights (N, P, K) of letters over all sequences, up to a factor of row and position.

        Args:
            weights: (L, K, N).
            positions: (N, P) int64 whose letters are asked for.
        """
        import torch

        weights, length = _scaled(weights)[0], len(weights)
        # One block of memory: two are given back and asked for again in every step.
        sums = weights.new_empty(2 * length + 1, self.dead + 1, weights.shape[2])
        ahead, behind = sums[: length + 1], sums[length + 1 :]
        self._fill_ahead(ahead, weights)
        self._fill_behind(behind, weights)
        row = torch.arange(len(positions), device=positions.device)[:, None]
        after, before = ahead[positions + 1, :, row], behind[positions, :, row]  # (N, P, S + 1)
        following = self.tables[self._frames[positions]].flatten(2)
        ways = after.gather(2, following).unflatten(2, self.tables.shape[1:])
        found: Tensor = (before[..., None] * ways).sum(2) * weights[positions, :, row]
        return found

    def _fill_behind(self, found: Tensor, weights: Tensor) -> None:
        """The weight of all ways from the start to each state, before each position.

        Args:
            found: (L, S + 1, N) to be filled, up to a factor of row and position; with anything
                for the state that is dead.
            weights: (L, K, N), the largest 1 everywhere.
        """
        length, _, rows = weights.shape
        found.zero_()
        places = found.unbind()
        places[0][0] = 1
        for place in range(length - 1):
            ways = places[place][:, None] * weights[place]
            flat = self._flat[self.frames[place]]
            places[place + 1].index_add_(0, flat, ways.view(-1, rows))
            if place % _BETWEEN_SCALINGS == 0:
                places[place + 1][-1] = 0
                _rescale(places[place + 1])


def _scaled(weights: Tensor) -> tuple[Tensor, Tensor]:
    """Weights whose largest is 1 at every position, and the log (N,) of what was divided out."""
    top = weights.amax(1, keepdim=True)
    return weights / top.clamp(min=_LEAST_SUM), top.log().sum((0, 1))


def _rescale(sums: Tensor) -> Tensor:
    """Divide sums (S + 1, N) by their largest (N,), in place; what is not 0 stays so."""
    scale = sums.amax(0)
    sums /= scale.clamp(min=_LEAST_SUM)
    sums.copy_(sums.clamp(min=_LEAST_SUM).where(sums > 0, 0.0))
    return scale
