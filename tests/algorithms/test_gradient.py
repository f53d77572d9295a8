"""Gradient guidance: exact where first order is, else put right by candidates."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest
import torch
from torch import Tensor

from designkit.algorithms.sampling._guided import Valuer
from designkit.algorithms.sampling._tilts import (
    denoiser_changes,
    gradient_tilt,
    guess_changes,
)
from designkit.algorithms.sampling.base import Request
from designkit.algorithms.sampling.gradient import Gradient
from designkit.algorithms.values.base import Objective, States, ValueEstimator, Values
from designkit.diffusion.uniform import Uniform
from designkit.randomness import noise_for
from tests.tabular import (
    ExactValue,
    World,
    half_way,
    independent_world,
    make_rewards,
    make_world,
    places,
    tv,
    tv_excess,
)
from tests.tabular_uniform import UniformWorld

WORLD = make_world()
REWARDS = make_rewards(WORLD)
FORMS = ["guess", "straight_through", "denoiser"]


class ExactGradient(Gradient):
    table: tuple[float, ...]

    def estimator(self) -> ExactValue:
        return ExactValue(table=self.table, states=WORLD.size + 1)


def draw(
    method: Gradient, draws: int, world: World = WORLD, rewards: np.ndarray = REWARDS
) -> Tensor:
    objective = world.objective(rewards)
    noise = noise_for(0, draws)
    return method.sample(world.model(), objective, Request(world.length), noise).tokens


@pytest.mark.parametrize("gradient", FORMS)
def test_sums_over_independent_positions_are_exact(gradient: str) -> None:
    world, rewards = independent_world()
    tokens = draw(Gradient(temperature=0.7, gradient=gradient), 20_000, world, rewards)
    assert abs(tv_excess(tokens, world.tilted(rewards, 0.7))) < 0.01
    twice = Gradient(temperature=0.7, gradient=gradient, guidance_scale=2.0)
    tokens = draw(twice, 20_000, world, rewards)
    assert abs(tv_excess(tokens, world.tilted(rewards, 0.35))) < 0.01


def test_each_step_is_tilted_at_its_own_temperature() -> None:
    """Independent positions, tempered: the mean over orders of what each position's step makes."""
    world, rewards = independent_world()
    method = Gradient(temperature=0.4, tempering=8.0, annealed=1.0)
    heats = [method.temperature_at(step, world.length) for step in range(world.length)]
    clean, place = world.clean.numpy(), np.arange(world.length)
    letters = world.conditionals[-1]
    # What a letter is worth, up to a constant of its position.
    worth = np.array(
        [[rewards[clean[:, at] == v].mean() for v in range(world.size)] for at in place]
    )
    tilted = letters * np.exp(worth / np.array(heats)[:, None, None])  # (step, L, K)
    tilted /= tilted.sum(-1, keepdims=True)
    orders = [list(order) for order in permutations(range(world.length))]
    exact = np.mean([tilted[order, place, clean].prod(1) for order in orders], axis=0)
    tokens = draw(method, 20_000, world, rewards)
    assert abs(tv_excess(tokens, exact)) < 0.01
    assert tv_excess(tokens, world.tilted(rewards, 0.4)) > 0.05


def test_scale_0_is_the_model() -> None:
    tokens = draw(Gradient(temperature=0.7, guidance_scale=0.0), 10_000)
    assert abs(tv_excess(tokens, WORLD.law)) < 0.015


def test_candidates_put_right_what_first_order_misses() -> None:
    table = tuple(WORLD.soft_values(REWARDS, 0.5).tolist())
    target = WORLD.tilted(REWARDS, 0.5)
    excess = [
        tv_excess(draw(ExactGradient(temperature=0.5, candidates=count, table=table), 1500), target)
        for count in (1, 4, 60)
    ]
    assert excess[0] > 2 * excess[1] > 4 * excess[2]
    assert excess[2] < 0.04


def test_nothing_is_valued_without_a_choice() -> None:
    objective = WORLD.objective(REWARDS)
    model = WORLD.model()
    Gradient(temperature=0.5).sample(model, objective, Request(4), noise_for(0, 20))
    assert objective.rows == 0
    assert model.counter.calls == 4


@pytest.mark.parametrize("slope", [1e30, -1e30, float("inf"), float("nan")])
def test_extreme_gradients_neither_overflow_nor_crash(slope: float) -> None:
    model = WORLD.model()
    states = half_way(model, torch.tensor([[4, 4, 4, 4]]))
    law = model.process.transition(states.tokens, states.x_0_probs, states.plan, 1)

    def changes(states: States) -> Tensor:
        return torch.tensor([0.0, 0.0, slope, 0.0]).expand(1, 4, 4)

    probs = gradient_tilt(changes, lambda step: 1e-9, 1e9)(states, law).probs
    assert probs.sum(-1).numpy() == pytest.approx(1)
    if np.isnan(slope):
        np.testing.assert_allclose(probs, law.probs, rtol=1e-6)
    else:
        assert probs[0, 0, 2] == (slope > 0)


def test_it_raises_the_reward_of_dependent_positions() -> None:
    rewards = torch.from_numpy(REWARDS)
    means = [
        float(rewards[places(draw(Gradient(temperature=0.3, gradient=form), 2000), 4)].mean())
        for form in FORMS
    ]
    assert min(means) > float(WORLD.law @ REWARDS) + 0.4


def guided_steps(
    uniform: UniformWorld, rewards: np.ndarray, temperature: float, steps: int, *, hard: bool
) -> list[np.ndarray]:
    """(S, S) the law of every step from every state, one step after another, under guidance."""
    model, states = uniform.model(), uniform.world.clean
    changes = guess_changes(uniform.world.objective(rewards), hard=hard)
    tilt = gradient_tilt(changes, lambda step: temperature, 1.0, of_clean=True)
    noise = noise_for(0, len(states))
    plan = model.process.plan(uniform.world.length, steps, "grid", noise)
    found = []
    for step in range(steps):
        time = plan.times[step].float().expand(len(states))
        with torch.no_grad():
            guess = model.predict_x_0(states, time)
        zeros = torch.zeros(len(states), dtype=torch.float64)
        here = States(
            states, guess, noise.item, step, plan, noise.at(step), model.predict_x_0, zeros
        )
        law = tilt(here, model.process.transition(states, guess, plan, step))
        moves = [law.probs[:, place][:, states[:, place]] for place in range(states.shape[1])]
        found.append(torch.stack(moves).prod(0).numpy())
    return found


@pytest.mark.parametrize("hard", [False, True])
def test_a_step_under_uniform_noise_is_that_of_the_target(hard: bool) -> None:
    """Sums over independent positions: p*(x_s) q(x_t | x_s), normalised, by enumeration."""
    world, rewards = independent_world(3, 3)
    uniform = UniformWorld(world, Uniform(size=3))
    steps, temperature, states = 6, 0.5, world.clean
    found = guided_steps(uniform, rewards, temperature, steps, hard=hard)
    target = world.tilted(rewards, temperature)
    for step in (0, 2, 5):
        t, s = 1 - step / steps, 1 - (step + 1) / steps
        ratio = (1 - t**2) / (1 - s**2)  # of the signal left, quadratic schedule
        same = (states[:, None] == states).double()
        between = (ratio * same + (1 - ratio) / 3).prod(2).numpy()  # (x_s, x_t), symmetric
        joint = between * (target @ uniform.given(s).numpy())  # (x_t, x_s)
        expected = joint / joint.sum(1, keepdims=True)
        np.testing.assert_allclose(found[step], expected, atol=2e-6)
    chain = np.full(len(states), 1 / len(states))
    for moves in found:
        chain = chain @ moves
    other = UniformWorld(World(target, 3, 3), uniform.process)
    assert tv(chain, other.chain_law(other.model(), steps)) < 1e-5
    assert tv(chain, uniform.chain_law(uniform.model(), steps)) > 0.2


class LinearValue(ValueEstimator):
    """A value network that is linear in what the state shows."""

    def relaxed_values(self, x_t: Tensor, t: Tensor) -> Tensor:
        return (x_t * SLOPES).sum((1, 2))

    def values(self, reward: Objective, states: States, temperature: float) -> Values:
        raise NotImplementedError


SLOPES = torch.from_numpy(np.random.default_rng(3).normal(size=(3, 3))).float()


@pytest.mark.parametrize("gradient", [*FORMS, "learned"])
def test_slopes_of_the_state_tilt_the_state_and_those_of_the_guess_the_guess(gradient: str) -> None:
    """Under uniform noise, where a letter of the next state is not one of the clean sequence."""
    world = make_world(3, 3)
    rewards = make_rewards(world)
    uniform, objective = UniformWorld(world, Uniform(size=3)), world.objective(rewards)
    model, states = uniform.model(), world.clean
    noise = noise_for(0, len(states))
    plan = model.process.plan(3, 6, "grid", noise)
    time = plan.times[2].float().expand(len(states))
    with torch.no_grad():
        guess = model.predict_x_0(states, time)
    zeros = torch.zeros(len(states), dtype=torch.float64)
    here = States(states, guess, noise.item, 2, plan, noise, model.predict_x_0, zeros)
    law = model.process.transition(states, guess, plan, 2)
    method = Gradient(temperature=0.5, gradient=gradient, steps=6)
    tilt = method.tilt(model, Request(3), Valuer(LinearValue(), objective, 0.5))
    assert tilt is not None
    with torch.inference_mode():
        found = tilt(here, law).probs
        if gradient == "learned":
            expected = law.probs * (SLOPES.double() / 0.5).exp()
        elif gradient == "denoiser":
            changes = denoiser_changes(objective, model.process)(here)
            expected = law.probs * (changes.double() / 0.5).exp()
        else:
            changes = guess_changes(objective, hard=gradient == "straight_through")(here)
            bent = guess * (changes.double() / 0.5).exp()
            bent = bent / bent.sum(-1, keepdim=True)
            t, s = (plan.times[step].expand(len(states)) for step in (2, 3))
            expected = model.process.posterior(states, bent, s, t)
    expected = expected / expected.sum(-1, keepdim=True)
    np.testing.assert_allclose(found, expected, atol=1e-6)


@pytest.mark.parametrize("gradient", ["guess", "straight_through"])
def test_designs_under_uniform_noise_follow_the_target(gradient: str) -> None:
    """Tilting every step's letters in place of the guess overshoots, to an excess of 0.36."""
    world, rewards = independent_world(3, 3)
    uniform = UniformWorld(world, Uniform(size=3))
    method = Gradient(temperature=0.5, gradient=gradient, steps=24)
    noise = noise_for(0, 3000)
    designs = method.sample(uniform.model(), world.objective(rewards), Request(3), noise)
    target = World(world.tilted(rewards, 0.5), 3, 3)
    chain = UniformWorld(target, uniform.process)
    assert tv_excess(designs.tokens, chain.chain_law(chain.model(), 24)) < 0.01
