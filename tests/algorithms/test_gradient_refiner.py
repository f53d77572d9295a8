"""Direct optimisation of relaxed sequences: its derivatives, its target, and what it finds."""

from __future__ import annotations

from math import comb
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as functional
from torch import Tensor

from designkit.algorithms.refinement._climb import Climb
from designkit.algorithms.refinement._naturalness import (
    hidden_positions,
    natural_slopes,
    relaxed_log_likelihood,
)
from designkit.algorithms.refinement.base import Archive, Ledger
from designkit.algorithms.refinement.gradient import Gradient
from designkit.alphabet import DNA
from designkit.models.base import LengthLaw
from designkit.randomness import noise_for
from designkit.rewards import RewardEngine, RewardInfo, WeightedReward
from designkit.rewards.predictor import PredictorReward
from tests.algorithms import test_refiner_contract as contract
from tests.algorithms.refining import TableReward, rounds, run, tokens_of
from tests.rewards.examples import linear_predictor
from tests.tabular import (
    CountedTable,
    Law,
    World,
    independent_world,
    make_rewards,
    make_world,
    places,
)

WORLD = make_world(3, 4)


class SmoothTable(TableReward):
    """The toy world's rewards with their multilinear extension."""

    def __init__(self, rewards: Law, world: World):
        super().__init__(rewards, world.model().alphabet)
        self.info = RewardInfo("table", differentiable=True)
        self.table = CountedTable(rewards, world.size)

    def score_relaxed(self, probs: Tensor, valid: Any = None) -> Tensor:
        return self.table.score_relaxed(probs)


def archive_of(world: World, rewards: Law, root: str | None = None, limit: int | None = None):
    reward = SmoothTable(rewards, world)
    alphabet = reward.alphabet
    engine = RewardEngine([WeightedReward(reward)], alphabet=alphabet)
    return Archive(Ledger(engine, alphabet, limit), alphabet, [root])


def climb_of(logits: Tensor) -> Climb:
    """Laws (B, L, K) of free letters."""
    tokens, zeros = logits.argmax(-1), torch.zeros_like(logits)
    free = torch.ones_like(tokens, dtype=torch.bool)
    return Climb(tokens, free, torch.full_like(tokens, -1), logits, zeros, zeros)


def random_logits(batch: int, length: int = 4, size: int = 3) -> Tensor:
    generator = torch.Generator().manual_seed(batch)
    return torch.randn(batch, length, size, generator=generator, dtype=torch.float64)


def test_the_estimate_is_the_log_likelihood_on_average_over_hidden_sets() -> None:
    model, length = WORLD.model(), WORLD.length
    probs = functional.one_hot(WORLD.clean, WORLD.size).float()
    total = torch.zeros(len(probs), dtype=torch.float64)
    for number in range(1, 2**length):
        hidden = torch.tensor([bool(number >> place & 1) for place in range(length)])
        own = relaxed_log_likelihood(model, probs, hidden.expand(len(probs), -1)).detach()
        total += own.double() / length / comb(length, int(hidden.sum()))
    np.testing.assert_allclose(total.numpy(), np.log(WORLD.law), rtol=1e-4)


def test_derivatives_of_the_log_likelihood_are_finite_differences() -> None:
    model = contract.model(LengthLaw({12: 1}))
    with torch.no_grad():
        model.denoiser.head.weight.div_(36)
    generator = torch.Generator().manual_seed(1)
    tokens = torch.randint(4, (3, 12), generator=generator)
    hidden = hidden_positions(noise_for(0, 1), 3, 12)[0]
    slopes = natural_slopes(model, tokens, hidden)
    probs, width = functional.one_hot(tokens, 4).float(), 1e-3
    for direction in torch.randn(6, 3, 12, 4, generator=generator):
        with torch.no_grad():
            up, down = (
                relaxed_log_likelihood(model, probs + sign * width * direction, hidden)
                for sign in (1, -1)
            )
        expected = (slopes * direction).sum((1, 2))
        torch.testing.assert_close((up - down) / (2 * width), expected, rtol=0.02, atol=0.05)


def test_hidden_positions_are_uniform_in_number_and_spread_over_samples() -> None:
    hidden = hidden_positions(noise_for(0, 4000), 4, 8)
    count = hidden.sum(-1)
    assert ((count - 1) // 2).equal(torch.arange(4).expand(4000, -1))
    shares = torch.bincount(count.flatten(), minlength=9)[1:] / count.numel()
    torch.testing.assert_close(shares, torch.full((8,), 1 / 8), atol=0.01, rtol=0)
    torch.testing.assert_close(
        hidden.double().mean((0, 1)), torch.full((8,), 9 / 16).double(), atol=0.02, rtol=0
    )


def test_straight_through_is_exact_on_average_for_multilinear_rewards() -> None:
    """And for a single draw where the reward is a sum over positions."""
    logits = random_logits(1)
    independent, worth = independent_world(3, 4)
    for rewards, world in ((make_rewards(WORLD), WORLD), (worth, independent)):
        exact = logits.clone().requires_grad_()
        table = CountedTable(rewards, 3)
        (wanted,) = torch.autograd.grad(table.score_relaxed(exact.softmax(-1)).sum(), exact)
        one_hots = functional.one_hot(world.clean, 3).double().requires_grad_()
        (slopes,) = torch.autograd.grad(table.score_relaxed(one_hots).sum(), one_hots)
        count = len(world.clean)
        used = torch.ones(count, 1, dtype=torch.bool)
        each = climb_of(logits.expand(count, -1, -1)).estimate(slopes[:, None], used)
        chance = logits.softmax(-1)[0][torch.arange(4), world.clean].prod(1)
        torch.testing.assert_close((chance[:, None, None] * each).sum(0), wanted[0])
        if world is independent:
            torch.testing.assert_close(each, wanted.expand(count, -1, -1))


def test_draws_that_do_not_count_are_left_out() -> None:
    logits, generator = random_logits(2), torch.Generator().manual_seed(3)
    slopes = torch.randn(2, 3, 4, 3, generator=generator, dtype=torch.float64)
    used = torch.tensor([[True, False, True], [False, False, False]])
    found = climb_of(logits).estimate(slopes, used)
    alone = climb_of(logits).estimate(slopes[:, [0, 2]], used[:, [0, 2]])
    torch.testing.assert_close(found, alone)
    climb = climb_of(logits)
    climb.mean, climb.square = torch.ones_like(logits), torch.ones_like(logits)
    climb.step(slopes, used, 0, 0.5)
    assert not climb.logits[0].equal(logits[0])
    assert climb.logits[1].equal(logits[1])


def test_steps_are_those_of_adam() -> None:
    logits, climb = random_logits(2), climb_of(random_logits(2))
    weights = logits.clone().requires_grad_()
    adam = torch.optim.Adam([weights], lr=0.3, maximize=True)
    generator, used = torch.Generator().manual_seed(3), torch.ones(2, 5, dtype=torch.bool)
    for update in range(4):
        slopes = torch.randn(2, 5, 4, 3, generator=generator, dtype=torch.float64)
        weights.grad = climb_of(weights.detach()).estimate(slopes, used)
        adam.step()
        climb.step(slopes, used, update, 0.3)
    torch.testing.assert_close(climb.logits, weights.detach())


def test_first_draws_differ_in_as_many_letters_as_asked_for() -> None:
    tokens = torch.randint(4, (500, 40), generator=torch.Generator().manual_seed(0))
    free = torch.arange(40).expand(500, -1) >= 10
    climb = Climb.start(tokens, free, torch.full_like(tokens, -1), 4, 3.0)
    changed = climb.drawn(noise_for(0, 500), 4, None, None) != tokens[:, None]
    assert float(changed.sum(-1).double().mean()) == pytest.approx(3.0, abs=0.1)
    assert not changed[..., :10].any()


def test_too_many_edits_go_back_and_the_most_wanted_stay() -> None:
    roots = torch.zeros(2000, 6, dtype=torch.int64)
    logits = torch.zeros(2000, 6, 3, dtype=torch.float64)
    logits[:, :, 1] = torch.tensor([9.0, 9.0, 2.0, 2.0, 1.0, 12.0]) + 20
    climb = climb_of(logits)
    climb.roots = roots
    edits = climb.drawn(noise_for(0, 2000), 2, None, 3) != 0
    assert edits.sum(-1).unique().tolist() == [3]
    kept = edits.double().mean((0, 1))
    assert kept[[0, 1, 5]].min() > 0.98
    two = climb.drawn(noise_for(0, 2000), 1, None, 1)[:, 0] != 0
    odds = torch.tensor([9.0, 9.0, 2.0, 2.0, 1.0, 12.0]).softmax(0)
    torch.testing.assert_close(two.double().mean(0).float(), odds, atol=0.03, rtol=0)
    climb.roots = torch.full_like(roots, -1)
    assert (climb.drawn(noise_for(0, 2000), 1, None, 1) != 0).all()


@pytest.mark.parametrize("root", [None, "AAAAA"])
def test_the_optimum_of_a_sum_over_positions_is_found(root: str | None) -> None:
    """Of 1,024 sequences 60 are scored."""
    world, rewards = independent_world(4, 5)
    for seed in range(4):
        archive = archive_of(world, rewards, root, limit=60)
        for _ in rounds(Gradient(temperature=0), world.model(), archive, seed=seed):
            pass
        assert archive.reward(archive.best(0, 1)[0]) == rewards.max()


@pytest.mark.parametrize("alpha", [0.2, 1.0, 5.0])
def test_what_goes_on_has_the_largest_reward_and_likelihood_together(alpha: float) -> None:
    """The likelihood is an estimate: it may be one of the best three of 1,024."""
    world, rewards = independent_world(4, 5)
    worth = rewards + alpha * np.log(world.law)
    archive = archive_of(world, rewards, "AAAAA")
    last = run(
        Gradient(temperature=2 * alpha, naturalness=0.5, population=2), world.model(), archive, 6
    )[-1]
    found = worth[places(tokens_of(last), 4).numpy()]
    assert (worth > found[0]).sum() < 3
    best = world.model().alphabet.decode(world.clean[[int(worth.argmax())]])[0]
    assert best in archive.ledger.sequences
    assert len(archive) < len(world.law) / 2


def test_likelihood_alone_leads_to_the_mode_of_the_prior() -> None:
    world, _ = independent_world(4, 5)
    archive = archive_of(world, np.zeros(len(world.law)), "AAAAA")
    run(Gradient(temperature=1.0, naturalness=1), world.model(), archive, 3)
    mode = world.model().alphabet.decode(world.clean[[int(world.law.argmax())]])[0]
    assert mode in archive.ledger.sequences
    assert len(archive) < len(world.law) / 2


def test_a_draw_is_one_pass_and_has_the_value_that_a_score_would_have() -> None:
    predictor = linear_predictor(lengths=(12,))
    reward = PredictorReward(load_model=lambda _: predictor, model="mrl")
    engine = RewardEngine([WeightedReward(reward)], alphabet=DNA)
    archive = Archive(Ledger(engine, DNA), DNA, ["ACGTACGTACGT"])
    run(Gradient(temperature=0.1), contract.model(LengthLaw({12: 1})), archive, 5)
    # The first sequence is scored before there are derivatives of it.
    assert len(archive.ledger) <= predictor.counter.rows <= len(archive.ledger) + 1
    again = PredictorReward(load_model=lambda _: predictor, model="mrl")
    values = again.score(archive.ledger.sequences).values
    assert archive.ledger.rewards == values[:, 0].tolist()
    np.testing.assert_allclose(archive.ledger.columns["mrl_std"], values[:, 1], rtol=1e-12)
