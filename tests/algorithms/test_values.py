"""Value estimators against expectations over all completions of a small world."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from designkit.algorithms.sampling.base import Request
from designkit.algorithms.sampling.svdd import SVDD
from designkit.algorithms.values.base import States, ValueEstimator, estimator
from designkit.algorithms.values.monte_carlo import MonteCarlo
from designkit.algorithms.values.posterior_soft import PosteriorSoft
from designkit.alphabet import DNA
from designkit.errors import ConfigurationError, UsageError
from designkit.randomness import Noise, noise_for
from designkit.rewards import RewardEngine, WeightedReward
from designkit.rewards.gc import GC
from tests.tabular import Law, World, make_rewards, make_world, places, tv_excess

WORLD = make_world(3, 4)
REWARDS = make_rewards(WORLD)
MASK = WORLD.size
STATES = torch.tensor([[MASK] * 4, [1, MASK, MASK, 2], [0, MASK, 2, 1], [2, 0, 1, 1]])


def guess(states: torch.Tensor) -> torch.Tensor:
    return WORLD.model().predict_x_0(states, torch.full((len(states),), 0.5)).detach()


def given(tokens: torch.Tensor, noise: Noise, probs: torch.Tensor | None = None) -> States:
    """States half way."""
    model = WORLD.model()
    plan = model.process.plan(tokens.shape[1], 2, "blocks", noise)
    probs = guess(tokens) if probs is None else probs
    return States(
        tokens,
        probs,
        noise.item,
        1,
        plan,
        noise,
        model.predict_x_0,
        torch.zeros(len(tokens)).double(),
    )


def completions_law(probs: torch.Tensor) -> Law:
    """(N, K^L) the law of completions with independent letters."""
    chosen = probs.double().numpy()[:, np.arange(4)[:, None], WORLD.clean.T.numpy()]
    return np.asarray(chosen.prod(1))


def soft_mean(temperature: float) -> Law:
    return temperature * np.log(completions_law(guess(STATES)) @ np.exp(REWARDS / temperature))


def values(kind: ValueEstimator, repeats: int, temperature: float) -> np.ndarray:
    """(states, repeats)"""
    states = STATES.repeat_interleave(repeats, 0)
    noise = noise_for(0, len(states))
    found = kind.values(WORLD.objective(REWARDS), given(states, noise), temperature)
    return found.values.view(len(STATES), repeats).numpy()


@pytest.mark.parametrize("completions", [1, 3, 16])
@pytest.mark.parametrize("temperature", [0.5, 2.0])
def test_monte_carlo_is_unbiased_on_the_scale_of_weights(
    completions: int, temperature: float
) -> None:
    found = np.exp(values(MonteCarlo(completions=completions), 3000, temperature) / temperature)
    error = found.std(1, ddof=1) / np.sqrt(3000)
    assert (
        np.abs(found.mean(1) - np.exp(soft_mean(temperature) / temperature)) < 4 * error + 1e-9
    ).all()
    assert error[-1] == pytest.approx(0, abs=1e-12)  # nothing is masked there
    assert (error[:-1] > 0).all()


def test_many_completions_are_the_soft_mean() -> None:
    found = values(MonteCarlo(completions=300), 20, 0.5)  # 6,000 of each, in batches
    found = 0.5 * np.log(np.exp(found / 0.5).mean(1))
    np.testing.assert_allclose(found, soft_mean(0.5), atol=0.08)
    # One masked position: what positions say of each other is not missed.
    exact = WORLD.soft_values(REWARDS, 0.5)[places(STATES, 4).numpy()]
    np.testing.assert_allclose(found[2:], exact[2:], atol=0.08)
    assert abs(soft_mean(0.5)[0] - exact[0]) > 0.05


def test_temperature_zero_takes_the_best_completion() -> None:
    found = values(MonteCarlo(completions=150), 20, 0.0).max(1)
    possible = completions_law(guess(STATES)) > 1e-3
    np.testing.assert_allclose(found, np.where(possible, REWARDS, -np.inf).max(1))


def test_equal_children_have_completions_of_their_own() -> None:
    states = STATES[:1].repeat(2, 1)
    noise = noise_for(0, 1).repeat(2)
    kind = MonteCarlo(completions=50)
    first, second = kind.values(WORLD.objective(REWARDS), given(states, noise), 1.0).values
    assert first != second
    own = Noise(noise.seed, noise.item[:1], 0, noise.candidate[:1])  # type: ignore[index]
    again = kind.values(WORLD.objective(REWARDS), given(states[:1], own), 1.0)
    assert again.values[0] == first


def test_posterior_soft_is_exact_for_sums_over_positions() -> None:
    engine = RewardEngine([WeightedReward(GC())], alphabet=DNA)
    probs = torch.softmax(torch.arange(48.0).reshape(3, 4, 4).sin() * 3, -1)
    states = given(torch.zeros(3, 4).long(), noise_for(0, 3), probs)
    found = PosteriorSoft().values(engine, states, 1.0).values
    np.testing.assert_allclose(found, probs[..., 1:3].sum(-1).mean(1), rtol=1e-6)
    relaxed = values(PosteriorSoft(), 1, 1.0)[:, 0]
    np.testing.assert_allclose(relaxed, completions_law(guess(STATES)) @ REWARDS, atol=1e-6)


class Bounded:
    """A reward whose bounds only whole sequences show."""

    def values(self, tokens: torch.Tensor) -> torch.Tensor:
        return torch.full((len(tokens),), -1e6, dtype=torch.float64)

    def score_relaxed(self, probs: torch.Tensor, valid: torch.Tensor | None = None) -> torch.Tensor:
        return torch.ones(len(probs))


def test_posterior_soft_is_the_reward_of_what_is_finished() -> None:
    found = PosteriorSoft().values(Bounded(), given(STATES, noise_for(0, 4)), 1.0).values
    assert found.tolist() == [1, 1, 1, -1e6]


def test_completions_are_all_there_is_to_say_where_positions_are_independent() -> None:
    letters = np.random.default_rng(2).dirichlet(np.ones(3), size=4)
    clean = WORLD.clean.numpy()
    world = World(letters[np.arange(4), clean].prod(1), 3, 4)
    target = world.tilted(REWARDS, 0.5)

    def excess(value: object) -> float:
        method = SVDD(candidates=20, temperature=0.5, value=value)
        model, objective = world.model(), world.objective(REWARDS)
        designs = method.sample(model, objective, Request(4), noise_for(1, 1500))
        return tv_excess(designs.tokens, target)

    assert excess({"name": "monte_carlo", "completions": 24}) < 0.04
    assert excess("posterior_mean") > 0.06


def test_how_values_are_written() -> None:
    assert estimator("monte_carlo") == MonteCarlo()
    assert estimator({"name": "monte_carlo", "completions": 9}) == MonteCarlo(completions=9)
    with pytest.raises(UsageError, match="unknown value 'monte_carol'; did you mean 'monte_carlo'"):
        estimator("monte_carol")
    with pytest.raises(ConfigurationError, match=r"unknown key 'value\.completion'; did"):
        estimator({"name": "monte_carlo", "completion": 9})
    with pytest.raises(ValueError, match="unknown value 'mean'"):
        SVDD(value="mean")
