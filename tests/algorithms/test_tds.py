"""Twisted SMC against the enumerated target and its normaliser, gradients against differences."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from designkit.algorithms.sampling import _guided, _particles
from designkit.algorithms.sampling._particles import Particles
from designkit.algorithms.sampling._tilts import (
    denoiser_changes,
    gradient_tilt,
    guess_changes,
    learned_changes,
)
from designkit.algorithms.sampling.base import Children, Designs, Request
from designkit.algorithms.sampling.tds import TDS
from designkit.algorithms.values.base import Objective, States, ValueEstimator, Values
from designkit.alphabet import DNA
from designkit.diffusion.base import Transition
from designkit.diffusion.masked import Masked
from designkit.errors import UsageError
from designkit.models.base import DiffusionModel, LengthLaw
from designkit.models.transformer import TransformerDenoiser
from designkit.randomness import noise_for
from designkit.recipes.training import build_seeded
from tests.tabular import (
    ExactValue,
    World,
    half_way,
    independent_world,
    make_rewards,
    make_world,
    tv_excess,
)

WORLD = make_world()
REWARDS = make_rewards(WORLD)
K, L = WORLD.size, WORLD.length


class LinearValue(ValueEstimator):
    """A value network that is linear in what the state shows; the mask counts too."""

    def weights(self) -> Tensor:
        return torch.from_numpy(np.random.default_rng(3).normal(size=(L, K + 1)) / 3).float()

    def relaxed_values(self, x_t: Tensor, t: Tensor) -> Tensor:
        return (x_t * self.weights()).sum((1, 2))

    def values(self, reward: Objective, states: States, temperature: float) -> Values:
        if states.finished:
            return Values(reward.values(states.tokens))
        one_hot = torch.nn.functional.one_hot(states.tokens, K + 1).float()
        return Values(self.relaxed_values(one_hot, states.time).double())


def draw(
    method: TDS, populations: int, world: World = WORLD, rewards: np.ndarray = REWARDS
) -> Designs:
    noise = noise_for(0, populations * method.particles)
    return method.sample(world.model(), world.objective(rewards), Request(world.length), noise)


def normalizers(designs: Designs, populations: int) -> np.ndarray:
    return np.exp(designs.columns["log_normalizer"].view(populations, -1)[:, 0].numpy())


@pytest.fixture
def linear_value(monkeypatch: pytest.MonkeyPatch) -> None:
    """``value`` is the linear network, which knows nothing of the toy world."""
    monkeypatch.setattr(_guided, "estimator", lambda name: LinearValue())


@pytest.mark.parametrize("temperature", [0.3, 1.0, 3.0])
def test_many_particles_draw_the_target(temperature: float, monkeypatch) -> None:
    table = tuple(WORLD.soft_values(REWARDS, temperature).tolist())
    value = ExactValue(table=table, states=K + 1)
    monkeypatch.setattr(_guided, "estimator", lambda name: value)
    designs = draw(TDS(particles=2000, temperature=temperature), 20)
    assert tv_excess(designs.tokens, WORLD.tilted(REWARDS, temperature)) < 0.02
    assert tv_excess(designs.tokens, WORLD.law) > 0.05


@pytest.mark.parametrize(
    "settings",
    [
        {"gradient": "straight_through"},
        {"gradient": "denoiser"},
        {"gradient": "learned"},
        {"guidance_scale": 2.0},
        {"tempering": 5.0},
    ],
    ids=str,
)
def test_the_target_is_that_whatever_the_gradient(settings, request) -> None:
    if settings.get("gradient") == "learned":
        request.getfixturevalue("linear_value")
    designs = draw(TDS(particles=2000, temperature=1.0, **settings), 20)
    assert tv_excess(designs.tokens, WORLD.tilted(REWARDS, 1.0)) < 0.02


@pytest.mark.parametrize("temperature", [0.3, 1.0, 3.0])
@pytest.mark.parametrize("gradient", ["guess", "learned"])
def test_the_normalizer_is_unbiased(temperature: float, gradient: str, request) -> None:
    if gradient == "learned":
        request.getfixturevalue("linear_value")
    populations = 3000
    method = TDS(particles=8, temperature=temperature, gradient=gradient)
    found = normalizers(draw(method, populations), populations)
    true = float(WORLD.law @ np.exp(REWARDS / temperature))
    assert abs(found.mean() - true) < 3 * found.std(ddof=1) / np.sqrt(populations)


class Unpaid(Particles):
    """The proposal is not paid for."""

    def advance(self, children: Children, temperature: float) -> Tensor:
        ratio = torch.zeros_like(children.log_ratio)
        return super().advance(replace(children, log_ratio=ratio), temperature)


def without_normalizer(self: Transition, log_factors: Tensor) -> Transition:
    """exp(g / temperature) is taken back, Z_l is left out."""
    return replace(self, probs=self.probs.double() * log_factors.exp())


@pytest.mark.parametrize("wrong", ["unpaid", "without normalizer"])
def test_wrong_weights_are_caught(wrong: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if wrong == "unpaid":
        monkeypatch.setattr(_particles, "Particles", Unpaid)
    else:
        monkeypatch.setattr(Transition, "tilted", without_normalizer)
    designs = draw(TDS(particles=2000, temperature=0.5), 10)
    assert tv_excess(designs.tokens, WORLD.tilted(REWARDS, 0.5)) > 0.04


@pytest.mark.parametrize("gradient", ["guess", "straight_through", "denoiser"])
def test_the_weights_have_no_variance_where_first_order_is_all(gradient: str) -> None:
    """v_s - v_t is the change g: each step weighs Z_l, in the end the same for every particle."""
    world, rewards = independent_world()
    method = TDS(particles=4, temperature=0.5, gradient=gradient, value="posterior_soft")
    found = normalizers(draw(method, 200, world, rewards), 200)
    np.testing.assert_allclose(found, world.law @ np.exp(rewards / 0.5), rtol=1e-4)


@pytest.mark.parametrize("hard", [False, True])
def test_the_change_of_the_guess_is_exact_for_rewards_linear_in_each_position(hard: bool) -> None:
    """The toy's relaxed reward is: r(pi with row l = e_v) - r(pi), worked out one by one."""
    model, objective = WORLD.model(), WORLD.objective(REWARDS)
    states = half_way(model, torch.tensor([[4, 4, 4, 4], [4, 1, 4, 2]]))
    at = states.x_0_probs.double()
    if hard:
        at = torch.nn.functional.one_hot(at.argmax(-1), K).double()
    with torch.inference_mode():
        found = guess_changes(objective, hard=hard)(states)
    for row, position, letter in [(0, 0, 1), (0, 3, 2), (1, 0, 0), (1, 2, 3)]:
        moved = at.clone()
        moved[row, position] = torch.eye(K)[letter]
        before, after = objective.score_relaxed(at)[row], objective.score_relaxed(moved)[row]
        assert found[row, position, letter] == pytest.approx(float(after - before), abs=1e-5)


class Smooth:
    """A smooth reward of DNA letters that is linear in nothing."""

    def score_relaxed(self, probs: Tensor, valid: Tensor | None = None) -> Tensor:
        weights = torch.linspace(-1, 1, probs[0].numel()).sin().view(probs[0].shape)
        return (probs * weights).sum((1, 2)).tanh() + 0.3 * probs[:, :-1, 2].mul(
            probs[:, 1:, 1]
        ).sum(1)


def test_the_change_through_the_denoiser_is_the_derivative_along_the_letter() -> None:
    """Finite differences of r(pi(x_t)) from the mask towards each letter."""
    settings = TransformerDenoiser(channels=16, layers=2, heads=2)  # which is smooth
    network = build_seeded(lambda: settings.build(5, 4), 0).eval()
    with torch.no_grad():
        network.head.weight.mul_(8)
    model = DiffusionModel(network, Masked(size=4), DNA, LengthLaw({12: 1}))
    tokens = torch.tensor([[4] * 12, [4, 0, 1, 4, 2, 3, 4, 4, 1, 1, 4, 0]])
    states = half_way(model, tokens)
    with torch.inference_mode():
        found = denoiser_changes(Smooth(), model.process)(states)
        direct = guess_changes(Smooth(), hard=False)(states)
    x_t = torch.nn.functional.one_hot(tokens, 5).float()
    times = states.time.float().expand(2)
    small = 5e-3
    for position, letter in [(0, 1), (3, 2), (6, 0), (10, 3)]:
        values = []
        for sign in (1, -1):
            moved = x_t.clone()
            moved[:, position, letter] += sign * small
            moved[:, position, 4] -= sign * small
            values.append(Smooth().score_relaxed(model.predict_x_0(moved, times)).detach())
        expected = (values[0] - values[1]) / (2 * small)
        np.testing.assert_allclose(found[:, position, letter], expected, rtol=2e-2, atol=2e-3)
    assert float((found - direct).abs().max()) > 0.01  # what the letter says of the others


def test_the_change_of_a_linear_network_is_the_difference_of_its_weights() -> None:
    value, model = LinearValue(), WORLD.model()
    states = half_way(model, torch.tensor([[4, 4, 1, 4]]))
    with torch.inference_mode():
        found = learned_changes(value.relaxed_values, model.process)(states)
    weights = value.weights()
    np.testing.assert_allclose(found[0, [0, 1, 3]], (weights - weights[:, 4:])[[0, 1, 3], :4], 1e-5)


def test_equal_states_are_computed_once_and_rows_do_not_see_each_other() -> None:
    model, objective = WORLD.model(), WORLD.objective(REWARDS)
    tokens = torch.tensor([[4, 1, 4, 2], [4, 4, 4, 4], [4, 1, 4, 2]])
    asked = []

    def changes(states: States) -> Tensor:
        asked.append(len(states.tokens))
        return guess_changes(objective, hard=False)(states)

    tilt = gradient_tilt(changes, lambda step: 0.5, 1.0)

    def tilted(rows: list[int]) -> Tensor:
        states = half_way(model, tokens[rows])
        law = model.process.transition(states.tokens, states.x_0_probs, states.plan, 1)
        with torch.inference_mode():
            found = tilt(states, law)
        assert torch.equal(found.positions, law.positions)
        assert torch.equal(found.open, law.open)
        return found.probs

    whole = tilted([0, 1, 2])
    assert asked == [2]
    np.testing.assert_allclose(whole[:2], tilted([0, 1]), rtol=1e-6)


def test_learned_needs_a_value_network() -> None:
    with pytest.raises(UsageError, match=r"add --set value\.name=learned"):
        draw(TDS(particles=2, temperature=1.0, gradient="learned"), 1)
