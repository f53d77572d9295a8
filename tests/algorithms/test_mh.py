"""Metropolis-Hastings leaves p(x) exp(r(x) / alpha) as it is, by enumeration and by samples."""

from __future__ import annotations

import itertools
from functools import cache
from math import comb

import numpy as np
import pytest
import torch

from designkit.algorithms.refinement.base import Brief
from designkit.algorithms.refinement.mh import MH
from designkit.errors import UsageError
from designkit.randomness import noise_for
from tests.algorithms.refining import drawn_from, run, tokens_of, toy_archive
from tests.tabular import make_rewards, make_world, tv_excess

WORLD = make_world(3, 4)
REWARDS = make_rewards(WORLD)
ALPHA = 0.7
TARGET = WORLD.tilted(REWARDS, ALPHA)
COUNT = 6000


def moved(steps: int, start: np.ndarray, **settings: object) -> torch.Tensor:
    """Where chains are that began with draws of a law."""
    method = MH(population=COUNT, temperature=ALPHA, **{"fraction": 0.5, **settings})
    archive, _ = toy_archive(WORLD, REWARDS)
    first = drawn_from(archive, WORLD, start, COUNT, seed=1)
    return tokens_of(run(method, WORLD.model(), archive, steps, start=first)[-1])


@pytest.mark.parametrize("span", [0.0, 1.0])
def test_the_law_stays_as_it_is(span: float) -> None:
    assert tv_excess(moved(3, TARGET, span=span), TARGET) < 0.02


def test_chains_come_to_the_law_from_the_prior() -> None:
    assert tv_excess(moved(0, WORLD.law), TARGET) > 0.2
    assert tv_excess(moved(40, WORLD.law), TARGET) < 0.02


def test_a_wrong_acceptance_shows(monkeypatch: pytest.MonkeyPatch) -> None:
    def accepts(self: MH, rewards: torch.Tensor, children: torch.Tensor, noise: object) -> object:
        return children >= rewards

    monkeypatch.setattr(MH, "accepts", accepts)
    assert tv_excess(moved(3, TARGET), TARGET) > 0.05


@cache
def kernel(width: int) -> np.ndarray:
    """The enumerated kernel: ``width`` random positions drawn given the others, then accepted."""
    clean = WORLD.clean.numpy()
    states = len(clean)
    proposal = np.zeros((states, states))
    for chosen in itertools.combinations(range(4), width):
        kept = [place for place in range(4) if place not in chosen]
        same = (clean[:, None, kept] == clean[None, :, kept]).all(2)
        joint = same * WORLD.law
        proposal += joint / joint.sum(1, keepdims=True) / comb(4, width)
    accepted = proposal * np.minimum(1, np.exp((REWARDS[None] - REWARDS[:, None]) / ALPHA))
    np.fill_diagonal(accepted, 0)
    np.fill_diagonal(accepted, 1 - accepted.sum(1))
    return accepted


@pytest.mark.parametrize("width", [1, 2])
def test_the_enumerated_kernel_is_reversible_and_is_the_one_that_runs(width: int) -> None:
    flow = TARGET[:, None] * kernel(width)
    np.testing.assert_allclose(flow, flow.T, atol=1e-15)
    # One round from a single sequence: its row of the kernel.
    root = 17
    archive, _ = toy_archive(WORLD, REWARDS)
    sequence = WORLD.model().alphabet.decode(WORLD.clean[root : root + 1])
    start = archive.population(archive.add(sequence * COUNT, [0] * COUNT, 0), 0)
    mean = np.zeros(81)
    # ``between`` draws 1 and 2 positions with known shares; the rows of both mix.
    method = MH(population=COUNT, temperature=ALPHA, fraction=width / 4, span=0)
    shares = [1.0] if width == 1 else [np.log(2) / np.log(3), 1 - np.log(2) / np.log(3)]
    for number, share in enumerate(shares, start=1):
        mean += share * kernel(number)[root]
    after = tokens_of(run(method, WORLD.model(), archive, 1, start=start)[-1])
    assert tv_excess(after, mean) < 0.01


def test_only_one_sequence_at_a_time_is_scored() -> None:
    archive, reward = toy_archive(WORLD, REWARDS)
    populations = run(MH(population=50, temperature=ALPHA), WORLD.model(), archive, 30)
    assert len(reward.asked) == len(set(reward.asked)) <= 81
    assert [len(population) for population in populations[1:]] == [50] * 30


def test_sequences_without_a_score_are_left_and_never_entered() -> None:
    rewards = np.where(np.arange(81) % 3 == 0, np.nan, REWARDS)
    archive, _ = toy_archive(WORLD, rewards)
    first = drawn_from(archive, WORLD, WORLD.law, 300, seed=2)
    method = MH(population=300, temperature=ALPHA, fraction=0.5)
    populations = run(method, WORLD.model(), archive, 15, start=first)
    unscored = torch.stack([population.rewards.isneginf() for population in populations])
    assert not (unscored[1:] & ~unscored[:-1]).any()
    counts = unscored.sum(1).tolist()
    assert counts[0] > 30
    assert counts[-1] < counts[0] / 4


def test_constraints_are_kept_by_refusing() -> None:
    """The law is that of the target restricted to what is allowed."""
    allowed = (WORLD.clean[:, 0] != WORLD.clean[:, 1]).numpy()
    law = np.where(allowed, TARGET, 0)
    law /= law.sum()
    archive, _ = toy_archive(WORLD, REWARDS)
    brief = Brief(holds=lambda lineage, sequence: sequence[0] != sequence[1])
    first = drawn_from(archive, WORLD, law, COUNT, seed=3)
    method = MH(population=COUNT, temperature=ALPHA, fraction=0.5)
    last = run(method, WORLD.model(), archive, 4, start=first, brief=brief)[-1]
    assert tv_excess(tokens_of(last), law) < 0.02


@pytest.mark.parametrize(
    "sampler",
    [
        {"name": "svdd"},
        {"name": "ancestral", "denoiser_temperature": 0.3},
        {"name": "ancestral", "top_p": 0.9},
        {"name": "ancestral", "order": "confidence"},
        {"name": "cfg"},
    ],
)
def test_samplers_that_do_not_draw_from_the_prior_are_refused(sampler: dict) -> None:
    with pytest.raises(UsageError, match="unguided sampler that draws from the prior as it is"):
        MH(temperature=1.0, sampler=sampler).inner()


def test_samplers_that_draw_from_the_prior_are_taken() -> None:
    for sampler in ({"name": "ancestral", "steps": 4}, {"name": "cfg", "guidance_scale": 1}):
        assert MH(temperature=1.0, sampler=sampler).inner().keeps_law


def test_acceptance() -> None:
    method = MH(temperature=0.5)
    low = -float("inf")
    before = torch.tensor([1.0, 1.0, low, low, 0.0], dtype=torch.float64)
    after = torch.tensor([2.0, low, low, 0.0, -0.5 * np.log(2)], dtype=torch.float64)
    noise = noise_for(0, 1).rows(torch.zeros(5, dtype=torch.int64))
    assert method.accepts(before, after, noise)[:4].tolist() == [True, False, True, True]
    many = noise_for(0, 20_000)
    drop = torch.full((20_000,), -0.5 * np.log(2), dtype=torch.float64)
    assert float(method.accepts(torch.zeros_like(drop), drop, many).double().mean()) == (
        pytest.approx(0.5, abs=0.015)
    )
