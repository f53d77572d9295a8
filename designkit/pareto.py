"""Several objectives without weights: fronts, crowding, and the volume that a set dominates.

Points are the columns of (P, N) arrays, P objectives, higher is better in each. One dominates
another if it is no worse in any objective and better in one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Values = NDArray[np.float64]

_BLOCK = 256
"""Points compared at a time with those that stand before them."""


def pareto_fronts(values: Values) -> Values:
    """Front of each point: 0 for those that none dominates, 1 for those left without them, ...

    Non-dominated sorting as in Deb et al. 2002, doi 10.1109/4235.996017, sec. III-A.

    Args:
        values: (P, N).

    Returns:
        (N,) float64; NaN where a value is NaN.
    """
    import numpy as np

    points = np.asarray(values, dtype=np.float64).T
    fronts = np.full(len(points), np.nan)
    left = np.flatnonzero(~np.isnan(points).any(axis=1))
    left = left[_dominators_first(points[left])]
    front = 0
    while len(left):
        is_first = _on_first_front(points[left])
        fronts[left[is_first]] = front
        left = left[~is_first]
        front += 1
    return fronts


def crowding(values: Values) -> Values:
    """How far the neighbours of each point of a front are from each other, (N,) float64.

    The sum over objectives of the distance between the next lower and the next higher value, as a
    share of the range; inf at the ends of an objective (Deb et al. 2002, sec. III-B).

    Args:
        values: (P, N) finite.
    """
    import numpy as np

    values = np.asarray(values, dtype=np.float64)
    distance = np.zeros(values.shape[1])
    for own in values:
        order = np.argsort(own, kind="stable")
        ordered = own[order]
        spread = ordered[-1] - ordered[0] if len(own) else 0.0
        if spread > 0:
            distance[order[1:-1]] += (ordered[2:] - ordered[:-2]) / spread
            distance[order[[0, -1]]] = np.inf
    return distance


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
