"""Whether a predictor knows how wrong it is: the spread of an ensemble made an honest error."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

from designkit.errors import InputError

_MIXTURES = 501
_SMALLEST = 1e-30
_QUANTILES = {"68": 0.994458, "95": 1.959964}
"""Half the width of the central 68 % and 95 % of a normal distribution, in standard deviations."""


def calibrate_variance(error: ArrayLike, std: ArrayLike) -> tuple[float, float]:
    """Factor a and constant b with which a std^2 + b is the variance of the error.

    Maximum likelihood of a normal distribution: for each of 501 mixtures
    v = w std^2 + (1 - w) mean(std^2), w from 0 to 1, the best multiple of v is mean(error^2 / v),
    and the mixture with the largest likelihood wins.

    Args:
        error: (N,) truth minus prediction.
        std: (N,) standard deviations over the members of the ensemble.

    Returns:
        a, a plain number, and b, in squared units of the error; both 0 or more.

    Raises:
        InputError: no items, or values that are not finite.
    """
    errors, spread = _checked(error, std)
    square, typical = spread**2, float((spread**2).mean())
    if typical == 0:  # the members agree everywhere: all errors are of one size
        return 0.0, float((errors**2).mean())
    squared_error = errors**2
    best, found = math.inf, (0.0, 0.0)
    for weight in np.linspace(0, 1, _MIXTURES).tolist():
        variance = np.maximum(weight * square + (1 - weight) * typical, 1e-12 * typical)
        factor = float((squared_error / variance).mean())
        cost = math.log(max(factor, 1e-300)) + float(np.log(variance).mean())
        if cost < best:
            best, found = cost, (weight * factor, (1 - weight) * factor * typical)
    return found


def error_figures(error: ArrayLike, std: ArrayLike) -> dict[str, float]:
    """How well standard deviations state the size of errors.

    Args:
        error: (N,) truth minus prediction.
        std: (N,) stated standard deviations.

    Returns:
        ``nll``, the mean negative log-likelihood of a normal distribution in nats, and
        ``coverage_68`` and ``coverage_95``, the shares of errors inside the central 68 % and 95 %.

    Raises:
        InputError: as for ``calibrate_variance``.
    """
    errors, spread = _checked(error, std)
    variance = np.maximum(spread**2, _SMALLEST)
    nll = 0.5 * (np.log(2 * math.pi * variance) + errors**2 / variance).mean()
    figures = {"nll": float(nll)}
    for name, quantile in _QUANTILES.items():
        figures[f"coverage_{name}"] = float((np.abs(errors) <= quantile * spread).mean())
    return figures


def _checked(error: ArrayLike, std: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    errors, spread = np.asarray(error, dtype=np.float64), np.asarray(std, dtype=np.float64)
    if errors.shape != spread.shape or errors.ndim != 1 or len(errors) == 0:
        raise InputError(
            f"a calibration needs as many errors as deviations: {errors.shape} and {spread.shape}"
        )
    if not (np.isfinite(errors).all() and np.isfinite(spread).all()):
        raise InputError("a calibration needs finite errors and deviations")
    return errors, spread
