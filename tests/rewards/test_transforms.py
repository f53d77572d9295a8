"""Transforms against their formulas, worked by hand; ranks and quantiles against counting."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from designkit.rewards._transforms import (
    AnyTransform,
    Clip,
    DoubleSigmoid,
    Linear,
    Log,
    Quantile,
    Rank,
    ReverseSigmoid,
    Sigmoid,
    Step,
    Transform,
    ZScore,
    parse_transform,
)

FITTED = [
    Linear(scale=2, offset=1),
    ZScore(mean=1, std=2),
    Sigmoid(low=-1, high=3),
    ReverseSigmoid(low=-1, high=3),
    DoubleSigmoid(low=-1, high=3),
    DoubleSigmoid(low=-1, high=3, width=4),
    Step(low=0),
    Step(high=1),
    Step(low=0, high=1),
    Clip(low=0, high=1),
    Log(offset=10),
    Rank(),
    Quantile(points=(-2, 0, 1, 4)),
    Quantile(points=(-2, 0, 1, 4), shape="best_of_n", tau=2),
    Quantile(points=(-2, 0, 1, 4), shape="worst_of_n"),
]
IDS = [f"{type(t).__name__}{i}" for i, t in enumerate(FITTED)]


def apply(transform: Transform, values: list[float], sign: int = 1) -> list[float]:
    return transform.apply(torch.tensor(values, dtype=torch.float64), sign).tolist()


@pytest.mark.parametrize(
    ("transform", "sign", "values", "expected"),
    [
        (Linear(scale=2, offset=1), 1, [0, 3], [1, 7]),
        (Linear(scale=2, offset=1), -1, [0, 3], [-1, -7]),
        (ZScore(mean=1, std=2), 1, [1, 5], [0, 2]),
        (ZScore(mean=1, std=2), -1, [1, 5], [0, -2]),
        (Sigmoid(low=0, high=10), 1, [0, 5, 10], [0.05, 0.5, 0.95]),
        (Sigmoid(low=0, high=10), 1, [7], [1 / (1 + 19 ** (-(7 - 5) / 5))]),
        (ReverseSigmoid(low=0, high=10), -1, [0, 5, 10], [0.95, 0.5, 0.05]),
        (DoubleSigmoid(low=0, high=10), 1, [-5, 5, 15], [0, 1, 0]),
        (DoubleSigmoid(low=0, high=10, width=2), 1, [-1, 1], [0.05, 0.95]),
        (Step(low=2), 1, [1.9, 2, 3], [0, 1, 1]),
        (Step(high=2), -1, [1.9, 2, 3], [1, 1, 0]),
        (Step(low=1, high=2), 1, [0, 1, 2, 3], [0, 1, 1, 0]),
        (Clip(low=0, high=1), 1, [-1, 0.5, 2], [0, 0.5, 1]),
        (Clip(low=0), -1, [-1, 2], [0, -2]),
        (Log(), 1, [1, math.e], [0, 1]),
        (Log(offset=1), -1, [0, math.e - 1], [0, -1]),
        (Rank(), 1, [5, 1, 3, 3, 9], [0.75, 0, 0.375, 0.375, 1]),
        (Rank(), -1, [5, 1, 3, 3, 9], [0.25, 1, 0.625, 0.625, 0]),
        (Rank(), 1, [7], [1]),
        (Quantile(points=(0, 1, 3)), 1, [-1, 0, 0.5, 1, 2, 3, 4], [0, 0, 0.25, 0.5, 0.75, 1, 1]),
        (Quantile(points=(0, 1, 3)), -1, [-1, 0.5, 4], [1, 0.75, 0]),
        (Quantile(points=(0, 1, 1, 1, 2)), 1, [1], [0.5]),
        (Quantile(points=(0, 2), shape="best_of_n", tau=3), 1, [1], [math.exp(1.5)]),
        (Quantile(points=(0, 2), shape="worst_of_n", tau=3), 1, [1], [-math.exp(-1.5)]),
    ],
)
def test_worked_by_hand(
    transform: Transform, sign: int, values: list[float], expected: list[float]
) -> None:
    np.testing.assert_allclose(apply(transform, values, sign), expected, atol=2e-6)


@pytest.mark.parametrize("transform", FITTED, ids=IDS)
def test_no_value_stays_no_value(transform: Transform) -> None:
    with_hole = apply(transform, [0.3, math.nan, 0.9, 0.4])
    without = apply(transform, [0.3, 0.9, 0.4])
    assert math.isnan(with_hole[1])
    np.testing.assert_allclose([with_hole[0], *with_hole[2:]], without)


def test_log_of_nothing_has_no_value() -> None:
    assert [math.isnan(v) for v in apply(Log(), [-1, 0, 1])] == [True, True, False]


SMOOTH = [transform for transform in FITTED if not isinstance(transform, Rank | Step)]


@pytest.mark.parametrize("transform", SMOOTH, ids=lambda transform: type(transform).__name__)
def test_gradients_are_finite_differences(transform: Transform) -> None:
    values = torch.tensor([-1.7, -0.4, 0.3, 0.8, 2.2], dtype=torch.float64, requires_grad=True)
    for sign in (1, -1):
        assert torch.autograd.gradcheck(lambda v, s=sign: transform.apply(v, s), (values,))


numbers = st.lists(st.floats(-100, 100), min_size=2, max_size=30)


@given(numbers)
def test_rank_is_a_count(values: list[float]) -> None:
    expected = [
        (sum(o < v for o in values) + (sum(o == v for o in values) - 1) / 2) / (len(values) - 1)
        for v in values
    ]
    np.testing.assert_allclose(apply(Rank(), values), expected, atol=1e-12)


@given(numbers, numbers)
def test_quantile_lies_between_counts(reference: list[float], values: list[float]) -> None:
    fitted = Quantile().fitted(np.array(reference))
    n = len(reference)
    for value, share in zip(values, apply(fitted, values), strict=True):
        below, not_above = sum(r < value for r in reference), sum(r <= value for r in reference)
        assert (below - 1) / (n - 1) - 1e-9 <= share <= not_above / (n - 1) + 1e-9
    ordered = apply(fitted, sorted(values))
    assert ordered == sorted(ordered)


def test_statistics_of_the_prior_are_taken_over() -> None:
    prior = np.random.default_rng(0).normal(3, 2, 20_000)
    z = ZScore().fitted(prior)
    np.testing.assert_allclose(apply(z, [3, 5]), [0, 1], atol=0.03)
    assert ZScore(mean=0).fitted(prior) == ZScore(mean=0, std=float(prior.std(ddof=1)))
    quantile = Quantile().fitted(prior)
    assert len(quantile.points) == 1001  # type: ignore[attr-defined, arg-type]
    np.testing.assert_allclose(apply(quantile, [3, 3 + 2 * 1.6449]), [0.5, 0.95], atol=0.01)
    assert [t.needs_reference for t in (ZScore(), z, Quantile(), quantile)] == [True, False] * 2
    with pytest.raises(ValueError, match="all reference values are equal"):
        ZScore().fitted(np.ones(30))


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("sigmoid(low=0.2,high=0.8)", Sigmoid(low=0.2, high=0.8)),
        ("double_sigmoid( low=0, high=2 , width=1)", DoubleSigmoid(low=0, high=2, width=1)),
        ("rank", Rank()),
        ("log()", Log()),
        ({"name": "clip", "low": 1}, Clip(low=1)),
    ],
)
def test_written_forms(written: object, expected: Transform) -> None:
    assert TypeAdapter(AnyTransform).validate_python(parse_transform(written)) == expected


@pytest.mark.parametrize("written", ["sigmoid(0,1)", "sigmoid(low=0", "a b", "(low=1)", ""])
def test_other_forms_are_refused(written: str) -> None:
    with pytest.raises(ValueError, match="must be written NAME"):
        parse_transform(written)


@pytest.mark.parametrize(
    "fields",
    [
        {"name": "linear", "scale": -1},
        {"name": "sigmoid", "low": 1, "high": 1},
        {"name": "step"},
        {"name": "clip", "low": 2, "high": 1},
        {"name": "zscore", "std": 0},
        {"name": "quantile", "points": (2, 1)},
        {"name": "quantile", "points": (1,)},
    ],
)
def test_impossible_settings_are_refused(fields: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        TypeAdapter(AnyTransform).validate_python(fields)
