"""How well predictions follow measurements: correlations, R squared, bootstrap intervals.

Each metric takes truth and prediction with the N items on the last axis and reduces that axis, so
a stack of resamples is one call. A metric that is undefined (a constant input) is NaN.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from designkit.errors import InputError

Metric = Callable[[Any, Any], NDArray[np.float64]]

_RESAMPLED_VALUES = 1 << 21  # values of a bootstrap chunk: 16 MB each for truth and prediction


def pearson(truth: ArrayLike, prediction: ArrayLike) -> NDArray[np.float64]:
    """Pearson correlation over the last axis: (..., N) and (..., N) to (...), -1 to 1.

    Raises:
        InputError: different shapes, fewer than two items, or values that are not finite.
    """
    x, y = _checked(truth, prediction)
    x = x - x.mean(axis=-1, keepdims=True)
    y = y - y.mean(axis=-1, keepdims=True)
    return _ratio((x * y).sum(axis=-1), np.sqrt((x * x).sum(axis=-1) * (y * y).sum(axis=-1)))


def spearman(truth: ArrayLike, prediction: ArrayLike) -> NDArray[np.float64]:
    """Spearman correlation over the last axis: Pearson of the ranks, ties share their mean rank.

    Raises:
        InputError: as for ``pearson``.
    """
    x, y = _checked(truth, prediction)
    return pearson(average_ranks(x), average_ranks(y))


def r_squared(truth: ArrayLike, prediction: ArrayLike) -> NDArray[np.float64]:
    """Share of the variance of the truth explained, 1 at best, negative below the mean's guess.

    Raises:
        InputError: as for ``pearson``.
    """
    x, y = _checked(truth, prediction)
    spread = ((x - x.mean(axis=-1, keepdims=True)) ** 2).sum(axis=-1)
    return 1.0 - _ratio(((x - y) ** 2).sum(axis=-1), spread)


def average_ranks(values: ArrayLike) -> NDArray[np.float64]:
    """Ranks 1 to N along the last axis; equal values share the mean of their ranks."""
    array = np.asarray(values, dtype=np.float64)
    order = np.argsort(array, axis=-1, kind="stable")
    ordered = np.take_along_axis(array, order, axis=-1)
    places = np.arange(array.shape[-1])
    changes = ordered[..., 1:] != ordered[..., :-1]
    edge = np.ones((*array.shape[:-1], 1), dtype=bool)
    first = np.where(np.concatenate([edge, changes], axis=-1), places, 0)
    last = np.where(np.concatenate([changes, edge], axis=-1), places, len(places))
    first = np.maximum.accumulate(first, axis=-1)
    last = np.minimum.accumulate(last[..., ::-1], axis=-1)[..., ::-1]
    ranks = np.empty_like(array)
    np.put_along_axis(ranks, order, (first + last) / 2 + 1, axis=-1)
    return ranks


def bootstrap_interval(
    metric: Metric,
    truth: ArrayLike,
    prediction: ArrayLike,
    *,
    resamples: int = 1000,
    seed: int,
) -> tuple[float, float]:
    """95 % percentile interval of a metric over items drawn again with replacement.

    Args:
        metric: one of this module's metrics, or any that reduces the last axis.
        truth: (N,) measurements.
        prediction: (N,) predictions.
        resamples: number of draws, at least 1; those where the metric is NaN are left out.
        seed: seed of a generator of its own.

    Returns:
        The 2.5 % and 97.5 % quantiles; NaN twice when no resample had a value.

    Raises:
        InputError: as for ``pearson``, or arrays that are not one-dimensional.
    """
    x, y = _checked(truth, prediction)
    if x.ndim != 1 or resamples < 1:
        raise InputError(
            f"a bootstrap needs one-dimensional values and at least one resample, got shape "
            f"{x.shape} and {resamples}"
        )
    generator = np.random.default_rng(seed)
    values = np.empty(resamples)
    chunk = max(1, _RESAMPLED_VALUES // len(x))
    for start in range(0, resamples, chunk):
        stop = min(resamples, start + chunk)
        drawn = generator.integers(len(x), size=(stop - start, len(x)))
        values[start:stop] = metric(x[drawn], y[drawn])
    values = values[~np.isnan(values)]
    if len(values) == 0:
        return float("nan"), float("nan")
    low, high = np.quantile(values, [0.025, 0.975])
    return float(low), float(high)


def _checked(
    truth: ArrayLike, prediction: ArrayLike
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    x, y = np.asarray(truth, dtype=np.float64), np.asarray(prediction, dtype=np.float64)
    if x.shape != y.shape or x.ndim == 0:
        raise InputError(f"truth and prediction differ in shape: {x.shape} and {y.shape}")
    if x.shape[-1] < 2:
        raise InputError(f"a correlation needs at least two items, got {x.shape[-1]}")
    if not (np.isfinite(x).all() and np.isfinite(y).all()):
        raise InputError("truth and prediction must be finite: leave out items without a value")
    return x, y


def _ratio(above: NDArray[np.float64], below: NDArray[np.float64]) -> NDArray[np.float64]:
    """Elementwise ratio, NaN where the denominator is zero."""
    nothing = np.full(np.shape(above), np.nan)
    result: NDArray[np.float64] = np.divide(above, below, out=nothing, where=np.asarray(below) > 0)
    return result
