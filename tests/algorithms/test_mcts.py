"""Tree search against enumerated soft values, and its use of rewards against random search."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from designkit.algorithms.sampling._tree import Trees, distinct_letters
from designkit.algorithms.sampling.base import Request
from designkit.algorithms.sampling.mcts import MCTS, Search
from designkit.diffusion.base import Transition
from designkit.randomness import noise_for
from tests.tabular import CountedTable, Law, World, make_rewards, make_world, places, tv_excess

WORLD = make_world(3, 4)
REWARDS = make_rewards(WORLD)


def root_values(method: MCTS, iterations: int, trees: int = 4) -> np.ndarray:
    with torch.inference_mode():
        search = Search(
            method, WORLD.model(), WORLD.objective(REWARDS), Request(4), noise_for(0, trees)
        )
        for _ in range(iterations):
            search.iterate()
    return search.trees.root_quality[:, 0].numpy()


@pytest.mark.parametrize("temperature", [0.3, 2.0])
def test_a_complete_tree_knows_the_exact_soft_value(temperature: float) -> None:
    method = MCTS(candidates=3, temperature=temperature, iterations=11, commit=False)
    exact = WORLD.soft_values(REWARDS, temperature)[-1]
    errors = [np.abs(root_values(method, n) - exact).mean() for n in (1, 15, 40)]
    assert errors[0] > errors[1] > 100 * errors[2]
    np.testing.assert_allclose(errors[2], 0, atol=1e-5)


def test_other_backups_have_other_limits() -> None:
    mean = MCTS(candidates=3, temperature=0.3, iterations=11, commit=False, backup="mean")
    np.testing.assert_allclose(root_values(mean, 40), WORLD.law @ REWARDS, atol=1e-5)
    best = MCTS(candidates=3, iterations=11, commit=False)
    np.testing.assert_allclose(root_values(best, 40), REWARDS.max(), atol=1e-9)


@pytest.mark.parametrize("rows", [2000, pytest.param(30_000, marks=pytest.mark.slow)])
def test_outcomes_are_drawn_without_putting_back(rows: int) -> None:
    letters = np.array([[0.5, 0.3, 0.2], [0.1, 0.2, 0.7]])
    law = Transition(
        torch.tensor([[0, 2, 1]]).expand(rows, -1),
        torch.tensor([*letters.tolist(), [1 / 3] * 3]).expand(rows, -1, -1),
        torch.tensor([[True, True, False]]).expand(rows, -1),
    )
    uniform = noise_for(0, rows).uniform("action", 3, 6)
    drawn, log_prob = distinct_letters(law, 2, uniform)
    joint = np.outer(*letters).ravel()
    codes = (drawn[..., 0] * 3 + drawn[..., 1]).numpy()
    assert (drawn[..., 2] == 0).all()
    np.testing.assert_allclose(log_prob.exp(), joint[codes], rtol=1e-6)
    assert (codes[:, 0] != codes[:, 1]).all()
    for first in range(9):
        for second in set(range(9)) - {first}:
            chance = joint[first] * joint[second] / (1 - joint[first])
            share = ((codes == [first, second]).all(1)).mean()
            assert abs(share - chance) < 5 * np.sqrt(chance / rows) + 1e-4
    _, log_prob = distinct_letters(law, 20, noise_for(1, rows).uniform("action", 3, 60))
    assert (log_prob[:, :9].exp().sum(1) - 1).abs().max() < 1e-6
    assert log_prob[:, 9:].isneginf().all()


def grown(
    prior: torch.Tensor, quality: torch.Tensor, own: float, temperature: float, **settings: Any
) -> Trees:
    """Trees (T) of a root worth ``own`` by itself and its children, (T, M) and finished."""
    count, children = quality.shape
    law = Transition(
        torch.zeros(count, 1).long(), torch.full((count, 1, 3), 1 / 3), torch.ones(count, 1).bool()
    )
    trees = Trees(
        torch.full((count, 1), 3),
        law,
        torch.full((count, 1), own).double(),
        nodes=1 + children,
        children=children,
        temperature=temperature,
        **{"backup": "soft", **settings},
    )
    trees.grow(
        torch.arange(count),
        trees.descend(1.0, noise_for(0, count)),
        torch.arange(children)[:, None].expand(count, -1, -1),
        prior.log().expand(count, -1),
        quality[..., None],
        None,
        finished=torch.ones(count).bool(),
    )
    return trees


@pytest.mark.parametrize("temperature", [0.0, 0.7])
def test_the_root_moves_on_by_the_share_of_each_child(temperature: float) -> None:
    """p(c) exp(Q(c) / temperature); at temperature 0 to the best child."""
    prior, quality = torch.tensor([0.5, 0.3, 0.2]).double(), torch.tensor([0.0, 0.6, -0.5]).double()
    count = 20_000
    trees = grown(prior, quality.expand(count, -1), 0.0, temperature)
    trees.commit(temperature, noise_for(1, count))
    shares = (trees.root - 1).bincount(minlength=3) / count
    exact = torch.tensor([0.0, 1, 0]).double()
    if temperature:
        exact = prior * (quality / temperature).exp()
        exact = exact / exact.sum()
    assert ((shares - exact).abs() <= 4.5 * (exact * (1 - exact) / count).sqrt()).all()


def test_what_is_not_expanded_is_worth_what_the_node_was() -> None:
    """Two children of probability 0.7 together, and 0.3 of what their parent was by itself."""
    prior, quality = torch.tensor([0.5, 0.2]).double(), torch.tensor([[1.0, -0.5]]).double()
    mean = 0.5 * 1.0 + 0.2 * -0.5 + 0.3 * 0.4
    soft = 0.7 * np.log(0.5 * np.exp(1 / 0.7) + 0.2 * np.exp(-0.5 / 0.7) + 0.3 * np.exp(0.4 / 0.7))
    for own, temperature, settings, expected in (
        (0.4, 0.7, {}, soft),
        (0.4, 0.7, {"backup": "mean"}, mean),
        (0.4, 0.0, {}, 1.0),
        (1.4, 0.0, {}, 1.4),
    ):
        found = grown(prior, quality, own, temperature, **settings).root_quality
        assert found.item() == pytest.approx(expected)


@pytest.mark.parametrize("exploration", [0.0, 1e9])
def test_edges_are_followed_by_worth_and_by_how_seldom_they_were(exploration: float) -> None:
    """By worth alone, or by p(c) / (1 + visits) alone."""
    method = MCTS(candidates=3, iterations=11, commit=False, exploration=exploration)
    with torch.inference_mode():
        search = Search(
            method, WORLD.model(), WORLD.objective(REWARDS), Request(4), noise_for(1, 6)
        )
        search.iterate()
        trees = search.trees
        kids = trees.tokens[:, 1:4]
        worth, prior = trees.quality[:, 1:4, 0].clone(), trees.log_prior[:, 1:4].exp()
        for _ in range(1 if exploration == 0 else 8):
            search.iterate()
    for tree in range(6):
        position = int((kids[tree, 0] != 3).nonzero())
        expanded = (trees._first[tree] >= 0) & (trees.depth[tree] > 0)
        found = [
            int((expanded & (trees.tokens[tree, :, position] == letter)).sum())
            for letter in kids[tree, :, position]
        ]
        visits = torch.zeros(3)
        for _ in range(1 if exploration == 0 else 8):
            score = worth[tree] if exploration == 0 else prior[tree] / (1 + visits)
            visits[int(score.argmax())] += 1
        assert found == visits.tolist()


class Ordered(CountedTable):
    """Which of the distinct sequences that were asked for was the first best one."""

    found_at: int | None = None

    def values(self, tokens: torch.Tensor) -> torch.Tensor:
        for place in places(tokens, self.size).tolist():
            self.seen.add(place)
            if self.found_at is None and self.table[place] == self.table.max():
                self.found_at = len(self.seen)
        return super().values(tokens)


def evaluations(world: World, rewards: Law, method: MCTS, seed: int) -> int:
    """Distinct sequences that are scored until the best one."""
    objective = Ordered(rewards, world.size)
    start = 0
    while objective.found_at is None:
        noise = noise_for(seed, method.population, start=start)
        method.sample(world.model(), objective, Request(world.length), noise)
        start += method.population
    return objective.found_at


@pytest.mark.slow
def test_the_best_of_256_is_found_with_fewer_evaluations_than_by_chance() -> None:
    """Random search without repeats needs 128.5 on average, whatever the rewards.

    The tree needs 76 here (median), though the prior gives the best a third of a fair share.
    """
    world = make_world(4, 4)
    rewards = np.array([1.0, 0.7, 0.4, 0.2])[:, None] * np.ones(4)
    letters = np.stack([np.roll(rewards[:, 0], place) for place in range(4)])
    table = letters[np.arange(4), world.clean.numpy()].sum(1)
    table += 0.05 * make_rewards(world)
    method = MCTS(candidates=4, iterations=2)
    needed = [evaluations(world, table, method, seed) for seed in range(15)]
    assert np.median(needed) < 0.7 * 128.5


def test_designs_are_the_best_that_were_scored() -> None:
    for seed in range(4):
        objective = WORLD.objective(REWARDS)
        method = MCTS(designs=5, candidates=3)
        noise = noise_for(seed, 5)
        designs = method.sample(WORLD.model(), objective, Request(4), noise).tokens
        best = sorted((REWARDS[place] for place in objective.seen), reverse=True)[:5]
        np.testing.assert_array_equal(REWARDS[places(designs, 3).numpy()], best)


def test_a_temperature_draws_from_what_was_scored_in_proportion() -> None:
    """One step, and as many children as sequences: every tree scores all of them."""
    method = MCTS(steps=1, candidates=81, iterations=1, temperature=0.7)
    count = 1500
    noise = noise_for(0, count)
    designs = method.sample(WORLD.model(), WORLD.objective(REWARDS), Request(4), noise).tokens
    weights = np.where(WORLD.law > 0, np.exp(REWARDS / 0.7), 0)
    assert abs(tv_excess(designs, weights / weights.sum())) < 0.02
    for other in (0.5, 1.0):
        weights = np.exp(REWARDS / other)
        assert tv_excess(designs, weights / weights.sum()) > 0.04


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"value": "posterior_soft"}, "mcts needs a value that completes"),
        ({"value": {"name": "learned", "model": "v"}}, "mcts needs a value that completes"),
        ({"order": "margin"}, "random order"),
        ({"proposal": "other"}, "leave out proposal"),
    ],
)
def test_what_a_search_cannot_do_is_refused_before_any_work(
    fields: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        MCTS(**fields)
