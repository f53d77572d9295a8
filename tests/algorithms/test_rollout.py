"""Roll-outs against expectations over all completions of a small world, however much is masked."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from designkit.algorithms.sampling.base import Request
from designkit.algorithms.sampling.svdd import SVDD
from designkit.algorithms.values.base import States, ValueEstimator, estimator
from designkit.algorithms.values.rollout import Rollout
from designkit.diffusion.uniform import Uniform
from designkit.models.base import DiffusionModel
from designkit.randomness import noise_for
from tests.tabular import World, make_rewards, make_world, places, tv_excess
from tests.tabular_uniform import UniformWorld

WORLD = make_world(3, 4)
REWARDS = make_rewards(WORLD)
MASK = WORLD.size
TEMPERATURE = 0.5
STATES = {
    4: [[MASK] * 4],
    3: [[2, MASK, MASK, MASK], [MASK, MASK, 1, MASK]],
    2: [[1, MASK, MASK, 2], [0, 1, MASK, MASK], [MASK, 2, 2, MASK]],
    1: [[0, MASK, 2, 1], [2, 2, 0, MASK]],
    0: [[2, 0, 1, 1], [0, 0, 0, 0]],
}


def given(masked: int, repeats: int, model: DiffusionModel) -> States:
    """States with so many masks, each ``repeats`` times, before their next step."""
    tokens = torch.tensor(STATES[masked]).repeat_interleave(repeats, 0)
    noise = noise_for(0, len(tokens))
    known = tokens.where(tokens != MASK, -1)
    plan = model.process.plan(4, max(1, masked), "blocks", noise, known)
    step = 0 if masked else plan.steps
    probs = model.predict_x_0(tokens, plan.times[step].float().expand(len(tokens))).detach()
    return States(
        tokens,
        probs,
        noise.item,
        step,
        plan,
        noise,
        model.predict_x_0,
        torch.zeros(len(tokens), dtype=torch.float64),
    )


def values(kind: ValueEstimator, masked: int, repeats: int, temperature: float) -> np.ndarray:
    """(states, repeats)"""
    model = WORLD.model()
    states = given(masked, repeats, model)
    with torch.no_grad():
        prepared = kind.prepared(model, lambda reference: None)
        found = prepared.values(WORLD.objective(REWARDS), states, temperature)
    return found.values.view(-1, repeats).numpy()


def exact(masked: int, temperature: float) -> np.ndarray:
    place = places(torch.tensor(STATES[masked]), MASK + 1).numpy()
    return WORLD.soft_values(REWARDS, temperature)[place]


@pytest.mark.parametrize("masked", sorted(STATES))
@pytest.mark.parametrize("completions", [1, 5])
def test_exp_of_the_value_is_unbiased_at_every_level(masked: int, completions: int) -> None:
    repeats = 3000
    found = np.exp(values(Rollout(completions=completions), masked, repeats, TEMPERATURE) * 2)
    error = found.std(1, ddof=1) / np.sqrt(repeats)
    assert (np.abs(found.mean(1) - np.exp(exact(masked, TEMPERATURE) * 2)) < 4 * error + 1e-9).all()


@pytest.mark.parametrize("masked", [0, 1, 2, 3, 4])
def test_many_completions_are_the_exact_soft_value(masked: int) -> None:
    found = values(Rollout(completions=8000), masked, 1, TEMPERATURE)[:, 0]
    np.testing.assert_allclose(found, exact(masked, TEMPERATURE), atol=0.05)


def test_one_step_for_all_letters_is_biased_as_independent_letters_are() -> None:
    short = values(Rollout(completions=8000, steps=1), 4, 1, TEMPERATURE)
    letters = values(estimator({"name": "monte_carlo", "completions": 8000}), 4, 1, TEMPERATURE)
    assert abs(short - exact(4, TEMPERATURE)[:, None]).item() > 0.04
    assert short.item() == pytest.approx(letters.item(), abs=0.05)


def test_temperature_zero_is_the_best_possible_completion() -> None:
    possible = World(np.where(WORLD.law > 1e-3, WORLD.law, 0), 3, 4)
    for masked in STATES:
        place = places(torch.tensor(STATES[masked]), MASK + 1).numpy()
        found = values(Rollout(completions=3000), masked, 1, 0.0)[:, 0]
        best = WORLD.soft_values(REWARDS, 0.0)[place]
        sure = possible.soft_values(REWARDS, 0.0)[place]
        assert (found <= best + 1e-12).all()
        assert (found >= sure - 1e-12).all()


def test_roll_outs_revise_letters_by_the_chain_that_is_left() -> None:
    """Under uniform noise: every noisy state against products of the steps' own matrices."""
    world = make_world(3, 2)
    rewards, steps, step, repeats = make_rewards(world), 5, 3, 3000
    uniform = UniformWorld(world, Uniform(size=3))
    model, states = uniform.model(), world.clean
    ahead = np.exp(rewards / TEMPERATURE)
    times = torch.linspace(1, 0, steps + 1, dtype=torch.float64)
    for later in range(steps - 1, step - 1, -1):
        t, s = (times[k].expand(len(states)) for k in (later, later + 1))
        with torch.no_grad():
            probs = model.process.posterior(states, model.predict_x_0(states, t.float()), s, t)
        moves = torch.stack([probs[:, at][:, states[:, at]] for at in range(2)]).prod(0)
        ahead = moves.numpy() @ ahead
    tokens = states.repeat_interleave(repeats, 0)
    noise = noise_for(0, len(tokens))
    plan = model.process.plan(2, steps, "grid", noise)
    with torch.no_grad():
        guess = model.predict_x_0(tokens, times[step].float().expand(len(tokens)))
        zeros = torch.zeros(len(tokens), dtype=torch.float64)
        here = States(tokens, guess, noise.item, step, plan, noise, model.predict_x_0, zeros)
        kind = Rollout(completions=3).prepared(model, lambda reference: None)
        values = kind.values(world.objective(rewards), here, TEMPERATURE).values
    found = (values / TEMPERATURE).exp().view(-1, repeats).numpy()
    error = found.std(1, ddof=1) / np.sqrt(repeats)
    assert (np.abs(found.mean(1) - ahead) < 4.5 * error).all()
    assert (error < 0.05 * ahead).all()


@pytest.mark.slow
def test_svdd_with_roll_outs_draws_the_target() -> None:
    def excess(value: object) -> float:
        method = SVDD(candidates=20, temperature=TEMPERATURE, value=value)
        drawn = method.sample(
            WORLD.model(), WORLD.objective(REWARDS), Request(4), noise_for(1, 1500)
        )
        return tv_excess(drawn.tokens, WORLD.tilted(REWARDS, TEMPERATURE))

    assert excess({"name": "rollout", "completions": 24}) < 0.04
    assert excess({"name": "monte_carlo", "completions": 24}) > 0.06


@pytest.mark.parametrize("steps", [None, 1, 2])
@pytest.mark.parametrize("decoding", ["blocks", "grid"])
def test_calls_are_those_announced(steps: int | None, decoding: str) -> None:
    model, objective = WORLD.model(), WORLD.objective(REWARDS)
    value = {"name": "rollout", "completions": 3, "steps": steps}
    method = SVDD(candidates=2, temperature=TEMPERATURE, value=value, decoding=decoding)
    method.sample(model, objective, Request(4), noise_for(2, 1))
    rows, rewards = method.calls_per_design(4)
    assert rewards == 2 * 4 * 3
    taken = [min(left, steps or 4) - 1 for left in (3, 2, 1)]
    assert rows == 1 + 2 * 3 + 2 * 3 * sum(taken)
    assert model.counter.rows <= rows
    assert objective.rows <= rewards


def test_trials_leave_the_noise_of_the_designs_alone() -> None:
    """Completions of children are not the letters that the children then draw."""
    states = given(4, 1, WORLD.model())
    law = WORLD.model().process.transition(states.tokens, states.x_0_probs, states.plan, 0)
    tried = law.draw(states.noise, 50, "roll-out 0")
    assert not torch.equal(tried, law.draw(states.noise, 50))


def nested(rows: int, *counts: int) -> Tensor:
    noise = noise_for(0, rows)
    for count in counts:
        noise = noise.repeat(count)
    assert isinstance(noise.candidate, Tensor)
    return noise.candidate


def test_candidates_of_candidates_have_numbers_of_their_own() -> None:
    assert nested(2, 3).tolist() == [0, 1, 2] * 2
    assert nested(2, 3, 2).tolist() == list(range(6)) * 2
