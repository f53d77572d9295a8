"""Aggregations worked by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from designkit.errors import UsageError
from designkit.rewards._aggregation import aggregate

VALUES = torch.tensor([[0.5, 0.2, 1.0], [0.5, 0.8, np.nan]], dtype=torch.float64)
WEIGHTS = torch.tensor([1.0, 3.0], dtype=torch.float64)


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("sum", [2.0, 2.6]),
        ("product", [0.5**4, 0.2 * 0.8**3]),
        ("geometric_mean", [0.5, (0.2 * 0.8**3) ** 0.25]),
        ("min", [0.5, 0.2]),
        ("pareto", [0, 0]),
    ],
)
def test_by_hand(kind, expected: list[float]) -> None:
    found = aggregate(kind, VALUES, WEIGHTS).numpy()
    np.testing.assert_allclose(found[:2], expected)
    assert np.isnan(found[2])


@pytest.mark.parametrize("kind", ["sum", "product", "geometric_mean", "min"])
def test_gradients_are_finite_differences(kind) -> None:
    values = VALUES[:, :2].clone()
    values[1, 0] = 0.45  # a tie has no derivative of min
    assert torch.autograd.gradcheck(
        lambda v: aggregate(kind, v, WEIGHTS), (values.requires_grad_(),)
    )


@pytest.mark.parametrize("kind", ["product", "geometric_mean"])
def test_products_of_negative_values_are_refused(kind) -> None:
    with pytest.raises(UsageError, match=r"needs values of 0 or more, found -1; give .* transform"):
        aggregate(kind, torch.tensor([[1.0], [-1.0]]), WEIGHTS.float())
