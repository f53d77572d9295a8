"""Trajectory balance: residuals are equal at the target, and it is reached from anywhere."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from designkit.algorithms.finetuning import _surrogate
from designkit.algorithms.finetuning._rollout import Rollout
from designkit.algorithms.finetuning.tb import TB
from tests.finetuning import ALPHA, REWARDS, TARGET, WORLD, Tuning, conditionals_of, trainable
from tests.tabular import tv

EXACT = TB(temperature=ALPHA, steps=3, train_steps=3)


@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
def test_the_loss_is_0_at_the_target_whoever_draws(share: float) -> None:
    tuning = Tuning(EXACT.model_copy(update={"pretrained_share": share}))
    assert tuning.losses().mean() > 0.1
    tuning.put(conditionals_of(TARGET))
    losses = tuning.losses()
    assert losses.abs().max() < 1e-9
    losses.mean().backward()
    assert tuning.parts.denoiser.table.grad.abs().max() < 1e-6
    tuning.put(conditionals_of(WORLD.tilted(REWARDS, 0.8 * ALPHA)))
    assert tuning.losses().mean() > 1e-3


def test_a_constant_in_the_reward_changes_nothing() -> None:
    tuning = Tuning(EXACT)
    shifted = Tuning(EXACT, reward=WORLD.objective(REWARDS + 5))
    torch.testing.assert_close(tuning.losses(), shifted.losses())


def test_the_gradient_is_that_of_the_variance() -> None:
    tuning = Tuning(EXACT.model_copy(update={"huber": 1e6}), rows=20)
    tuning.losses().mean().backward()
    drawn = tuning.task.finetuner.draw(tuning.learner(), tuning.noise())
    visits = drawn.trajectories.visits()
    ours = visits.log_prob(visits.log_guess(tuning.policy)).sum(1)
    rewards = tuning.task.reward.values(drawn.x_0)
    residual = rewards / ALPHA - (ours - drawn.other_log_prob.sum(1))
    table = tuning.parts.denoiser.table
    (expected,) = torch.autograd.grad(residual.var(correction=0), table)
    torch.testing.assert_close(table.grad, expected, rtol=1e-3, atol=1e-6)


def test_few_steps_have_the_gradient_of_all_on_average(monkeypatch: pytest.MonkeyPatch) -> None:
    every = Tuning(EXACT, rows=20)
    every.losses().mean().backward()
    single = Tuning(EXACT.model_copy(update={"train_steps": 1}), rows=20)
    for step in range(3):
        monkeypatch.setattr(
            _surrogate,
            "random_steps",
            lambda steps, number, noise, at=step: torch.full((20, 1), at),
        )
        (single.losses().mean() / 3).backward()
    expected = every.parts.denoiser.table.grad
    torch.testing.assert_close(single.parts.denoiser.table.grad, expected, rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize(
    ("settings", "updates"), [({}, 60), ({"train_steps": 1}, 250), ({"pretrained_share": 0.5}, 60)]
)
def test_it_reaches_the_target(settings: dict, updates: int) -> None:
    tuning = Tuning(EXACT.model_copy(update=settings))
    assert tv(tuning.law, TARGET) > 0.3
    assert tv(tuning.run(updates, rate=0.2), TARGET) < 0.03


def test_it_comes_back_from_another_law() -> None:
    """The pretrained model, not the one that training starts from, says where the target is."""
    tuning = Tuning(EXACT)
    tuning.put(conditionals_of(WORLD.tilted(REWARDS, ALPHA / 2)))
    assert tv(tuning.law, TARGET) > 0.15
    assert tv(tuning.run(100, rate=0.2), TARGET) < 0.03


def test_mean_log_ratios_would_make_it_greedier(monkeypatch: pytest.MonkeyPatch) -> None:
    """The published mistake: a mean over the length in the place of the sum is alpha / L."""
    monkeypatch.setattr(
        Rollout, "log_ratio", property(lambda r: (r.log_prob - r.other_log_prob).mean(1))
    )
    law = Tuning(EXACT).run(100, rate=0.2)
    assert tv(law, TARGET) > 0.15
    assert tv(law, WORLD.tilted(REWARDS, ALPHA / 3)) < 0.1


def test_fewer_steps_than_letters_are_tuned_as_such() -> None:
    """A block of two letters is drawn independently: residuals cannot all be equal."""
    tuning = Tuning(TB(temperature=ALPHA, steps=2, train_steps=2))
    before = tuning.losses().mean().item()
    tuning.run(60, rate=0.2)
    assert tuning.losses().mean().item() < before / 2


def test_the_huber_loss() -> None:
    from designkit.algorithms.finetuning.tb import _huber, _slope

    error = torch.tensor([-20.0, -1.0, 0.0, 3.0, 11.0], dtype=torch.float64, requires_grad=True)
    loss = _huber(error, 10)
    assert loss[1:4].tolist() == [1, 0, 9]
    (slope,) = torch.autograd.grad(loss.sum(), error)
    torch.testing.assert_close(slope, _slope(error, 10))
    assert np.isclose(float(loss[4].detach()), 100 + 20)


def test_conditionals_that_agree_with_no_law_are_tuned_too() -> None:
    wrong = trainable(conditionals=WORLD.wrong_conditionals(0.3))
    tuning = Tuning(EXACT, pretrained=wrong)
    before = tuning.losses().mean().item()
    tuning.run(60, rate=0.2)
    assert tuning.losses().mean().item() < before / 5
