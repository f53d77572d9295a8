"""PPO: nothing moves at the target, ratios are those of whole steps, and clips are felt."""

from __future__ import annotations

import pytest
import torch

from designkit.algorithms.finetuning._rollout import Rollout
from designkit.algorithms.finetuning.ppo import PPO
from tests.finetuning import ALPHA, REWARDS, TARGET, WORLD, Tuning, conditionals_of
from tests.tabular import tv

EXACT = PPO(temperature=ALPHA, steps=3, train_steps=3)


def gradient(tuning: Tuning, update: int = 0) -> torch.Tensor:
    (found,) = torch.autograd.grad(tuning.losses(update).mean(), tuning.parts.denoiser.table)
    return found


def test_nothing_moves_at_the_target() -> None:
    tuning = Tuning(EXACT)
    assert gradient(tuning).abs().max() > 1e-3
    tuning.put(conditionals_of(TARGET))
    assert gradient(tuning).abs().max() < 1e-6


def test_the_first_update_of_a_collection_is_the_policy_gradient() -> None:
    tuning = Tuning(EXACT, rows=20)
    found = gradient(tuning)
    drawn = tuning.task.finetuner.draw(tuning.learner(), tuning.noise())
    visits = drawn.trajectories.visits()
    ours = visits.log_prob(visits.log_guess(tuning.policy)).sum(1)
    worth = tuning.task.reward.values(drawn.x_0) / ALPHA - drawn.log_ratio
    excess = (worth - worth.mean()) / max(1.0, float(worth.std(correction=0)))
    (expected,) = torch.autograd.grad(-(excess * ours).mean(), tuning.parts.denoiser.table)
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-6)


def test_later_updates_are_clipped_where_they_have_gone_far_enough() -> None:
    """One design alone: once its steps are likelier by more than the clip, it pulls no more."""
    tuning = Tuning(EXACT, rows=8)
    tuning.losses(0)
    memory = tuning.parts.memory
    memory.get_buffer("advantage")[:] = 0
    memory.get_buffer("advantage")[0, 0] = 1
    assert gradient(tuning, 1).abs().max() > 0
    with torch.no_grad():
        memory.get_buffer("log_prob")[0, 0] -= 0.25  # exp(0.25) is above 1.2
    assert gradient(tuning, 1).abs().max() == 0
    memory.get_buffer("advantage")[0, 0] = -1  # but it may always go back
    assert gradient(tuning, 1).abs().max() > 0


def test_a_collection_serves_several_updates() -> None:
    reward = WORLD.objective(REWARDS)
    tuning = Tuning(EXACT.model_copy(update={"epochs": 3}), reward=reward, rows=10)
    for update in range(7):
        tuning.losses(update)
    assert reward.rows == 30


@pytest.mark.parametrize("settings", [{}, {"train_steps": 1, "epochs": 2}])
def test_it_reaches_the_target(settings: dict) -> None:
    tuning = Tuning(EXACT.model_copy(update=settings), rows=128)
    assert tv(tuning.run(200, rate=0.1), TARGET) < 0.03


def test_without_the_kl_it_forgets_the_prior(monkeypatch: pytest.MonkeyPatch) -> None:
    """The published mistake: nothing ties the model to the prior."""
    monkeypatch.setattr(Rollout, "log_ratio", property(lambda r: torch.zeros(len(r.x_0))))
    assert tv(Tuning(EXACT, rows=128).run(120, rate=0.1), TARGET) > 0.3
