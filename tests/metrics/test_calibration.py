"""Calibrated errors: the fit finds the truth that drew the errors, and figures by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from designkit.errors import InputError
from designkit.metrics.calibration import calibrate_variance, error_figures


@pytest.mark.parametrize(("factor", "constant"), [(3.0, 0.5), (9.0, 0.0), (0.0, 2.0)])
def test_finds_the_law_that_drew_the_errors(factor: float, constant: float) -> None:
    generator = np.random.default_rng(0)
    std = generator.gamma(2, 0.4, size=40_000)
    error = generator.normal(size=len(std)) * np.sqrt(factor * std**2 + constant)
    found = calibrate_variance(error, std)
    assert found == pytest.approx((factor, constant), rel=0.08, abs=0.03)


def test_no_other_law_is_more_likely() -> None:
    """A grid of laws around the fit, each with its likelihood, is the independent truth."""
    generator = np.random.default_rng(1)
    std = generator.gamma(2, 1, size=200)
    error = generator.standard_t(4, size=200) * (1 + std)
    factor, constant = calibrate_variance(error, std)

    def cost(a: float, b: float) -> float:
        return error_figures(error, np.sqrt(a * std**2 + b))["nll"]

    around = [cost(factor * x, constant * y) for x in (0.8, 1, 1.2) for y in (0.8, 1, 1.2)]
    assert min(around) >= cost(factor, constant) - 1e-4
    assert max(around) > cost(factor, constant) + 1e-3


def test_equal_spreads_give_the_mean_square() -> None:
    factor, constant = calibrate_variance([1.0, -1.0, 3.0, 1.0], [0.5] * 4)
    assert factor * 0.25 + constant == pytest.approx(3.0)


def test_members_that_all_agree() -> None:
    assert calibrate_variance([1.0, -3.0], [0.0, 0.0]) == (0.0, 5.0)
    assert np.isfinite(error_figures([1.0, -3.0], [0.0, 0.0])["nll"])


def test_figures_by_hand() -> None:
    figures = error_figures([0.0, 1.0, -1.5, 4.0], [1.0, 1.0, 1.0, 2.0])
    squares = (0 + 1 + 2.25 + 4) / 4
    assert figures["nll"] == pytest.approx(
        0.5 * (math.log(2 * math.pi) + math.log(4) / 4 + squares)
    )
    assert figures["coverage_68"] == 0.25  # 1 is just outside 0.994
    assert figures["coverage_95"] == 0.75  # 4 is 2 deviations


def test_what_cannot_be_calibrated() -> None:
    for error, std in (([], []), ([1.0], [1.0, 2.0]), ([np.nan], [1.0])):
        with pytest.raises(InputError, match="a calibration needs"):
            calibrate_variance(error, std)
