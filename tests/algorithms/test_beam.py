"""Beam search: which children go on, how far it looks ahead, and what it gives."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from designkit.algorithms.sampling._guided import Valuer
from designkit.algorithms.sampling.ancestral import Ancestral
from designkit.algorithms.sampling.base import Children, Request
from designkit.algorithms.sampling.beam import Beam
from designkit.algorithms.sampling.svdd import SVDD
from designkit.algorithms.values.base import States
from designkit.algorithms.values.posterior_mean import PosteriorMean
from designkit.randomness import noise_for
from tests.tabular import children_worth, make_rewards, make_world, places

WORLD = make_world(4, 4)
REWARDS = make_rewards(WORLD)


def sample(method: Beam | SVDD, draws: int) -> Tensor:
    objective = WORLD.objective(REWARDS)
    return method.sample(WORLD.model(), objective, Request(4), noise_for(0, draws)).tokens


def test_one_beam_is_greedy_svdd() -> None:
    assert torch.equal(sample(Beam(beams=1, candidates=5), 40), sample(SVDD(candidates=5), 40))


def children(values: list[list[float]], tokens: list[list[int]]) -> Children:
    made = children_worth(torch.tensor(values).double())
    return replace(made, tokens=torch.tensor(tokens)[..., None])


def kept(method: Beam, found: Children, temperature: float = 0.0) -> list[int]:
    return method.select(found, torch.zeros_like(found.values), temperature).tolist()


def test_the_best_distinct_children_within_the_quota_go_on() -> None:
    found = children(
        [[9, 8, 7], [9, 6, 1], [5, 4, 0], [3, math.nan, -math.inf]],
        [[0, 1, 2], [0, 3, 4], [5, 6, 7], [8, 9, 10]],
    )
    assert kept(Beam(beams=4, quota=1), found) == [0, 1, 2, 4]
    assert kept(Beam(beams=4, quota=0.5), found) == [0, 1, 4, 6]
    # The first of equal children stays with its parent: the second parent has 6 and 1 left.
    assert kept(Beam(beams=4, quota=0.1), found) == [0, 4, 6, 9]
    two = children([[1, 2], [4, 3], [5, 6], [8, 7]], [[0, 1], [2, 3], [0, 1], [2, 3]])
    assert kept(Beam(beams=2, quota=1), two) == [2, 3, 6, 7]


def test_places_are_filled_beyond_the_quota_and_by_repeats_and_last_without_a_score() -> None:
    found = children([[5, 4], [5, 5], [math.nan, 3], [5, 5]], [[0, 1], [0, 0], [2, 3], [0, 0]])
    assert kept(Beam(beams=4, quota=0.25), found) == [0, 5, 1, 2]
    none = children([[math.nan, -math.inf]] * 2, [[0, 1], [2, 3]])
    assert len(set(kept(Beam(beams=2), none))) == 2


def test_a_temperature_draws_without_putting_back() -> None:
    values = torch.tensor([[0.0, 1.0], [2.0, 1.5]]).double()
    count, heat = 20_000, 0.7
    made = children_worth(values.repeat(count, 1))
    tokens = torch.arange(4).view(2, 2, 1).repeat(count, 1, 1)
    method = Beam(beams=2, quota=1)
    order = method.select(replace(made, tokens=tokens), torch.zeros_like(made.values), heat)
    order = order.view(count, 2) - 4 * torch.arange(count)[:, None]
    weights = (values.flatten() / heat).softmax(0)
    for first in range(4):
        for second in set(range(4)) - {first}:
            share = float((order == torch.tensor([first, second])).all(1).double().mean())
            chance = weights[first] * weights[second] / (1 - weights[first])
            assert abs(share - float(chance)) < 4.5 * math.sqrt(float(chance) / count)


def test_designs_are_the_best_that_were_scored() -> None:
    for seed in range(5):
        objective = WORLD.objective(REWARDS)
        method = Beam(beams=6, candidates=4)
        noise = noise_for(seed, 6)
        designs = method.sample(WORLD.model(), objective, Request(4), noise).tokens
        found = REWARDS[places(designs, 4).numpy()]
        best = sorted((REWARDS[place] for place in objective.seen), reverse=True)[:6]
        np.testing.assert_array_equal(found, best)


def test_paths_carry_the_probability_of_their_sequences() -> None:
    """One position a step: a path is as likely as its sequence is under the model."""
    method = Beam(beams=10, quota=1, temperature=1e-9, likelihood_weight=1e6)
    designs = sample(method, 40).view(4, 10, 4)
    for population in designs:
        likelihood = WORLD.law[places(population, 4).numpy()]
        assert (np.diff(likelihood) <= 1e-9).all()
        assert likelihood[0] > np.sort(WORLD.law)[-6]


def test_looking_ahead_to_the_end_sees_the_best_completion() -> None:
    tokens = torch.tensor([[1, 4, 4, 2], [4, 0, 4, 3]])
    model, noise = WORLD.model(), noise_for(0, 2)
    plan = model.process.plan(4, 2, "blocks", noise, tokens.where(tokens < 4, -1))
    probs = model.predict_x_0(tokens, plan.times[0].float().expand(2)).detach()
    states = States(
        tokens,
        probs,
        noise.item,
        0,
        plan,
        noise,
        model.predict_x_0,
        torch.zeros(len(tokens), dtype=torch.float64),
    )
    value = Valuer(PosteriorMean(), WORLD.objective(REWARDS), 0.0)
    exact = WORLD.soft_values(REWARDS, 0.0)[places(tokens, 5).numpy()]
    with torch.no_grad():
        far = Beam(lookahead=3, width=60).look_ahead(model.process, value)(states)
        near = Beam(lookahead=1).look_ahead(model.process, value)(states)
    np.testing.assert_allclose(far, exact)
    assert (near.numpy() < exact - 0.1).any()
    assert torch.equal(near, value(states))


def test_schedules_search_ever_more_often() -> None:
    shares = {
        "all": np.ones(40),
        "linear": np.minimum((np.arange(40) + 10) / 40, 1),
        "exponential": 1 - np.exp(-np.arange(40) / 10),
    }
    for search, share in shares.items():
        searched = np.array(Beam(search=search).searched(40))
        assert (abs(searched.cumsum() - share.cumsum()) <= 1).all()
        assert searched[-1]
        assert Beam(search=search).searched(1) == [True]


@pytest.mark.parametrize("value", ["posterior_mean", {"name": "posterior_mean", "guess": "parent"}])
def test_steps_that_are_not_searched_cost_a_row_and_no_reward(value: object) -> None:
    model, objective = WORLD.model(), WORLD.objective(REWARDS)
    method = Beam(beams=5, candidates=6, search="exponential", value=value)
    assert method.searched(4) == [False, False, True, True]
    method.sample(model, objective, Request(4), noise_for(0, 50))
    rows, rewards = method.calls_per_design(4)
    assert (rows, rewards) == (3 + (6 if value == "posterior_mean" else 1), 12)
    assert 50 * 2 < objective.rows <= 50 * 2 * WORLD.size  # equal children are asked for once
    assert model.counter.rows <= 50 * rows


def test_beams_go_on_by_the_models_own_steps_where_nothing_is_searched(monkeypatch) -> None:
    monkeypatch.setattr(Beam, "searched", lambda self, steps: [False] * (steps - 1) + [True])
    plain = sample(Ancestral(), 300)
    found = sample(Beam(beams=1, candidates=8, search="linear"), 300)
    assert ((plain != found).sum(1) <= 1).all()  # the position of the last step
    rewards = torch.from_numpy(REWARDS)
    gained = rewards[places(found, 4)] - rewards[places(plain, 4)]
    assert (gained >= 0).all()
    assert gained.mean() > 0.2


def test_states_are_ranked_by_what_they_are_worth_now() -> None:
    """Population by population: what the states before were worth does not count."""
    count, beams, candidates, heat = 12, 3, 6, 1e-9  # above 0 designs are the last states
    model, noise = WORLD.model(), noise_for(5, count * beams)
    method = Beam(beams=beams, candidates=candidates, quota=1, temperature=heat)
    found = method.sample(model, WORLD.objective(REWARDS), Request(4), noise).tokens
    plan = model.process.plan(4, 4, "blocks", noise)
    x_t, first = plan.start, torch.arange(count)[:, None] * beams * candidates
    for step in range(4):
        with torch.no_grad():
            law = model.process.transition(
                x_t, model.predict_x_0(x_t, torch.ones(len(x_t))), plan, step
            )
            children = law.write(x_t, law.draw(noise.at(step), candidates)).flatten(0, 1)
            guess = model.predict_x_0(children, torch.ones(len(children)))
        values = torch.from_numpy(REWARDS)[places(guess.argmax(-1), 4)]
        gumbel = -noise.at(step).uniform("beam", candidates=candidates).log().neg().log()
        keys = (values + heat * gumbel.flatten()).view(count, -1).tolist()
        kept = []
        for words, own in zip(children.view(count, -1, 4).tolist(), keys, strict=True):
            repeats = [word in words[:place] for place, word in enumerate(words)]
            order = sorted(range(len(own)), key=lambda k: (repeats[k], -own[k]))
            kept.append(order[:beams])
        index = (first + torch.tensor(kept)).flatten()
        x_t, plan = children[index], plan.rows(index // candidates)
    assert torch.equal(found, x_t)
