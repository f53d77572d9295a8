"""The exact laws of the benchmarks against enumerated worlds."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

from benchmarks.exact_law import (
    ExactLaw,
    all_words,
    denoiser_logits,
    marginal_divergence,
    places,
)
from designkit.algorithms.sampling.ancestral import Ancestral
from designkit.algorithms.sampling.base import Request
from designkit.diffusion.masked import Masked
from designkit.models.base import DiffusionModel
from designkit.models.cnn import CNNDenoiser
from designkit.randomness import noise_for
from designkit.recipes.training import build_seeded
from tests.tabular import Law, World, exact_svdd, make_rewards, make_world, tv, tv_excess

WORLD = make_world(size=3, length=4)
REWARDS = make_rewards(WORLD)
WRONG = WORLD.wrong_conditionals()


def walks(world: World, conditionals: Law) -> Law:
    """The sampler's law, one order of the positions after the other."""
    law = np.zeros(len(world.clean))
    orders = list(itertools.permutations(range(world.length)))
    for row, word in enumerate(world.clean.tolist()):
        for order in orders:
            x_t = torch.full((1, world.length), world.size)
            chance = 1.0
            for place in order:
                state = int(places(x_t, world.size + 1))
                chance *= conditionals[state, place, word[place]]
                x_t[0, place] = word[place]
            law[row] += chance / len(orders)
    return law


def test_consistent_conditionals_give_back_their_law() -> None:
    exact = ExactLaw(WORLD.conditionals)
    assert exact.prior == pytest.approx(WORLD.law, abs=1e-12)
    assert exact.tilted(REWARDS, 0.4) == pytest.approx(WORLD.tilted(REWARDS, 0.4), abs=1e-12)
    values = exact.soft_values(REWARDS, 0.4)
    assert values == pytest.approx(WORLD.soft_values(REWARDS, 0.4), abs=1e-9)
    assert exact.guided(values, 0.4) == pytest.approx(WORLD.tilted(REWARDS, 0.4), abs=1e-12)


def test_any_guesses_give_the_mean_over_all_orders() -> None:
    exact = ExactLaw(WRONG)
    assert exact.prior == pytest.approx(walks(WORLD, WRONG), abs=1e-12)
    assert tv(exact.prior, WORLD.law) > 0.1
    start = exact.soft_values(REWARDS, 0.4)[-1]  # nothing but masks
    assert start == pytest.approx(0.4 * np.log(exact.prior @ np.exp(REWARDS / 0.4)))


@pytest.mark.parametrize("temperature", [0.0, 0.4])
def test_infinitely_many_candidates_are_the_limit_of_many(temperature: float) -> None:
    exact = ExactLaw(WRONG)
    values = np.random.default_rng(0).normal(size=4**4).round(3)
    limit = exact.guided(values, temperature)
    assert limit.sum() == pytest.approx(1)
    kinds = {"table": tuple(values.tolist())}
    svdd = exact_svdd(WORLD, REWARDS, 0.4, 200).model_copy(
        update={**kinds, "temperature": temperature}
    )
    drawn = svdd.sample(
        WORLD.model(WRONG), WORLD.objective(REWARDS), Request(4), noise_for(0, 3000)
    )
    assert tv_excess(drawn.tokens, limit) < 0.02
    assert tv_excess(drawn.tokens, exact.prior) > 0.2


def test_a_network_draws_from_its_own_exact_law() -> None:
    settings = CNNDenoiser(channels=16, kernel=5, dilations=(1,), repeats=1, positions=4)
    network = build_seeded(lambda: settings.build(4, 3), 0).eval()
    with torch.no_grad():
        network.head.weight.mul_(20)
    toy = WORLD.model()
    model = DiffusionModel(network, Masked(size=3), toy.alphabet, toy.length_law)
    logits = denoiser_logits(model, 4)
    assert logits.shape == (4**4, 4, 3)
    exact = ExactLaw(logits.double().softmax(-1).numpy())
    drawn = Ancestral().sample(model, None, Request(4), noise_for(1, 4000)).tokens
    assert tv_excess(drawn, exact.prior) < 0.02
    assert tv(exact.prior, np.full(81, 1 / 81)) > 0.2


def test_marginals_and_their_divergence() -> None:
    law = np.random.default_rng(0).dirichlet(np.ones(81))
    letters = ExactLaw(WRONG).marginals(law)
    words = all_words(3, 4).numpy()
    for place, letter in itertools.product(range(4), range(3)):
        assert letters[place, letter] == pytest.approx(law[words[:, place] == letter].sum())
    assert marginal_divergence(letters, letters) == 0
    certain = np.array([[1.0, 0.0], [0.5, 0.5]])
    other = np.array([[0.25, 0.75], [0.5, 0.5]])
    assert marginal_divergence(certain, other) == pytest.approx(np.log(4))


def test_a_law_needs_all_states() -> None:
    with pytest.raises(ValueError, match="80 states are not 4\\^4"):
        ExactLaw(np.ones((80, 4, 3)))
