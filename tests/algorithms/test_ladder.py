"""Parallel tempering leaves the product of the rungs' laws as it is, and crosses what mh cannot."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from designkit.algorithms.refinement.base import Archive, Population
from designkit.algorithms.refinement.ladder import Ladder
from designkit.algorithms.refinement.mh import MH
from designkit.randomness import Noise, noise_for
from tests.algorithms.refining import run, tokens_of, toy_archive
from tests.tabular import Law, World, make_rewards, make_world, places, tv_excess

ALPHA = 0.3
WORLD = make_world(2, 3)
REWARDS = make_rewards(WORLD)
METHOD = Ladder(population=5000, temperature=ALPHA, rungs=3, hottest=5, fraction=0.7)
HEAT = (ALPHA, ALPHA * 5**0.5, ALPHA * 5)
LAWS = [WORLD.tilted(REWARDS, heat) for heat in HEAT]


def started(archive: Archive, world: World, laws: list[Law], ladders: int) -> Population:
    """Ladders whose rungs are exact draws of a law each."""
    rng = np.random.default_rng(1)
    drawn = [rng.choice(len(law), size=ladders, p=law) for law in laws]
    sequences = world.model().alphabet.decode(world.clean[np.stack(drawn, 1).ravel()])
    return archive.population(archive.add(sequences, [0] * len(sequences), 0), 0)


def after(rounds: int, laws: list[Law], method: Ladder = METHOD) -> torch.Tensor:
    """(ladders, rungs, L) tokens after some rounds."""
    archive, _ = toy_archive(WORLD, REWARDS)
    start = started(archive, WORLD, laws, method.population)
    last = run(method, WORLD.model(), archive, rounds, start=start)[-1]
    return tokens_of(last).view(method.population, method.rungs, WORLD.length)


def test_temperatures_rise_by_one_factor() -> None:
    noise = noise_for(0, 6)
    assert METHOD.heat(noise).tolist() == pytest.approx([*HEAT, *HEAT])
    one = Ladder(temperature=0.5, rungs=1)
    assert one.heat(noise).tolist() == [0.5] * 6


@pytest.mark.parametrize("pair", [(0, 1), (1, 2), (0, 2)])
def test_the_joint_law_of_the_rungs_stays_as_it_is(pair: tuple[int, int]) -> None:
    found = after(4, LAWS)
    joint = torch.cat([found[:, rung] for rung in pair], dim=1)
    assert tv_excess(joint, np.kron(LAWS[pair[0]], LAWS[pair[1]])) < 0.01


def always(self: Ladder, rewards: torch.Tensor, noise: Noise) -> torch.Tensor:
    return torch.arange(len(rewards)).view(-1, 3)[:, [1, 0, 2]].flatten()


def by_the_wrong_sign(self: Ladder, rewards: torch.Tensor, noise: Noise) -> torch.Tensor:
    return EXCHANGED(self, -rewards, noise)


EXCHANGED = Ladder.exchanged


@pytest.mark.parametrize(("wrong", "rounds"), [(always, 1), (by_the_wrong_sign, 2)])
def test_wrong_exchanges_show(wrong: object, rounds: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Ladder, "exchanged", wrong)
    assert tv_excess(after(rounds, LAWS)[:, 0], LAWS[0]) > 0.04


def test_exchanges_are_reversible_under_the_joint_law() -> None:
    """All pairs of states on two rungs, each offered an exchange many times."""
    count = 4000
    method = Ladder(temperature=ALPHA, rungs=2, hottest=5)
    heat = method.heat(noise_for(0, 2)).numpy()
    laws = [WORLD.tilted(REWARDS, own) for own in heat]
    chance = np.zeros((8, 8))
    for cold in range(8):
        for hot in range(8):
            rewards = torch.tensor([REWARDS[cold], REWARDS[hot]]).repeat(count)
            order = method.exchanged(rewards, noise_for(cold * 8 + hot, 2 * count))
            chance[cold, hot] = float((order[::2] % 2).double().mean())
    exact = (1 / heat[0] - 1 / heat[1]) * (REWARDS[None] - REWARDS[:, None])
    np.testing.assert_allclose(chance, np.exp(exact).clip(max=1), atol=0.04)
    flow = np.outer(laws[0], laws[1]) * np.exp(exact).clip(max=1)
    np.testing.assert_allclose(flow, flow.T, atol=1e-15)


def test_pairs_take_turns_and_what_has_no_score_stays() -> None:
    method = Ladder(temperature=1.0, rungs=5, hottest=100)
    rising = torch.arange(10, dtype=torch.float64) * 1000
    noise = noise_for(0, 10)
    assert method.exchanged(rising, noise).tolist() == [1, 0, 3, 2, 4, 6, 5, 8, 7, 9]
    odd = method.exchanged(rising, noise.in_round(1))
    assert odd.tolist() == [0, 2, 1, 4, 3, 5, 7, 6, 9, 8]
    nothing = torch.tensor([-torch.inf, -torch.inf, -torch.inf, 0.0, 1.0])
    assert method.exchanged(nothing, noise.rows(torch.arange(5))).tolist() == [0, 1, 3, 2, 4]
    one = Ladder(temperature=1.0, rungs=1)
    assert one.exchanged(rising, noise).tolist() == list(range(10))


LENGTH = 6
HALVES = World(np.full(2**LENGTH, 2.0**-LENGTH), 2, LENGTH)
SUMS = HALVES.clean.sum(1).numpy()
WELLS = np.abs(SUMS - LENGTH / 2) + 0.6 * (SUMS > LENGTH / 2)
"""Two wells, all of one letter and all of the other; between them are equal shares of both."""


def test_it_crosses_what_plain_chains_do_not() -> None:
    """From the prior: mh keeps in each well whatever begins there, the ladder moves it."""
    alpha, ladders, rungs = 0.3, 500, 4
    target = HALVES.tilted(WELLS, alpha)
    assert target[SUMS > LENGTH / 2].sum() > 0.85
    one = {"temperature": alpha, "fraction": 1 / LENGTH}
    ladder = Ladder(population=ladders, rungs=rungs, hottest=8, **one)
    archive, _ = toy_archive(HALVES, WELLS)
    start = started(archive, HALVES, [HALVES.law] * rungs, ladders)
    populations = run(ladder, HALVES.model(), archive, 160, start=start)
    # The last rounds, far enough from each other.
    late = [tokens_of(each).view(ladders, rungs, -1)[:, 0] for each in populations[-31::15]]
    plain = MH(population=ladders, **one)
    chains = run(plain, HALVES.model(), archive, 200, start=start.rows(torch.arange(ladders)))
    stuck = [tokens_of(each) for each in chains[-31::15]]
    assert tv_excess(torch.cat(late), target) < 0.02
    assert tv_excess(torch.cat(stuck), target) > 0.25
    exchanged = [population.figures["exchanged"] for population in populations[1:]]
    assert 0.1 < np.mean(exchanged) < 0.9


def test_a_ladder_of_one_rung_is_a_chain() -> None:
    found = []
    for method in (
        Ladder(population=20, rungs=1, temperature=ALPHA),
        MH(population=20, temperature=ALPHA),
    ):
        archive, _ = toy_archive(WORLD, REWARDS)
        last = run(method, WORLD.model(), archive, 6)[-1]
        found.append(places(tokens_of(last), 2).tolist())
    assert found[0] == found[1]
