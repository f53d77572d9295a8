"""Classifier guidance against enumerated laws."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from designkit.algorithms.sampling.base import Request
from designkit.algorithms.sampling.classifier import Classifier
from designkit.randomness import noise_for
from tests.tabular import (
    CountedTable,
    ExactValue,
    World,
    independent_world,
    make_rewards,
    make_world,
    places,
    tv_excess,
)

WORLD = make_world()
REWARDS = make_rewards(WORLD)
K, L = WORLD.size, WORLD.length


class ExactClassifier(Classifier):
    table: tuple[float, ...]

    def estimator(self) -> ExactValue:
        return ExactValue(table=self.table, states=K + 1)


def exact(temperature: float, value_temperature: float | None = None, **settings) -> Classifier:
    table = WORLD.soft_values(REWARDS, value_temperature or temperature)
    return ExactClassifier(temperature=temperature, table=tuple(table.tolist()), **settings)


def draw(
    method: Classifier, draws: int, world: World = WORLD, rewards: np.ndarray = REWARDS
) -> Tensor:
    model, objective = world.model(), world.objective(rewards)
    return method.sample(model, objective, Request(world.length), noise_for(0, draws)).tokens


@pytest.mark.parametrize("temperature", [0.3, 1.0])
def test_every_letter_and_the_exact_value_draw_the_target(temperature: float) -> None:
    tokens = draw(exact(temperature), 20_000)
    assert abs(tv_excess(tokens, WORLD.tilted(REWARDS, temperature))) < 0.01


def test_gamma_is_the_inverse_temperature_of_a_log_probability() -> None:
    tokens = draw(exact(1.0, 0.5, guidance_scale=2.0), 20_000)
    assert abs(tv_excess(tokens, WORLD.tilted(REWARDS, 0.5))) < 0.01
    assert tv_excess(tokens, WORLD.tilted(REWARDS, 1.0)) > 0.05


@pytest.mark.parametrize("settings", [{"guidance_scale": 1.5}, {"value_temperature": 5.0}])
def test_other_scales_and_other_values_are_caught(settings: dict) -> None:
    assert tv_excess(draw(exact(0.5, **settings), 10_000), WORLD.tilted(REWARDS, 0.5)) > 0.02


def test_several_positions_a_step_are_tilted_one_by_one() -> None:
    """All in one step: the product of pi_l(v) exp(v(x^{l<-v}) / temperature)."""
    values = WORLD.soft_values(REWARDS, 0.5).reshape((K + 1,) * L)
    product = np.ones(K**L)
    for position in range(L):
        one = np.moveaxis(values, position, 0)[(slice(0, K), *[K] * (L - 1))]
        weights = WORLD.conditionals[-1][position] * np.exp(one / 0.5)
        product *= (weights / weights.sum())[WORLD.clean[:, position].numpy()]
    assert abs(tv_excess(draw(exact(0.5, steps=1), 20_000), product)) < 0.01


def test_letters_are_put_into_the_guess_that_was_there() -> None:
    """Values of the parent's guess: r of its best letters, and of v at the position tried."""
    guided, best = WORLD.conditionals.copy(), WORLD.conditionals.argmax(-1)
    noisy = WORLD.noisy.numpy()
    radix = (K + 1) ** np.arange(L - 1, -1, -1)
    mass = np.zeros(len(noisy))
    mass[-1] = 1.0
    for hidden in range(L, 0, -1):
        for place in np.flatnonzero((noisy == K).sum(1) == hidden):
            completed = np.where(noisy[place] == K, best[place], noisy[place])
            for position in np.flatnonzero(noisy[place] == K):
                tried = np.tile(completed, (K, 1))
                tried[:, position] = np.arange(K)
                worth = REWARDS[places(torch.from_numpy(tried), K).numpy()]
                weights = guided[place, position] * np.exp(worth / 0.5)
                children = place + radix[position] * (np.arange(K) - K)
                mass[children] += mass[place] * weights / weights.sum() / hidden
    law = mass[(WORLD.clean.numpy() * radix).sum(1)]
    model = WORLD.model()
    method = Classifier(temperature=0.5, value={"guess": "parent"})
    noise = noise_for(0, 20_000)
    tokens = method.sample(model, WORLD.objective(REWARDS), Request(L), noise).tokens
    assert abs(tv_excess(tokens, law)) < 0.01
    assert tv_excess(draw(Classifier(temperature=0.5), 20_000), law) > 0.03
    assert model.counter.calls == L  # nothing is guessed of what is only tried


def test_first_order_is_exact_for_sums_over_independent_positions() -> None:
    world, rewards = independent_world()
    tokens = draw(Classifier(form="first_order"), 20_000, world, rewards)
    assert abs(tv_excess(tokens, world.tilted(rewards, 1.0))) < 0.01


def test_letters_are_valued_by_roll_outs() -> None:
    """More states are tried than there are designs, and the last of them are rolled out too."""
    value = {"name": "rollout", "completions": 32}
    tokens = draw(Classifier(temperature=1.0, value=value), 4_000)
    assert tv_excess(tokens, WORLD.tilted(REWARDS, 1.0)) < 0.02
    assert tv_excess(tokens, WORLD.law) > 0.1


def test_what_a_design_tries_does_not_depend_on_the_others() -> None:
    """On a time grid some write one letter in a step in which others write more."""
    value = {"name": "rollout", "completions": 1}
    method = Classifier(temperature=0.1, value=value, decoding="grid", steps=5)
    whole = draw(method, 40)
    alone = [
        method.sample(
            WORLD.model(), WORLD.objective(REWARDS), Request(L), noise_for(0, 1, start=row)
        ).tokens
        for row in range(40)
    ]
    assert torch.equal(torch.cat(alone), whole)


def test_what_was_tried_is_not_computed_again() -> None:
    model, objective = WORLD.model(), CountedTable(REWARDS, K)
    method = Classifier(temperature=0.3)
    method.sample(model, objective, Request(L), noise_for(1, 10))
    assert model.counter.calls == L
    assert model.counter.rows <= 1 + 10 * K * (L - 1)
    assert objective.rows == 10 * K * L
    rows, rewards = method.calls_per_design(L, K)
    assert model.counter.rows <= 10 * rows
    assert objective.rows <= 10 * rewards


def test_rewards_that_only_finished_states_take_are_announced() -> None:
    method = Classifier(temperature=0.3, value={"name": "learned", "model": "any"})
    # Every letter of the last position, and what is kept of none of them.
    assert method.calls_per_design(L, K) == (L, K)


def test_remembering_does_not_change_the_designs(monkeypatch: pytest.MonkeyPatch) -> None:
    first = draw(Classifier(temperature=0.3), 200)
    monkeypatch.setattr(Classifier, "guesses", lambda self, model: None)
    assert torch.equal(draw(Classifier(temperature=0.3), 200), first)


def test_temperature_0_takes_the_best_letter() -> None:
    """With the largest reachable reward as value every design is as good as there can be."""
    table = tuple(WORLD.soft_values(REWARDS, 0).tolist())
    found = draw(ExactClassifier(temperature=0.0, table=table), 50)
    assert (places(found, K) == int(REWARDS.argmax())).all()


def test_letters_without_a_score_are_not_drawn() -> None:
    rewards = REWARDS.copy()
    unscored = np.random.default_rng(0).random(256) < 0.3
    rewards[unscored] = np.nan
    tokens = draw(Classifier(temperature=0.5), 2000, rewards=rewards)
    # A row of the last step may have none that has one.
    assert float(unscored[places(tokens, K).numpy()].mean()) < 0.03
