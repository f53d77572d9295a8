"""What none surpasses: points of several objectives, higher being better in each."""

from __future__ import annotations

from typing import TYPE_CHECKING

from designkit.algorithms.sampling._archive import Archive, ranked

if TYPE_CHECKING:
    from torch import Tensor


def dominates(points: Tensor) -> Tensor:
    """Whether point i is no worse than point j in any objective and better in one, (..., n, n).

    Args:
        points: (..., n, P).
    """
    first, second = points[..., :, None, :], points[..., None, :, :]
    return (first >= second).all(-1) & (first > second).any(-1)


def fronts(points: Tensor, most: int) -> Tensor:
    """Number (..., n) of the front of each point: 0 for those that none dominates, then 1, ...

    The fronts of the other points once those before are taken away (Deb et al. 2002, doi
    10.1109/4235.996017, NSGA-II).

    Args:
        points: (..., n, P).
        most: points to be told apart; those of fronts beyond them are n.
    """
    above = dominates(points)
    count = points.shape[-2]
    found = above[..., 0].long().fill_(count)
    for front in range(count):
        left = found == count
        if bool(((~left).sum(-1) >= min(most, count)).all()):
            break
        found = found.where(~left | (above & left[..., :, None]).any(-2), front)
    return found


def crowding(points: Tensor, front: Tensor) -> Tensor:
    """How far the neighbours of points in their front are from each other, (..., n).

    The sum over objectives of the distance between the next higher and the next lower point, over
    the range of the front; infinite at its ends (Deb et al. 2002, sec. III.B).

    Args:
        points: (..., n, P).
        front: (..., n) int64.
    """
    import torch

    total = torch.zeros_like(points[..., 0])
    empty = torch.cat([total, total[..., :1]], dim=-1)  # as many as there may be fronts, and one
    for values in points.unbind(-1):
        low, high = (
            empty.fill_(start).scatter_reduce(-1, front, values, kind).gather(-1, front)
            for start, kind in ((torch.inf, "amin"), (-torch.inf, "amax"))
        )
        order = values.argsort(dim=-1, stable=True)
        order = order.gather(-1, front.gather(-1, order).argsort(dim=-1, stable=True))
        ordered, own = values.gather(-1, order), front.gather(-1, order)
        gap = torch.full_like(ordered, torch.inf)
        span = (high - low).nan_to_num(0.0).clamp(min=1e-300).gather(-1, order)[..., 1:-1]
        inner = ((ordered[..., 2:] - ordered[..., :-2]) / span).nan_to_num(0.0)
        gap[..., 1:-1] = inner.where(own[..., 2:] == own[..., :-2], torch.inf)
        total = total.scatter_add(-1, order, gap)
    return total


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
