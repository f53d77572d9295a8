"""Best-of-N against the order statistic, which can be written down."""

from __future__ import annotations

import math
from functools import cache

import numpy as np
import pytest
import torch

from designkit.algorithms.sampling.ancestral import Ancestral
from designkit.algorithms.sampling.base import Request
from designkit.algorithms.sampling.best_of_n import BestOfN
from designkit.models.base import DiffusionModel
from designkit.randomness import Noise, noise_for
from tests.tabular import CountedTable, Law, make_rewards, make_world, places, tv_excess

WORLD = make_world(3, 4)
REWARDS = np.round(make_rewards(WORLD), 1)  # with ties
DRAWS = 8000


def best_law(law: Law, rewards: Law, candidates: int) -> Law:
    """P(the best of N is x): ties are shared in proportion to p, the first being any of them."""
    result = np.zeros_like(law)
    for value in np.unique(rewards):
        level = rewards == value
        below, upto = law[rewards < value].sum(), law[rewards <= value].sum()
        result[level] = law[level] / law[level].sum() * (upto**candidates - below**candidates)
    return result


def sample(candidates: int, draws: int = DRAWS, rewards: Law = REWARDS) -> torch.Tensor:
    method = BestOfN(candidates=candidates)
    objective = WORLD.objective(rewards)
    return method.sample(
        WORLD.model(), objective, Request(WORLD.length), noise_for(0, draws)
    ).tokens


@cache
def best_of(candidates: int) -> torch.Tensor:
    """The designs that several tests look at."""
    return sample(candidates)


def test_the_order_statistic_by_brute_force() -> None:
    """The truth of the other tests: all pairs and triples of sequences, the first of the best."""
    rng = np.random.default_rng(0)
    law, rewards = rng.dirichlet(np.ones(12)), rng.integers(0, 5, 12).astype(float)
    pairs, triples = np.zeros(12), np.zeros(12)
    for i in range(12):
        for j in range(12):
            pairs[i if rewards[i] >= rewards[j] else j] += law[i] * law[j]
            for k in range(12):
                winner = max((i, j, k), key=lambda place: rewards[place])
                triples[winner] += law[i] * law[j] * law[k]
    np.testing.assert_allclose(best_law(law, rewards, 2), pairs)
    np.testing.assert_allclose(best_law(law, rewards, 3), triples)


@pytest.mark.parametrize("candidates", [1, 2, 5])
def test_designs_have_the_law_of_the_order_statistic(candidates: int) -> None:
    tokens = best_of(candidates)
    assert abs(tv_excess(tokens, best_law(WORLD.law, REWARDS, candidates))) < 0.01
    for other in {1, 2, 5} - {candidates}:
        assert tv_excess(tokens, best_law(WORLD.law, REWARDS, other)) > 0.1


@pytest.mark.parametrize("candidates", [2, 5])
def test_divergence_from_the_model_is_bounded(candidates: int) -> None:
    tokens = best_of(candidates)
    shares = np.bincount(places(tokens, WORLD.size), minlength=len(WORLD.law)) / DRAWS
    seen = shares > 0
    divergence = (shares[seen] * np.log(shares[seen] / WORLD.law[seen])).sum()
    # The plug-in estimate is too large by about (states - 1) / 2N.
    divergence -= (seen.sum() - 1) / (2 * DRAWS)
    bound = math.log(candidates) - (candidates - 1) / candidates
    assert 0.5 * bound < divergence < bound + 0.01


def test_the_first_of_equals_is_kept() -> None:
    model, noise, request = WORLD.model(), noise_for(3, 200), Request(WORLD.length)
    flat = WORLD.objective(np.zeros_like(REWARDS))
    first = Ancestral().sample(model, None, request, noise).tokens
    assert torch.equal(BestOfN(candidates=4).sample(model, flat, request, noise).tokens, first)


def test_more_candidates_extend_the_same_draws() -> None:
    """The best of 8 is never worse than the best of 4 with the same seed."""
    rewards = torch.from_numpy(REWARDS)
    four, eight = (rewards[places(sample(n, 500), WORLD.size)] for n in (4, 8))
    assert (eight >= four).all()
    assert (eight > four).any()


@pytest.mark.parametrize("bad", [-np.inf, np.nan])
def test_sequences_without_a_score_rank_last(bad: float) -> None:
    rewards = np.where(np.arange(len(REWARDS)) % 2 == 0, bad, REWARDS)
    tokens = sample(20, 500, rewards)
    assert (places(tokens, WORLD.size) % 2 == 1).all()


def test_calls_are_those_announced() -> None:
    model, objective = WORLD.model(), CountedTable(REWARDS, WORLD.size)
    method = BestOfN(candidates=6)
    method.sample(model, objective, Request(WORLD.length), noise_for(0, 50))
    rows, rewards = method.calls_per_design(WORLD.length)
    assert (rows, rewards) == (24, 6)
    assert model.counter.calls == WORLD.length
    assert model.counter.rows <= 50 * rows
    assert objective.rows == 50 * rewards


def test_soft_best_of_n_draws_the_target(monkeypatch: pytest.MonkeyPatch) -> None:
    """Self-normalised importance sampling: exact for many candidates, biased for few."""
    world = make_world(3, 3)
    rewards = make_rewards(world)
    target = world.tilted(rewards, 0.5)
    drawn: dict[int, torch.Tensor] = {}
    decode = BestOfN.decode

    def once(self: BestOfN, model: DiffusionModel, request: Request, noise: Noise) -> torch.Tensor:
        """The temperature changes the choice alone."""
        if self.candidates not in drawn:
            drawn[self.candidates] = decode(self, model, request, noise)
        return drawn[self.candidates]

    monkeypatch.setattr(BestOfN, "decode", once)

    def excess(candidates: int, temperature: float) -> float:
        method = BestOfN(candidates=candidates, temperature=temperature)
        noise = noise_for(0, 2500)
        designs = method.sample(world.model(), world.objective(rewards), Request(3), noise)
        return tv_excess(designs.tokens, target)

    assert excess(60, 0.5) < 0.02
    assert excess(3, 0.5) > 0.1
    assert excess(60, 1.0) > 0.1
    assert excess(60, 0.0) > 0.3
