"""Samplers under uniform noise against enumerated laws: letters are revised, nothing is masked."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from designkit.algorithms.sampling.ancestral import Ancestral
from designkit.algorithms.sampling.base import Designs, Request, Sampler
from designkit.algorithms.sampling.classifier import Classifier
from designkit.algorithms.sampling.smc import SMC
from designkit.algorithms.sampling.svdd import SVDD
from designkit.algorithms.values.base import Objective, States, ValueEstimator, Values
from designkit.diffusion.uniform import Uniform
from designkit.randomness import noise_for
from tests.tabular import World, make_rewards, make_world, places, tv, tv_excess
from tests.tabular_uniform import UniformWorld

WORLD = make_world(3, 3)
UNIFORM = UniformWorld(WORLD, Uniform(size=WORLD.size))
REWARDS = make_rewards(WORLD)
TEMPERATURE = 0.5
STEPS = 24
PRETRAINED = UNIFORM.chain_law(UNIFORM.model(), STEPS)
TARGET = PRETRAINED * np.exp(REWARDS / TEMPERATURE)
TARGET /= TARGET.sum()


class TimedValue(ValueEstimator):
    """A table of values of all noisy sequences at each step."""

    tables: tuple[tuple[float, ...], ...]

    def values(self, reward: Objective, states: States, temperature: float) -> Values:
        table = torch.tensor(self.tables[states.step], dtype=torch.float64)
        return Values(table[places(states.tokens, WORLD.size)])


def tables(temperature: float) -> tuple[tuple[float, ...], ...]:
    """The exact soft values, at the end the rewards."""
    times = np.linspace(1, 0, STEPS + 1)[:-1]
    exact = [UNIFORM.soft_values(REWARDS, temperature, t).tolist() for t in times]
    return tuple(tuple(values) for values in [*exact, REWARDS.tolist()])


def no_tables() -> tuple[tuple[float, ...], ...]:
    """Values that know nothing until a sequence is finished."""
    nothing = (0.0,) * len(WORLD.clean)
    return (*((nothing,) * STEPS), tuple(REWARDS.tolist()))


class TimedSVDD(SVDD):
    """SVDD with a table of values."""

    tables: tuple[tuple[float, ...], ...]

    def estimator(self) -> ValueEstimator:
        return TimedValue(tables=self.tables)


class TimedSMC(SMC):
    """SMC with a table of values."""

    tables: tuple[tuple[float, ...], ...]

    def estimator(self) -> ValueEstimator:
        return TimedValue(tables=self.tables)


def draw(method: Sampler, rows: int, seed: int = 0, process: Any = None) -> Designs:
    world = UNIFORM if process is None else UniformWorld(WORLD, process)
    objective = WORLD.objective(REWARDS)
    return method.sample(world.model(), objective, Request(WORLD.length), noise_for(seed, rows))


def test_ancestral_designs_have_the_law_of_the_chain() -> None:
    tokens = draw(Ancestral(steps=STEPS), 4000).tokens
    assert tv_excess(tokens, PRETRAINED) < 0.01
    assert tv(PRETRAINED, WORLD.law) < 0.04
    # Fewer steps are another law, and the loop shows it.
    few = draw(Ancestral(steps=3), 4000).tokens
    assert tv_excess(few, UNIFORM.chain_law(UNIFORM.model(), 3)) < 0.01
    assert tv_excess(few, WORLD.law) > 0.1


@pytest.mark.parametrize("schedule", ["linear", "cosine"])
def test_the_schedule_of_the_process_is_the_one_of_the_loop(schedule: str) -> None:
    process = Uniform(size=WORLD.size, schedule=schedule)
    world = UniformWorld(WORLD, process)
    tokens = draw(Ancestral(steps=6), 4000, process=process).tokens
    assert tv_excess(tokens, world.chain_law(world.model(), 6)) < 0.01


def test_denoiser_calls_equal_steps_and_every_row_may_change() -> None:
    model = UNIFORM.model()
    Ancestral(steps=STEPS).sample(model, None, Request(WORLD.length), noise_for(0, 50))
    assert model.counter.calls == STEPS


@pytest.mark.parametrize("exact", [True, False])
def test_smc_draws_from_the_tilted_law(exact: bool) -> None:
    """Although the start is random: the first weight is that of the first states' values."""
    values = tables(TEMPERATURE) if exact else no_tables()
    method = TimedSMC(particles=256, temperature=TEMPERATURE, steps=STEPS, tables=values)
    designs = draw(method, 256 * 16)
    # Particles share ancestors: their histogram is rougher than that of independent draws.
    assert tv_excess(designs.tokens, TARGET) < (0.02 if exact else 0.06)
    assert tv(PRETRAINED, TARGET) > 0.3
    normalizer = designs.columns["log_normalizer"][::256].exp()
    truth = float(PRETRAINED @ np.exp(REWARDS / TEMPERATURE))
    error = float(normalizer.std()) / len(normalizer) ** 0.5
    assert abs(float(normalizer.mean()) - truth) < 4 * error
    assert error < 0.1 * truth


def test_svdd_with_the_exact_value_draws_from_the_tilted_law() -> None:
    method = TimedSVDD(
        candidates=24, temperature=TEMPERATURE, steps=STEPS, tables=tables(TEMPERATURE)
    )
    assert tv_excess(draw(method, 1500).tokens, TARGET) < 0.03
    wrong = TimedSVDD(candidates=24, temperature=TEMPERATURE, steps=STEPS, tables=no_tables())
    assert tv_excess(draw(wrong, 600).tokens, TARGET) > 0.1


class TimedClassifier(Classifier):
    """Classifier guidance with a table of values."""

    tables: tuple[tuple[float, ...], ...]

    def estimator(self) -> ValueEstimator:
        return TimedValue(tables=self.tables)


def test_every_letter_of_the_next_state_is_valued_at_its_own_time() -> None:
    """One position, which every step revises: the soft-optimal policy, hence the target."""
    world, steps = World(np.array([0.5, 0.2, 0.3]), 3, 1), 6
    rewards, uniform = np.array([0.0, 1.0, -0.5]), UniformWorld(world, UNIFORM.process)
    times = np.linspace(1, 0, steps + 1)[:-1]
    exact = [uniform.soft_values(rewards, TEMPERATURE, t).tolist() for t in times]
    values = tuple(tuple(some) for some in [*exact, rewards.tolist()])
    method = TimedClassifier(temperature=TEMPERATURE, steps=steps, tables=values)
    model, noise = uniform.model(), noise_for(0, 20_000)
    tokens = method.sample(model, world.objective(rewards), Request(1), noise).tokens
    assert abs(tv_excess(tokens, world.tilted(rewards, TEMPERATURE))) < 0.008
    assert tv_excess(tokens, world.law) > 0.3


def test_greedy_svdd_finds_what_its_value_knows() -> None:
    best = float(REWARDS.max())
    designs = draw(SVDD(candidates=8, steps=STEPS), 200).tokens
    reached = torch.from_numpy(REWARDS)[places(designs, WORLD.size)]
    plain = torch.from_numpy(REWARDS)[places(draw(Ancestral(steps=STEPS), 200).tokens, WORLD.size)]
    assert reached.mean() > plain.mean() + 0.5 * (best - float(plain.mean()))
