"""Several objectives without weights: fronts, crowding, and the volume that a set dominates.

Higher is better in each objective. A point dominates another if it is no worse in any objective and
better in one. ``fronts`` is for many small sets at once, ``pareto_fronts`` for a large one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor

    Values = NDArray[np.float64]

_BLOCK = 256
"""Points compared at a time with those that stand before them."""


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


def pareto_fronts(values: Values, most: int | None = None) -> Values:
    """Front of each point: 0 for those that none dominates, 1 for those left without them, ...

    Non-dominated sorting as in Deb et al. 2002, doi 10.1109/4235.996017, sec. III-A.

    Args:
        values: (P, N).
        most: points to be told apart, None for all; those of fronts beyond them are inf.

    Returns:
        (N,) float64; NaN where a value is NaN.
    """
    import numpy as np

    points = np.asarray(values, dtype=np.float64).T
    fronts = np.full(len(points), np.nan)
    left = np.flatnonzero(~np.isnan(points).any(axis=1))
    left = left[_dominators_first(points[left])]
    front, ranked = 0, len(left)
    fronts[left] = np.inf
    while len(left) and (most is None or ranked - len(left) < most):
        is_first = _on_first_front(points[left])
        fronts[left[is_first]] = front
        left = left[~is_first]
        front += 1
    return fronts


def hypervolume(values: Values, reference: Values) -> float:
    """Volume of what a set of points dominates above a reference point.

    Exact: what each point adds to those after it, one objective less at a time (While et al. 2012,
    "A fast way of calculating exact hypervolumes", doi 10.1109/TEVC.2010.2077298).

    Args:
        values: (P, N); a point with a NaN, or below the reference in an objective, adds nothing.
        reference: (P,).
    """
    import numpy as np

    points = np.asarray(values, dtype=np.float64).T - np.asarray(reference, dtype=np.float64)
    return _volume(points[(points > 0).all(axis=1)])


def _volume(points: Values) -> float:
    """Volume between 0 and (N, P) points above 0."""
    if len(points) == 0:
        return 0.0
    if points.shape[1] == 1:
        return float(points.max())
    points = points[_dominators_first(points)]
    points = points[_on_first_front(points)]
    if points.shape[1] == 2:  # from right to left, and so from low to high
        import numpy as np

        return float((points[:, 0] * np.diff(points[:, 1], prepend=0.0)).sum())
    points = points[points[:, -1].argsort(kind="stable")]
    total = 0.0
    for place, point in enumerate(points):
        # Those after it are no lower in the last objective.
        shared = points[place + 1 :, :-1].clip(max=point[:-1])
        total += float(point[-1]) * (float(point[:-1].prod()) - _volume(shared))
    return total


def _dominators_first(points: Values) -> NDArray[np.int64]:
    """An order of (N, P) points in which whatever dominates a point stands before it."""
    import numpy as np

    return np.lexsort(points.T[::-1])[::-1]


def _on_first_front(points: Values) -> NDArray[np.bool_]:
    """Which of (N, P) points no other dominates; dominators stand before what they dominate."""
    import numpy as np

    kept = points[:0]
    is_first = np.zeros(len(points), dtype=bool)
    for start in range(0, len(points), _BLOCK):
        block = points[start : start + _BLOCK]
        rivals = np.concatenate([kept, block])
        no_worse = np.all(rivals[None] >= block[:, None], axis=2)
        better = np.any(rivals[None] > block[:, None], axis=2)
        own = ~np.any(no_worse & better, axis=1)
        is_first[start : start + _BLOCK] = own
        kept = np.concatenate([kept, block[own]])
    return is_first
