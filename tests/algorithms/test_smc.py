"""SMC and nested importance sampling against the enumerated target and its normaliser."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import numpy as np
import pytest
import torch
from torch import Tensor

from designkit.algorithms.sampling import _guided, _particles
from designkit.algorithms.sampling._particles import Particles
from designkit.algorithms.sampling.ancestral import Ancestral
from designkit.algorithms.sampling.base import Children, Designs, Request, Sampler
from designkit.algorithms.sampling.nested_is import NestedIS
from designkit.algorithms.sampling.smc import SMC
from designkit.randomness import noise_for
from tests.tabular import (
    ExactValue,
    Law,
    children_worth,
    make_rewards,
    make_world,
    places,
    tv_excess,
)

WORLD = make_world()
REWARDS = make_rewards(WORLD)
METHODS = {"smc": (SMC, {}), "nested_is": (NestedIS, {"candidates": 4})}


@pytest.fixture
def exact(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Make both methods use the exact soft value of a temperature."""

    def use(temperature: float) -> None:
        table = tuple(WORLD.soft_values(REWARDS, temperature).tolist())
        value = ExactValue(table=table, states=WORLD.size + 1)
        monkeypatch.setattr(_guided, "estimator", lambda name: value)

    return use


def draw(method: Sampler, populations: int, rewards: Law = REWARDS) -> Designs:
    noise = noise_for(0, populations * method.population)
    return method.sample(WORLD.model(), WORLD.objective(rewards), Request(WORLD.length), noise)


def normalizers(designs: Designs, populations: int) -> np.ndarray:
    each = designs.columns["log_normalizer"].view(populations, -1)
    assert torch.equal(each, each[:, :1].expand_as(each))
    return np.exp(each[:, 0].numpy())


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("temperature", [0.3, 1.0, 3.0])
def test_many_particles_draw_the_target(exact, name: str, temperature: float) -> None:
    exact(temperature)
    kind, settings = METHODS[name]
    size = 2000 if name == "smc" else 500
    method = kind(particles=size, temperature=temperature, **settings)
    populations = 20 if name == "smc" else 40
    designs = draw(method, populations)
    assert tv_excess(designs.tokens, WORLD.tilted(REWARDS, temperature)) < 0.02
    assert tv_excess(designs.tokens, WORLD.law) > 0.05


@pytest.mark.parametrize("name", METHODS)
def test_more_particles_are_closer(exact, name: str) -> None:
    exact(0.3)
    kind, settings = METHODS[name]
    target = WORLD.tilted(REWARDS, 0.3)
    excess = []
    for particles in (8, 64, 512):
        designs = draw(kind(particles=particles, temperature=0.3, **settings), 8192 // particles)
        excess.append(tv_excess(designs.tokens, target))
    assert excess[0] > excess[1] > excess[2] - 0.005


@cache
def grid_law() -> Law:
    """Drawn from: a grid reveals several positions at once, and has a law of its own."""
    unguided, noise = Ancestral(decoding="grid", steps=16), noise_for(9, 100_000)
    drawn = unguided.sample(WORLD.model(), None, Request(WORLD.length), noise)
    return np.bincount(places(drawn.tokens, WORLD.size).numpy(), minlength=256) / 100_000


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("value", ["exact", "posterior_mean"])
@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"threshold": 1.0},
        {"tempering": 5.0},
        {"decoding": "grid", "steps": 16},
        # Most particles rest in a step, and the target changes for them too.
        {"decoding": "grid", "steps": 16, "tempering": 5.0},
    ],
)
def test_the_normalizer_is_unbiased_whatever_the_value(exact, name, value, settings) -> None:
    """Z of small populations, where log Z is far from it; and no estimator is worth trust."""
    temperature = 1.0  # below that single populations decide the mean
    if value == "exact":
        exact(temperature)
    kind, own = METHODS[name]
    populations = 1500
    method = kind(particles=8, temperature=temperature, **own, **settings)
    found = normalizers(draw(method, populations), populations)
    law = grid_law() if "steps" in settings else WORLD.law
    true = float(law @ np.exp(REWARDS / temperature))
    error = found.std(ddof=1) / np.sqrt(populations)
    assert abs(found.mean() - true) < 4 * error
    assert error < 0.1 * true
    logs = np.log(found)  # which are not unbiased: Jensen
    assert np.log(true) - logs.mean() > 2 * logs.std(ddof=1) / np.sqrt(populations)


class Forgetful(Particles):
    """Weights multiplied by exp(v_s / temperature), nothing taken back: the value counts twice."""

    def advance(self, children: Children, temperature: float) -> Tensor:
        self._potential.view(-1)[children.rows] = 0.0
        return super().advance(children, temperature)


def test_forgetting_the_own_value_is_caught(exact, monkeypatch: pytest.MonkeyPatch) -> None:
    exact(1.0)
    monkeypatch.setattr(_particles, "Particles", Forgetful)
    designs = draw(SMC(particles=2000, temperature=1.0), 10)
    assert tv_excess(designs.tokens, WORLD.tilted(REWARDS, 1.0)) > 0.05


class Unfinished(Particles):
    """Designs are taken before the last resampling, whose weights are lost."""

    def resample(self, step: int, temperature: float, threshold: float, *, last: bool) -> Tensor:
        order = super().resample(step, temperature, threshold, last=last)
        return torch.arange(len(order)) if last else order


def test_designs_taken_before_the_last_resampling_are_caught(monkeypatch) -> None:
    target = WORLD.tilted(REWARDS, 1.0)
    method = SMC(particles=2000, temperature=1.0)
    assert tv_excess(draw(method, 10).tokens, target) < 0.02
    monkeypatch.setattr(_particles, "Particles", Unfinished)
    assert tv_excess(draw(method, 10).tokens, target) > 0.04


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("decoding", ["blocks", "grid"])
def test_a_constant_added_to_the_reward_changes_nothing(name: str, decoding: str) -> None:
    """Not even one as large as what designs outside the bounds get."""
    kind, own = METHODS[name]
    steps = 16 if decoding == "grid" else None
    method = kind(particles=64, temperature=0.5, decoding=decoding, steps=steps, **own)
    plain = draw(method, 4)
    for shift in (10.0, -10.0, -1e6):
        moved = draw(method, 4, REWARDS + shift)
        assert torch.equal(moved.tokens, plain.tokens)
        difference = moved.columns["log_normalizer"] - plain.columns["log_normalizer"]
        np.testing.assert_allclose(difference, shift / 0.5, rtol=1e-6, atol=1e-3)


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize(("decoding", "steps"), [("blocks", None), ("grid", 4), ("grid", 16)])
def test_sequences_without_a_score(name: str, decoding: str, steps: int | None) -> None:
    """They have no weight in the end, and do not count as ends on the way."""
    rewards = REWARDS.copy()
    unscored = np.random.default_rng(0).random(256) < 0.3
    rewards[unscored] = -np.inf
    kind, own = METHODS[name]
    method = kind(particles=32, temperature=0.5, decoding=decoding, steps=steps, **own)
    designs = draw(method, 400, rewards)
    assert not unscored[places(designs.tokens, WORLD.size).numpy()].any()
    if decoding == "blocks":
        found = normalizers(designs, 400)
        true = float(WORLD.law @ np.exp(rewards / 0.5))
        assert abs(found.mean() - true) < 4 * found.std(ddof=1) / np.sqrt(400)


def test_any_part_of_a_population_stands_for_the_whole(exact) -> None:
    """Resampled particles come in the order of their ancestors; the places are shuffled."""
    exact(0.5)
    designs = draw(SMC(particles=64, temperature=0.5), 3000)
    target = WORLD.tilted(REWARDS, 0.5)
    by_place = designs.tokens.view(3000, 64, -1)
    for place in (0, 31, 63):
        assert tv_excess(by_place[:, place], target) < 0.05


def test_no_weights_are_caught(exact, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nested importance sampling without the outer weights is SVDD, biased for few children."""
    exact(0.3)
    target = WORLD.tilted(REWARDS, 0.3)
    right = draw(NestedIS(particles=500, candidates=2, temperature=0.3), 20)
    assert tv_excess(right.tokens, target) < 0.03
    monkeypatch.setattr(
        Particles, "resample", lambda self, *_, **last: torch.arange(self._log_weight.numel())
    )
    wrong = draw(NestedIS(particles=500, candidates=2, temperature=0.3), 20)
    assert tv_excess(wrong.tokens, target) > 0.08


def moved(values: list[float] | Tensor, size: int, *, last: bool = True) -> Particles:
    """Populations of N particles that all moved once, without a choice."""
    column = torch.as_tensor(values, dtype=torch.float64)[:, None]
    particles = Particles(noise_for(0, len(column)), size)
    kept = particles.advance(children_worth(column, last=last), 1.0)
    assert kept.tolist() == list(range(len(column)))
    return particles


def test_systematic_resampling_keeps_to_the_expected_numbers() -> None:
    size = 10
    weights = torch.tensor([0.5, 0.21, 0.21, 0.04, 0.02, 0.02, 0, 0, 0, 0], dtype=torch.float64)
    counts = []
    for step in range(400):
        particles = moved(weights.log(), size)
        chosen = particles.resample(step, 1.0, 1.0, last=step % 2 == 0)
        counts.append(torch.bincount(chosen, minlength=size).double())
        np.testing.assert_allclose(particles.log_normalizer, np.log(0.1))
    expected = weights * size
    stacked = torch.stack(counts)
    assert ((stacked - expected).abs() < 1).all()
    np.testing.assert_allclose(stacked.mean(0), expected, atol=0.1)


def test_populations_do_not_mix_and_rest_while_they_are_even() -> None:
    particles = moved([0.0, 0, 0, 0, 5, 0, 0, 0], 4)
    chosen = particles.resample(0, 1.0, 0.5, last=False)
    assert chosen[:4].tolist() == [0, 1, 2, 3]
    assert set(chosen[4:].tolist()) <= {4, 5, 6, 7}
    assert (chosen[4:] == 4).sum() >= 3


def test_populations_without_a_score_go_on() -> None:
    particles = moved([-np.inf] * 6 + [0.0, -np.inf], 4)
    chosen = particles.resample(0, 1.0, 0.5, last=False)
    assert chosen[:4].tolist() == [0, 1, 2, 3]
    assert chosen[4:].tolist() == [6] * 4
    assert particles.log_normalizer.tolist() == [0, -np.log(4)]
    particles.resample(1, 1.0, 0.5, last=True)
    assert particles.log_normalizer.tolist() == [-np.inf, -np.log(4)]


def test_no_score_on_the_way_is_the_lowest_value() -> None:
    """Among the children too, of which one is chosen."""
    values = torch.tensor([[2.0, -np.inf], [1.0, 4.0], [-np.inf, -np.inf], [3.0, 3.0]])
    filled = values.double().nan_to_num(neginf=1.0)
    chosen, normalizers = [], []
    for given in (values.double(), filled):
        particles = Particles(noise_for(0, 4), 4)
        kept = particles.advance(children_worth(given), 1.0)
        order = particles.resample(0, 1.0, 1.0, last=True)
        chosen.append((kept.tolist(), order.tolist()))
        normalizers.append(particles.log_normalizer.tolist())
    assert chosen[0] == chosen[1]
    assert normalizers[0] == normalizers[1]
    ended = Particles(noise_for(0, 4), 4)
    ended.advance(children_worth(values.double(), last=True), 1.0)
    assert (ended.resample(0, 1.0, 1.0, last=True) != 2).all()


@pytest.mark.parametrize(
    ("annealing", "expected"),
    [
        ("geometric", [16, 8, 4, 2]),
        ("linear", [24.5, 17, 9.5, 2]),
        ("cosine", [27.607, 17, 6.393, 2]),
    ],
)
def test_tempering_falls_to_the_temperature_half_way(annealing, expected) -> None:
    method = SMC(temperature=2.0, tempering=16.0, annealing=annealing)
    heats = [method.temperature_at(step, 8) for step in range(8)]
    np.testing.assert_allclose(heats, [*expected, 2, 2, 2, 2], rtol=1e-4)
    whole = SMC(temperature=2.0, tempering=16.0, annealing=annealing, annealed=1.0)
    assert whole.temperature_at(6, 8) > 2.0
    assert whole.temperature_at(7, 8) == pytest.approx(2.0)
    assert SMC(temperature=2.0).temperature_at(0, 8) == 2.0
