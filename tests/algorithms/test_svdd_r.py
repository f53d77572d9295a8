"""SVDD-R: SVDD without replacement, the replacement itself, and what comes of a population."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from designkit.algorithms.sampling.base import Request
from designkit.algorithms.sampling.svdd import SVDD
from designkit.algorithms.sampling.svdd_r import SVDDR
from designkit.randomness import noise_for
from tests.tabular import children_worth, make_rewards, make_world, places

WORLD = make_world(4, 4)
REWARDS = make_rewards(WORLD)


def sample(method: SVDD | SVDDR, draws: int) -> Tensor:
    objective = WORLD.objective(REWARDS)
    return method.sample(WORLD.model(), objective, Request(4), noise_for(0, draws)).tokens


def test_without_replacement_it_is_svdd() -> None:
    plain = sample(SVDD(candidates=3, temperature=0.3), 64)
    assert torch.equal(
        sample(SVDDR(particles=8, candidates=3, resampled=0, temperature=0.3), 64), plain
    )
    replaced = sample(SVDDR(particles=8, candidates=3, resampled=0.25, temperature=0.3), 64)
    assert not torch.equal(replaced, plain)


def test_greedy_designs_are_distinct_and_hold_the_best_that_was_scored() -> None:
    objective = WORLD.objective(REWARDS)
    method = SVDDR(particles=8, candidates=4)
    designs = method.sample(WORLD.model(), objective, Request(4), noise_for(3, 8)).tokens
    assert len(designs.unique(dim=0)) == 8
    best = max(REWARDS[place] for place in objective.seen)
    assert REWARDS[places(designs, 4).numpy()].max() == best
    own = sample(SVDD(candidates=4), 64)
    together = sample(SVDDR(particles=8, candidates=4, resampled=0), 64)
    for alone, population in zip(own.view(8, 8, 4), together.view(8, 8, 4), strict=True):
        assert {*map(tuple, alone.tolist())} <= {*map(tuple, population.tolist())}


def test_temperature_zero_copies_the_best_in_the_places_of_the_worst() -> None:
    method = SVDDR(particles=6, resampled=0.3)
    values = torch.tensor([[3.0, -math.inf, 5, 1, 4, 2], [0.0] * 6]).double()
    order = method.replaced(values, 0.0, noise_for(0, 12))
    assert order[0].tolist() == [0, 2, 2, 4, 4, 5]
    assert order[1].tolist() == [0, 1, 2, 3, 4, 5]


def test_with_a_temperature_both_are_drawn_by_their_weights() -> None:
    method = SVDDR(particles=4, resampled=0.25)
    values = torch.tensor([1.0, -1, 0.5, -math.inf]).double()
    count, heat = 50_000, 0.8
    order = method.replaced(values.expand(count, -1), heat, noise_for(1, 4 * count))
    assert (order[:, :3] == torch.arange(3)).all()  # what has no score always goes
    shares = order[:, 3].bincount(minlength=4) / count
    expected = (values / heat).softmax(0)
    torch.testing.assert_close(shares.double(), expected, atol=0.01, rtol=0)
    finite = torch.tensor([1.0, -1, 0.5, 0]).double()
    order = method.replaced(finite.expand(count, -1), heat, noise_for(2, 4 * count))
    gone = (order != torch.arange(4)).double().mean(0)
    # A state that is copied in its own place does not show.
    expected = (-finite / heat).softmax(0) * (1 - (finite / heat).softmax(0))
    torch.testing.assert_close(gone, expected, atol=0.01, rtol=0)


def test_the_last_step_replaces_none() -> None:
    """Each member keeps the best of its own children then; before, the worst makes way."""
    values = torch.tensor([[5.0, 6], [1, 0], [3, 4], [9, 2]]).double()
    method = SVDDR(particles=4, candidates=2, resampled=0.25)
    assert method.select(children_worth(values, last=True), 0.0).tolist() == [1, 2, 5, 6]
    assert method.select(children_worth(values), 0.0).tolist() == [1, 6, 5, 6]


@pytest.mark.parametrize("particles", [2, 16])
def test_at_least_one_is_replaced(particles: int) -> None:
    values = torch.arange(particles).double()[None]
    order = SVDDR(particles=particles, resampled=0.01).replaced(
        values, 0.0, noise_for(0, particles)
    )
    assert order[0].tolist() == [particles - 1, *range(1, particles)]
