"""Several wanted values as one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from designkit.errors import UsageError
from designkit.pareto import pareto_fronts

if TYPE_CHECKING:
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
