"""Roll-outs, trajectories and what is remembered, against enumeration."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from designkit.algorithms.finetuning._memory import Collections
from designkit.algorithms.finetuning._rollout import mixed_roll_out, rewards_of, roll_out
from designkit.algorithms.finetuning._trajectories import (
    Trajectories,
    as_trajectories,
    random_steps,
)
from designkit.algorithms.finetuning.tb import TB
from designkit.algorithms.sampling.ancestral import Ancestral
from designkit.algorithms.sampling.base import Request
from designkit.diffusion.uniform import Uniform
from designkit.errors import UsageError
from designkit.randomness import noise_for
from designkit.recipes._finetuning_task import TrainedParts
from tests.finetuning import REWARDS, WORLD, Tuning, law_of, trainable
from tests.tabular import CountedTable, make_world, places, tv

LONGER = make_world(size=3, length=4)
PRE = trainable()
OTHER = trainable(conditionals=WORLD.wrong_conditionals())


def every_path(model) -> tuple[Trajectories, Tensor]:
    """All sequences in all orders of three positions, and their log-probabilities (N, 3)."""
    orders = torch.tensor(list(itertools.permutations(range(3))))
    x_0 = WORLD.clean.repeat_interleave(len(orders), 0)
    times = torch.linspace(1, 0, 4, dtype=torch.float64)
    paths = Trajectories(x_0, orders.repeat(len(WORLD.clean), 1), times, WORLD.size)
    visits = paths.visits()
    with torch.no_grad():
        return paths, visits.log_prob(visits.log_guess(model))


@pytest.mark.parametrize(("steps", "decoding"), [(4, "blocks"), (2, "blocks"), (6, "grid")])
def test_designs_are_those_of_the_ancestral_sampler(steps: int, decoding: str) -> None:
    model = trainable(LONGER, LONGER.wrong_conditionals())
    noise = noise_for(3, 50)
    drawn = roll_out(model, 4, steps, decoding, noise)
    sampler = Ancestral(steps=steps, decoding=decoding)
    assert torch.equal(drawn.x_0, sampler.sample(model, None, Request(4), noise).tokens)
    assert len(drawn.x_0.unique(dim=0)) > 10
    half = roll_out(model, 4, steps, decoding, noise.rows(torch.arange(25, 50)))
    assert torch.equal(half.x_0, drawn.x_0[25:])


def test_what_a_roll_out_keeps_is_what_its_trajectories_say() -> None:
    drawn = roll_out(OTHER, 3, 2, "blocks", noise_for(1, 40), PRE)
    visits = drawn.trajectories.visits()
    with torch.no_grad():
        own, other = visits.log_guess(OTHER), visits.log_guess(PRE)
    torch.testing.assert_close(visits.log_prob(own), drawn.log_prob, rtol=0, atol=1e-5)
    torch.testing.assert_close(visits.log_prob(other), drawn.other_log_prob, rtol=0, atol=1e-5)
    every = drawn.trajectories
    assert torch.equal(every.state(2), drawn.x_0)
    assert (every.state(0) == 3).all()
    assert torch.equal(every.state(1) != 3, every.revealed(0))
    assert (drawn.log_ratio - (drawn.log_prob - drawn.other_log_prob).sum(1)).abs().max() == 0
    turned = drawn.seen_from_other()
    assert torch.equal(turned.log_ratio, -drawn.log_ratio)


@pytest.mark.parametrize("model", [PRE, OTHER])
def test_paths_have_the_law_of_the_model(model) -> None:
    paths, log_prob = every_path(model)
    chance = log_prob.sum(1).exp() / 6
    assert float(chance.sum()) == pytest.approx(1, abs=1e-5)
    law = np.bincount(places(paths.x_0, 3).numpy(), chance.numpy())
    assert tv(law, law_of(model)) < 1e-5


def test_the_path_kl_is_the_mean_log_ratio() -> None:
    """Over all paths, weighted by their probability; on hard states, where it is not 0."""
    paths, log_prob = every_path(OTHER)
    _, other = every_path(PRE)
    chance = log_prob.sum(1).exp() / 6
    exact = float((chance * (log_prob - other).sum(1)).sum())
    visits = paths.visits()
    with torch.no_grad():
        each = visits.divergence(visits.log_guess(OTHER), visits.log_guess(PRE))
    assert float((chance * each.sum(1)).sum()) == pytest.approx(exact, rel=1e-4)
    assert exact > 0.2
    drawn = roll_out(OTHER, 3, 3, "blocks", noise_for(0, 4000), PRE)
    for found in (drawn.log_ratio, drawn.divergence.sum(1)):
        error = float(found.std() / len(found) ** 0.5)
        assert float(found.mean()) == pytest.approx(exact, abs=4 * error)
    assert drawn.divergence.sum(1).std() < drawn.log_ratio.std() / 2
    # One random step in three, counted three times.
    one = drawn.trajectories.visits(random_steps(3, 1, noise_for(5, 4000)))
    with torch.no_grad():
        single = 3 * one.divergence(one.log_guess(OTHER), one.log_guess(PRE)).squeeze(1)
    error = float(single.std() / len(single) ** 0.5)
    assert float(single.mean()) == pytest.approx(exact, abs=4 * error)


@pytest.mark.parametrize("steps", [1, 2, 3])
def test_the_path_kl_holds_for_blocks_of_several_letters(steps: int) -> None:
    drawn = roll_out(OTHER, 3, steps, "blocks", noise_for(2, 4000), PRE)
    visits = drawn.trajectories.visits()
    with torch.no_grad():
        each = visits.divergence(visits.log_guess(OTHER), visits.log_guess(PRE)).sum(1)
    difference = each - drawn.log_ratio
    assert abs(float(difference.mean())) < 4 * float(difference.std()) / 4000**0.5
    assert float(each.mean()) > 0.1


def test_any_sequence_becomes_a_trajectory() -> None:
    x_0 = WORLD.clean
    paths = as_trajectories(PRE.process, x_0, 2, "blocks", noise_for(0, 27))
    assert torch.equal(paths.state(2), x_0)
    assert set(paths.step_of.flatten().tolist()) == {0, 1}
    assert torch.equal(paths.rows(torch.tensor([4])).x_0, x_0[4:5])
    with pytest.raises(UsageError, match=r"uniform noise.*use --method rwmle"):
        as_trajectories(Uniform(size=3), x_0, 2, "grid", noise_for(0, 27))


def test_random_steps_are_different_and_equally_likely() -> None:
    drawn = random_steps(5, 2, noise_for(0, 5000))
    assert (drawn[:, 0] != drawn[:, 1]).all()
    shares = drawn.flatten().bincount() / 10_000
    assert (shares - 0.2).abs().max() < 0.02


def test_a_mixture_of_roll_outs() -> None:
    noise = noise_for(4, 30)
    mixed = mixed_roll_out(OTHER, PRE, 0.3, 3, 3, "blocks", noise)
    every = torch.arange(30)
    first = roll_out(PRE, 3, 3, "blocks", noise.rows(every[:9]), OTHER)
    last = roll_out(OTHER, 3, 3, "blocks", noise.rows(every[9:]), PRE)
    assert torch.equal(mixed.x_0, torch.cat([first.x_0, last.x_0]))
    assert torch.equal(mixed.log_prob, torch.cat([first.other_log_prob, last.log_prob]))
    assert torch.equal(mixed.other_log_prob, torch.cat([first.log_prob, last.other_log_prob]))
    assert torch.equal(mixed.trajectories.state(3), mixed.x_0)
    assert torch.equal(mixed_roll_out(OTHER, PRE, 1, 3, 3, "blocks", noise).x_0[:9], first.x_0)


def test_no_score_counts_as_the_lowest() -> None:
    table = np.array([1.0, np.nan, -2.0, -np.inf])
    found = rewards_of(CountedTable(table, 2), torch.tensor([[0, 0], [0, 1], [1, 0], [1, 1]]))
    assert found.tolist() == [1.0, -2.0, -2.0, -2.0]
    none = rewards_of(CountedTable(np.full(4, np.nan), 2), torch.tensor([[0, 1]]))
    assert none.tolist() == [0.0]


def test_collections_are_kept_by_checkpoints() -> None:
    def made() -> Collections:
        return Collections(2, 3, 5, columns=("reward",), per_step=("log_prob",), steps=4)

    first, second = made(), made()
    x_0 = torch.arange(12).view(3, 4)
    paths = as_trajectories(PRE.process, x_0, 2, "blocks", noise_for(0, 3))
    numbers = {"reward": torch.tensor([0.5, 1.5, -1.0]), "log_prob": torch.ones(3, 2)}
    first.write(1, x_0, paths, **numbers)
    second.load_state_dict(first.state_dict())
    found, kept = second.read(1), second.trajectories(1, paths.mask)
    assert torch.equal(found["x_0"], x_0)
    assert found["reward"].tolist() == [0.5, 1.5, -1.0]
    assert found["log_prob"].sum() == 6
    assert not list(first.parameters())
    for one, other in zip(vars(kept).values(), vars(paths).values(), strict=True):
        assert torch.equal(torch.as_tensor(one), torch.as_tensor(other))


def test_nothing_is_dropped_in_training() -> None:
    parts = TrainedParts(nn.Sequential(nn.Dropout(0.5)), nn.Module())
    parts.train()
    assert not parts.denoiser[0].training


def test_a_task_leaves_the_pretrained_model_alone() -> None:
    tuning = Tuning(TB(temperature=0.5, steps=3))
    before = tuning.task.pretrained.denoiser.table.clone()
    tuning.run(2)
    assert torch.equal(tuning.task.pretrained.denoiser.table, before)
    assert not torch.equal(tuning.parts.denoiser.table, before)
    assert tuning.task.pretrained.denoiser.table.grad is None


def test_designs_of_different_updates_are_different_and_rewards_are_counted() -> None:
    reward = WORLD.objective(REWARDS)
    tuning = Tuning(TB(temperature=0.5, steps=3), reward=reward, rows=16)
    first, again, second = tuning.losses(0), tuning.losses(0), tuning.losses(1)
    assert torch.equal(first, again)
    assert not torch.equal(first, second)
    assert reward.rows == 48
