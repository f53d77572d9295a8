"""The objective of several rewards where they are relaxed, and its derivative."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from designkit.rewards._aggregation import Aggregation, aggregate
from designkit.rewards._part import Part

if TYPE_CHECKING:
    from torch import Tensor


def relaxed_objective(
    parts: Sequence[Part], aggregation: Aggregation, probs: Tensor, valid: Tensor | None
) -> Tensor:
    """The objective (N,) of letter probabilities (N, L, K); autograd.

    Args:
        parts: the objectives, all differentiable.
        aggregation: how they become one.
        probs: (N, L, K).
        valid: (N, L) True at positions that exist, None where all do.
    """
    values = [part.reward.score_relaxed(probs, valid) for part in parts]
    return _aggregated(parts, aggregation, values)


def chained_slopes(
    parts: Sequence[Part], aggregation: Aggregation, sequences: list[str], probs: Tensor
) -> Tensor:
    """Derivative (N, L, K) of the objective at sequences, by the chain rule; 0 for "no score".

    Args:
        parts: the objectives, all differentiable.
        aggregation: how they become one.
        sequences: N distinct ones of one length.
        probs: (N, L, K) their one-hots.
    """
    import torch

    found = [part.slopes(sequences, probs) for part in parts]
    with torch.enable_grad():
        values = [torch.from_numpy(value).requires_grad_() for value, _ in found]
        total = _aggregated(parts, aggregation, values)
        factors = torch.autograd.grad(total.nansum(), values)
    return torch.stack(
        [
            factor.nan_to_num().to(slopes)[:, None, None] * slopes
            for factor, (_, slopes) in zip(factors, found, strict=True)
        ]
    ).sum(0)


def _aggregated(
    parts: Sequence[Part], aggregation: Aggregation, values: Sequence[Tensor]
) -> Tensor:
    import torch

    wanted = [part.wanted(value) for part, value in zip(parts, values, strict=True)]
    stacked = torch.stack(wanted)
    weights = torch.tensor([part.weighted.weight for part in parts], dtype=torch.float64)
    return aggregate(aggregation, stacked, weights.to(stacked))
