"""SMC and nested importance sampling against the enumerated target and its normaliser."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from designkit.algorithms.sampling import nested_is, smc
from designkit.algorithms.sampling._particles import Particles, tempered
from designkit.algorithms.sampling.base import Designs, Request, Sampler
from designkit.algorithms.sampling.nested_is import NestedIS
from designkit.algorithms.sampling.smc import SMC
from designkit.randomness import noise_for
from tests.tabular import ExactValue, Law, make_rewards, make_world, tv_excess

WORLD = make_world()
REWARDS = make_rewards(WORLD)
METHODS = {"smc": (smc, SMC, {}), "nested_is": (nested_is, NestedIS, {"candidates": 4})}


@pytest.fixture
def exact(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Make both methods use the exact soft value of a temperature."""

    def use(temperature: float) -> None:
        table = tuple(WORLD.soft_values(REWARDS, temperature).tolist())
        value = ExactValue(table=table, states=WORLD.size + 1)
        for module in (smc, nested_is):
            monkeypatch.setattr(module, "estimator", lambda name: value)

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
    _, kind, settings = METHODS[name]
    size = 2000 if name == "smc" else 500
    method = kind(particles=size, temperature=temperature, **settings)
    populations = 20 if name == "smc" else 40
    designs = draw(method, populations)
    assert tv_excess(designs.tokens, WORLD.tilted(REWARDS, temperature)) < 0.02
    assert tv_excess(designs.tokens, WORLD.law) > 0.05


@pytest.mark.parametrize("name", METHODS)
def test_more_particles_are_closer(exact, name: str) -> None:
    exact(0.3)
    _, kind, settings = METHODS[name]
    target = WORLD.tilted(REWARDS, 0.3)
    excess = []
    for particles in (8, 64, 512):
        designs = draw(kind(particles=particles, temperature=0.3, **settings), 8192 // particles)
        excess.append(tv_excess(designs.tokens, target))
    assert excess[0] > excess[1] > excess[2] - 0.005


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("value", ["exact", "posterior_mean"])
@pytest.mark.parametrize("settings", [{}, {"threshold": 1.0}, {"tempering": 5.0}])
def test_the_normalizer_is_unbiased_whatever_the_value(exact, name, value, settings) -> None:
    """Z of small populations, where log Z is far from it; and no estimator is worth trust."""
    temperature = 0.5
    if value == "exact":
        exact(temperature)
    _, kind, own = METHODS[name]
    populations = 1500
    method = kind(particles=8, temperature=temperature, **own, **settings)
    found = normalizers(draw(method, populations), populations)
    true = float(WORLD.law @ np.exp(REWARDS / temperature))
    error = found.std(ddof=1) / np.sqrt(populations)
    assert abs(found.mean() - true) < 4 * error
    assert error < 0.1 * true
    assert abs(np.log(found).mean() - np.log(true)) > 0  # the log is not what is unbiased


class Forgetful(Particles):
    """Weights multiplied by exp(v_s / temperature), nothing taken back: the value counts twice."""

    def advance(self, gained: Tensor, value: Tensor, temperature: float, rows: Tensor, **more):
        self._potential.view(-1)[rows] = 0.0
        super().advance(gained, value, temperature, rows, **more)


def test_forgetting_the_own_value_is_caught(exact, monkeypatch: pytest.MonkeyPatch) -> None:
    exact(1.0)
    monkeypatch.setattr(smc, "Particles", Forgetful)
    designs = draw(SMC(particles=2000, temperature=1.0), 10)
    assert tv_excess(designs.tokens, WORLD.tilted(REWARDS, 1.0)) > 0.05


def test_no_weights_are_caught(exact, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nested importance sampling without the outer weights is SVDD, biased for few children."""
    exact(0.3)
    target = WORLD.tilted(REWARDS, 0.3)
    right = draw(NestedIS(particles=500, candidates=2, temperature=0.3), 20)
    assert tv_excess(right.tokens, target) < 0.03
    monkeypatch.setattr(
        Particles, "resample", lambda self, *_: torch.arange(self._log_weight.numel())
    )
    wrong = draw(NestedIS(particles=500, candidates=2, temperature=0.3), 20)
    assert tv_excess(wrong.tokens, target) > 0.08


def test_systematic_resampling_keeps_to_the_expected_numbers() -> None:
    size = 10
    weights = torch.tensor([0.5, 0.21, 0.21, 0.04, 0.02, 0.02, 0, 0, 0, 0], dtype=torch.float64)
    counts = []
    for seed in range(400):
        particles = Particles(noise_for(seed, size), size)
        particles.advance(weights.log(), weights.log(), 1.0, torch.arange(size), last=True)
        chosen = particles.resample(0, 1.0, 2.0)
        counts.append(torch.bincount(chosen, minlength=size).double())
        np.testing.assert_allclose(particles.log_normalizer, np.log(0.1))
    expected = weights * size
    stacked = torch.stack(counts)
    assert ((stacked - expected).abs() < 1).all()
    np.testing.assert_allclose(stacked.mean(0), expected, atol=0.1)


def test_populations_do_not_mix_and_rest_while_they_are_even() -> None:
    particles = Particles(noise_for(0, 8), 4)
    log_weights = torch.tensor([0.0, 0, 0, 0, 5, 0, 0, 0], dtype=torch.float64)
    particles.advance(log_weights, log_weights, 1.0, torch.arange(8), last=True)
    chosen = particles.resample(0, 1.0, 0.5)
    assert chosen[:4].tolist() == [0, 1, 2, 3]
    assert set(chosen[4:].tolist()) <= {4, 5, 6, 7}
    assert (chosen[4:] == 4).sum() >= 3


def test_populations_without_a_score_go_on() -> None:
    particles = Particles(noise_for(0, 8), 4)
    dead = torch.full((8,), -torch.inf, dtype=torch.float64)
    dead[6] = 0.0
    particles.advance(dead, dead, 1.0, torch.arange(8), last=True)
    chosen = particles.resample(0, 1.0, 0.5)
    assert sorted(chosen[:4].tolist()) == [0, 1, 2, 3]
    assert chosen[4:].tolist() == [6] * 4
    assert particles.log_normalizer.tolist() == [0, -np.log(4)]
    particles.resample(1, 1.0, 2.0)
    assert particles.log_normalizer.tolist() == [-np.inf, -np.log(4)]


def test_no_score_on_the_way_is_the_lowest_value() -> None:
    one, other = (Particles(noise_for(0, 4), 4) for _ in range(2))
    values = torch.tensor([2.0, 1.0, -torch.inf, 3.0], dtype=torch.float64)
    one.advance(values, values, 1.0, torch.arange(4), last=False)
    filled = values.nan_to_num(neginf=1.0)
    other.advance(filled, filled, 1.0, torch.arange(4), last=False)
    for step, particles in enumerate((one, other)):
        particles.resample(0, 1.0, 2.0)
        assert step == 0 or torch.equal(one.log_normalizer, other.log_normalizer)


def test_tempering_falls_to_the_temperature_half_way() -> None:
    heats = [tempered(2.0, 16.0, step, 8) for step in range(8)]
    np.testing.assert_allclose(heats, [16, 8, 4, 2, 2, 2, 2, 2])
    assert tempered(2.0, 1.0, 0, 8) == 2.0
