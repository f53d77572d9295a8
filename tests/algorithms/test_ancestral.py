"""Ancestral sampling has the model's law, and the criterion sees samplers that do not."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from designkit.algorithms.sampling.ancestral import Ancestral
from designkit.algorithms.sampling.base import Request
from designkit.errors import Interrupted
from designkit.models.base import DiffusionModel
from designkit.randomness import noise_for
from tests.tabular import make_world, places, tv_excess

WORLD = make_world()
DRAWS = 20_000


def sample(model: DiffusionModel, draws: int = DRAWS, **settings: object) -> Tensor:
    noise = noise_for(0, draws)
    return Ancestral(**settings).sample(model, None, Request(WORLD.length), noise).tokens


def test_blocks_of_one_position_are_exact() -> None:
    model = WORLD.model()
    assert abs(tv_excess(sample(model), WORLD.law)) < 0.01
    assert model.counter.calls == WORLD.length


@pytest.mark.parametrize("schedule", ["linear", "cosine"])
def test_a_fine_grid_is_exact(schedule: str) -> None:
    tokens = sample(WORLD.model(schedule=schedule), decoding="grid", steps=400)
    assert tv_excess(tokens, WORLD.law) < 0.01
    counts = np.bincount(places(tokens, WORLD.size), minlength=len(WORLD.law))
    deviation = (counts - DRAWS * WORLD.law) / np.sqrt(DRAWS * WORLD.law * (1 - WORLD.law))
    # 3 standard errors: of 256 exact counts 0.7 are outside.
    assert (abs(deviation) > 3).sum() <= 3
    assert abs(deviation).max() < 5


@pytest.mark.parametrize("decoding", ["blocks", "grid"])
def test_few_steps_are_biased_and_seen_to_be(decoding: str) -> None:
    excess = [
        tv_excess(sample(WORLD.model(), decoding=decoding, steps=n), WORLD.law) for n in (1, 2)
    ]
    assert excess[0] > 0.3
    assert 0.1 < excess[1] < excess[0]


def test_blocks_of_two_have_the_law_that_follows_from_independent_draws() -> None:
    """The bias of few steps is the one that theory gives, not some other."""
    from itertools import combinations

    exact = np.zeros(len(WORLD.law))
    clean = WORLD.clean.numpy()
    start = WORLD.conditionals[-1]
    for first in combinations(range(WORLD.length), 2):
        second = [position for position in range(WORLD.length) if position not in first]
        halfway = np.full_like(clean, WORLD.size)
        halfway[:, first] = clean[:, first]
        guess = WORLD.conditionals[places(torch.from_numpy(halfway), WORLD.size + 1).numpy()]
        drawn = np.prod([start[position, clean[:, position]] for position in first], axis=0)
        rows = np.arange(len(clean))
        for position in second:
            drawn = drawn * guess[rows, position, clean[:, position]]
        exact += drawn / 6
    assert exact.sum() == pytest.approx(1)
    assert abs(tv_excess(sample(WORLD.model(), steps=2), exact)) < 0.01


class StaleModel(DiffusionModel):
    """A sampler that never refreshes the guess draws from the marginals of the empty sequence."""

    def logits(self, x_t: Tensor, t: Tensor, condition: Tensor | None = None) -> Tensor:
        return super().logits(torch.full_like(x_t, WORLD.size), t)


class GreedyEndModel(DiffusionModel):
    """The published final step: what is masked at the end becomes its most probable letter."""

    def logits(self, x_t: Tensor, t: Tensor, condition: Tensor | None = None) -> Tensor:
        logits = super().logits(x_t, t)
        last = (x_t == WORLD.size).sum(1) == 1
        return torch.where(last[:, None, None], logits * 1e4, logits)


class SharpModel(DiffusionModel):
    """A lower temperature of the letters, as from truncated Gumbel noise."""

    def logits(self, x_t: Tensor, t: Tensor, condition: Tensor | None = None) -> Tensor:
        return super().logits(x_t, t) * 1.2


@pytest.mark.parametrize("wrong", [StaleModel, GreedyEndModel, SharpModel])
def test_wrong_samplers_fail_the_criterion(wrong: type[DiffusionModel]) -> None:
    right = WORLD.model()
    model = wrong(right.denoiser, right.process, right.alphabet, right.length_law)
    assert tv_excess(sample(model), WORLD.law) > 0.02


def test_it_draws_the_model_it_is_given() -> None:
    """Inconsistent conditionals: the law is the mean over orders of each order's chain rule."""
    from itertools import permutations

    wrong = WORLD.wrong_conditionals()
    clean = WORLD.clean.numpy()
    exact = np.zeros(len(clean))
    rows = np.arange(len(clean))
    for order in permutations(range(WORLD.length)):
        x_t, drawn = np.full_like(clean, WORLD.size), np.ones(len(clean))
        for position in order:
            guess = wrong[places(torch.from_numpy(x_t), WORLD.size + 1).numpy()]
            drawn *= guess[rows, position, clean[:, position]]
            x_t[:, position] = clean[:, position]
        exact += drawn / 24
    assert abs(tv_excess(sample(WORLD.model(wrong)), exact)) < 0.01
    assert tv_excess(sample(WORLD.model(wrong)), WORLD.law) > 0.05


def test_grid_and_block_calls_are_counted() -> None:
    for settings in ({"steps": 3}, {"steps": 3, "decoding": "grid"}, {}):
        model = WORLD.model()
        sample(model, 300, **settings)
        rows, rewards = Ancestral(**settings).calls_per_design(WORLD.length)
        assert model.counter.calls == Ancestral(**settings).steps_for(WORLD.length)
        assert model.counter.rows <= 300 * rows
        assert rewards == 0


class ClockModel(DiffusionModel):
    """A guess that the time alone changes: letter 0 early, letter 1 in the second half."""

    def logits(self, x_t: Tensor, t: Tensor, condition: Tensor | None = None) -> Tensor:
        logits = torch.full((*x_t.shape, WORLD.size), -20.0)
        logits[..., 0] = torch.where(t > 0.5, 20.0, -20.0)[:, None]
        logits[..., 1] = -logits[..., 0]
        return logits


def test_a_time_conditioned_guess_is_never_older_than_its_step() -> None:
    right = WORLD.model()
    model = ClockModel(right.denoiser, right.process, right.alphabet, right.length_law)
    settings = {"steps": 8, "decoding": "grid"}
    noise = noise_for(1, 500)
    step_of = model.process.plan(WORLD.length, 8, "grid", noise).step_of
    model.time_conditioned = True
    sampler = Ancestral(**settings)
    fresh = sampler.sample(model, None, Request(WORLD.length), noise).tokens
    # The guess before step i is made at time 1 - i / 8.
    assert torch.equal(fresh, (step_of >= 4).long())
    model.time_conditioned = False
    stale = sampler.sample(model, None, Request(WORLD.length), noise).tokens
    assert not torch.equal(stale, fresh)


def test_a_batch_is_given_up_before_its_next_step() -> None:
    model = WORLD.model()
    asked = iter([False, False, True])
    with pytest.raises(Interrupted, match="before step 3 of 4"):
        Ancestral().sample(
            model, None, Request(WORLD.length, lambda: next(asked)), noise_for(0, 20)
        )
    assert model.counter.calls == 3  # the start, and after each of two steps
