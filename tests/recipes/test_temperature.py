"""Temperatures measured from rewards."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from designkit.algorithms.sampling.smc import SMC
from designkit.algorithms.sampling.svdd import SVDD
from designkit.recipes._temperature import effective_temperature, with_temperature

NORMAL = np.random.default_rng(0).normal(size=100_000)


@pytest.mark.parametrize("share", [0.05, 0.1, 0.5, 0.9])
def test_the_effective_size_is_the_one_asked_for(share: float) -> None:
    temperature = effective_temperature(NORMAL * 3 + 7, share)
    weights = np.exp((NORMAL - NORMAL.max()) * 3 / temperature)
    assert weights.sum() ** 2 / np.square(weights).sum() == pytest.approx(share * 100_000, rel=1e-6)
    # Of a normal law with deviation s the share is exp(-(s / temperature)^2).
    if share >= 0.1:
        assert temperature == pytest.approx(3 / np.sqrt(-np.log(share)), rel=0.05)


def test_rewards_whose_squares_are_too_large() -> None:
    engine: Any = SimpleNamespace(reference_rewards=lambda: NORMAL[:1000] * 1e300)
    found = with_temperature(SMC(), engine, 0.1).temperature
    assert found == pytest.approx(np.std(NORMAL[:1000], ddof=1) * 0.2e300, rel=0.01)
    assert np.isfinite(effective_temperature(NORMAL[:1000] * 1e303, 0.1))


def test_a_temperature_that_rewards_cannot_be_divided_by_is_refused() -> None:
    for method in (SMC, SVDD):
        with pytest.raises(ValueError, match="must be at least 1e-100"):
            method(temperature=1e-320)
    assert SVDD(temperature=0.0).temperature == 0


def test_ties_and_scales() -> None:
    tied = np.array([0.0, 0.0, 1.0, 1.0])  # never below one half
    assert effective_temperature(tied, 0.1) == pytest.approx(1e-6, rel=0.01)
    for scale in (1e-9, 1e9):
        assert effective_temperature(NORMAL * scale, 0.3) / scale == pytest.approx(
            effective_temperature(NORMAL, 0.3)
        )
