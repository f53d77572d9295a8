"""What is said of designs that were drawn again, because they broke the constraints."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from designkit.algorithms.sampling.smc import SMC
from designkit.alphabet import DNA
from designkit.constraints import ConstraintSettings
from designkit.recipes._constraints import RunConstraints
from designkit.recipes._sampling_run import SamplingRun
from tests.tabular import make_rewards, make_world

WORLD = make_world()
REWARDS = make_rewards(WORLD)


def test_the_normaliser_is_unbiased_although_broken_populations_are_drawn_again() -> None:
    model = replace(WORLD.model(), alphabet=DNA)
    particles, populations = 2, 6000
    sampler = SMC(particles=particles, temperature=1.0)
    constraints = RunConstraints(ConstraintSettings(gc="0.5-0.5"), DNA)
    settings: Any = SimpleNamespace(length=WORLD.length)
    engine: Any = WORLD.objective(REWARDS)
    models: Any = None
    run = SamplingRun(settings, sampler, model, engine, 0, "toy", constraints, models)
    count = particles * populations
    designs, columns = run._draw(0, count, lambda: False)
    assert all(sum(letter in "GC" for letter in design or "") == 2 for design in designs)
    found = np.exp(columns["log_normalizer"][::particles])
    assert (found == 0).mean() > 0.03  # these were drawn again
    strong = ((WORLD.clean == 1) | (WORLD.clean == 2)).sum(1).numpy() == 2
    exact = float(WORLD.law @ (strong * np.exp(REWARDS)))
    assert found.mean() == pytest.approx(exact, abs=3.5 * found.std() / populations**0.5)
    kept = found[found > 0]
    assert kept.mean() > exact + 4 * kept.std() / len(kept) ** 0.5
