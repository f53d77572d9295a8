"""The clean sequences that none surpasses in several objectives."""

from __future__ import annotations

from typing import TYPE_CHECKING

from designkit.algorithms.sampling._archive import Archive, ranked
from designkit.pareto import crowding, fronts

if TYPE_CHECKING:
    from torch import Tensor


class ParetoArchive(Archive):
    """The distinct clean sequences of each of P populations that none other surpasses.

    Where there are more than it holds, those go on whose neighbours are far; where there are
    fewer, those follow that only they surpass. Sequences without a score come last.

    Args:
        like: (P * size,) int64 on the device of the designs, population by population.
        size: sequences to keep of each population.
        request: what breaks its constraints ranks as without a score.
        objectives: their number.

    Attributes:
        tokens: (P, size, L) int64, the front of all first; -1 in places that are empty yet.
    """

    def order(self, rewards: Tensor, is_none: Tensor) -> Tensor:
        """See ``Archive.order``; by front, and in each by the distance of neighbours."""
        points = rewards.masked_fill(is_none[..., None], -float("inf"))
        front = fronts(points, self.tokens.shape[1])
        found = ranked(crowding(points, front))
        return found.gather(1, front.gather(1, found).argsort(dim=1, stable=True))
