"""Several wanted values as one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from designkit.errors import UsageError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor

_SMALLEST = 1e-12
Aggregation = Literal["sum", "product", "geometric_mean", "min", "pareto"]


def aggregate(kind: Aggregation, values: Tensor, weights: Tensor) -> Tensor:
    """One number for each sequence; NaN where a part has none; autograd, except for ``pareto``.

    ``sum`` is ``sum w_i v_i``, ``product`` is ``prod v_i^w_i``, ``geometric_mean`` is the product
    to the power ``1 / sum w_i``, ``min`` is ``min w_i v_i``, and ``pareto`` is minus the number of
    the non-dominated front (Deb et al. 2002, NSGA-II), 0 for sequences that none surpasses.

    Args:
        kind: how.
        values: (P, N), higher is better.
        weights: (P,), above 0 for all but ``sum``.

    Raises:
        UsageError: a product of negative values.
    """
    import torch

    if kind == "sum":
        return (weights[:, None] * values).sum(0)
    if kind == "min":
        return (weights[:, None] * values).amin(0)  # NaN wins
    if kind == "pareto":
        fronts = pareto_fronts(values.detach().cpu().numpy())
        return 0.0 - torch.from_numpy(fronts).to(values)
    if bool((values < 0).any()):
        raise UsageError(
            f"aggregation {kind} needs values of 0 or more, found {float(values[values < 0][0]):g};"
            " give the rewards a transform such as sigmoid(low=...,high=...), or use sum"
        )
    if values.requires_grad:  # the slope of a root is infinite at 0
        values = values.clamp(min=_SMALLEST)
    powers = weights if kind == "product" else weights / weights.sum()
    return (values ** powers[:, None]).prod(0)


def pareto_fronts(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Front of each of N points in P values, higher is better: 0 for the non-dominated, then 1, ...

    A point is dominated by one that is no worse in any value and better in one. NaN stays NaN.

    Args:
        values: (P, N).
    """
    import numpy as np

    points = np.asarray(values, dtype=np.float64).T
    fronts = np.full(len(points), np.nan)
    left = np.flatnonzero(~np.isnan(points).any(axis=1))
    # Whatever dominates a point stands before it in this order.
    left = left[np.lexsort(points[left].T[::-1])[::-1]]
    front = 0
    while len(left):
        kept: list[int] = []
        for row in left.tolist():
            earlier = points[kept]
            no_worse = (earlier >= points[row]).all(axis=1)
            if not (no_worse & (earlier > points[row]).any(axis=1)).any():
                kept.append(row)
        fronts[kept] = front
        left = left[np.isnan(fronts[left])]
        front += 1
    return fronts
