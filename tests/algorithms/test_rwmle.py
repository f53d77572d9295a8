"""Reward-weighted likelihood: its weights aim at the target, whoever draws the designs."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from designkit.algorithms.finetuning.rwmle import RWMLE
from designkit.algorithms.finetuning.tb import TB
from designkit.diffusion.uniform import Uniform
from designkit.errors import UsageError
from tests.finetuning import ALPHA, REWARDS, TARGET, WORLD, Tuning, conditionals_of
from tests.tabular import Law, places, tv
from tests.tabular_uniform import UniformWorld

EXACT = RWMLE(temperature=ALPHA, steps=3)


def weighted_law(tuning: Tuning) -> tuple[Law, np.ndarray]:
    """The law that the weights of the newest collection aim at, and the weights, mean 1."""
    tuning.losses()
    kept = tuning.parts.memory.read(0)
    weights = (kept["log_weight"] - kept["log_weight"].logsumexp(0)).exp().numpy()
    law = np.bincount(places(kept["x_0"], 3).numpy(), weights, minlength=27)
    return law, weights * len(weights)


@pytest.mark.parametrize("at", ["prior", "target"])
def test_weights_aim_at_the_target(at: str) -> None:
    tuning = Tuning(EXACT, rows=6000)
    if at == "target":
        tuning.put(conditionals_of(TARGET))
    law, weights = weighted_law(tuning)
    assert tv(law, TARGET) < 0.03
    if at == "target":
        assert weights == pytest.approx(np.ones(6000), abs=1e-4)


def test_uncorrected_weights_move_the_target_on() -> None:
    tuning = Tuning(EXACT.model_copy(update={"corrected": False}), rows=6000)
    tuning.put(conditionals_of(TARGET))
    law, _ = weighted_law(tuning)
    assert tv(law, WORLD.tilted(REWARDS, ALPHA / 2)) < 0.03
    assert tv(law, TARGET) > 0.1


@pytest.mark.parametrize("source", ["policy", "pretrained"])
def test_it_reaches_the_target(source: str) -> None:
    tuning = Tuning(EXACT.model_copy(update={"source": source, "replay": 16}), rows=512)
    assert tv(tuning.run(200, rate=0.05), TARGET) < 0.03


def test_no_design_counts_too_much() -> None:
    tuning = Tuning(RWMLE(temperature=0.02, steps=3, largest_weight=2.0), rows=64)
    plain = Tuning(RWMLE(temperature=0.02, steps=3, largest_weight=1e9), rows=64)
    assert 0 < tuning.losses().mean() < plain.losses().mean() / 2


def test_designs_are_reused_and_replayed() -> None:
    reward = WORLD.objective(REWARDS)
    tuning = Tuning(RWMLE(temperature=1, steps=3, reuse=3, replay=2), reward=reward, rows=10)
    seen = []
    for update in range(9):
        tuning.losses(update)
        seen.append(tuning.parts.memory.get_buffer("x_0").clone())
    assert reward.rows == 30
    assert torch.equal(seen[0], seen[2])
    assert not torch.equal(seen[2], seen[3])
    assert torch.equal(seen[3][0], seen[2][0])  # the second collection is beside the first
    assert not torch.equal(seen[6][0], seen[5][0])  # the third in its place


def test_uniform_noise_is_tuned_too() -> None:
    model = UniformWorld(WORLD, Uniform(size=3)).model()
    tuning = Tuning(RWMLE(temperature=1, steps=4), pretrained=model)
    assert tuning.task.finetuner.decoding == "grid"
    losses = tuning.losses()
    assert losses.isfinite().all()
    losses.mean().backward()
    assert tuning.parts.denoiser.strength.grad.abs() > 0
    with pytest.raises(UsageError, match="uniform noise"):
        TB(temperature=1).suited(model.process)
