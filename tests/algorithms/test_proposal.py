"""Children from another model: the target stays, and a better model leaves the weights even."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
from torch import Tensor

from designkit.algorithms.sampling import _guided
from designkit.algorithms.sampling._guided import choose
from designkit.algorithms.sampling.base import Children, Designs, Request
from designkit.algorithms.sampling.beam import Beam
from designkit.algorithms.sampling.nested_is import NestedIS
from designkit.algorithms.sampling.smc import SMC
from designkit.algorithms.sampling.svdd import SVDD
from designkit.algorithms.sampling.svdd_r import SVDDR
from designkit.algorithms.sampling.tds import TDS
from designkit.alphabet import DNA
from designkit.errors import UsageError
from designkit.models.base import DiffusionModel, LengthLaw
from designkit.randomness import noise_for
from tests.tabular import ExactValue, Law, make_rewards, make_world, places, tv_excess

WORLD = make_world()
REWARDS = make_rewards(WORLD)
K, L, TEMPERATURE = WORLD.size, WORLD.length, 0.5
VALUES = WORLD.soft_values(REWARDS, TEMPERATURE)
TARGET = WORLD.tilted(REWARDS, TEMPERATURE)


@pytest.fixture(autouse=True)
def exact_value(monkeypatch: pytest.MonkeyPatch) -> None:
    value = ExactValue(table=tuple(VALUES.tolist()), states=K + 1)
    monkeypatch.setattr(_guided, "estimator", lambda name: value)


def draw(method, populations: int, proposal: DiffusionModel) -> Designs:
    request = Request(L, load_model=lambda ref: proposal)
    noise = noise_for(0, populations * method.population)
    return method.sample(WORLD.model(), WORLD.objective(REWARDS), request, noise)


def soft_optimal() -> Law:
    """Conditionals pi(l, v | x) exp((v(x^{l<-v}) - v(x)) / temperature)."""
    noisy, conditionals = WORLD.noisy.numpy(), WORLD.conditionals.copy()
    radix = (K + 1) ** np.arange(L - 1, -1, -1)
    for place, word in enumerate(noisy):
        for position in np.flatnonzero(word == K):
            children = place + radix[position] * (np.arange(K) - K)
            conditionals[place, position] *= np.exp(
                (VALUES[children] - VALUES[place]) / TEMPERATURE
            )
    np.testing.assert_allclose(conditionals.sum(-1), 1, rtol=1e-9)
    return conditionals


@pytest.mark.parametrize(
    ("method", "populations"),
    [
        (SMC(particles=2000, temperature=TEMPERATURE, proposal="other"), 10),
        (NestedIS(particles=1000, candidates=4, temperature=TEMPERATURE, proposal="other"), 10),
        (TDS(particles=2000, temperature=TEMPERATURE, proposal="other"), 10),
        (SVDD(candidates=100, temperature=TEMPERATURE, proposal="other"), 1500),
    ],
    ids=["smc", "nested_is", "tds", "svdd"],
)
def test_the_target_is_that_of_the_prior(method, populations: int) -> None:
    other = WORLD.model(WORLD.wrong_conditionals(0.5))
    assert tv_excess(draw(method, populations, other).tokens, TARGET) < 0.025
    assert other.counter.calls == L


@pytest.mark.parametrize("kind", [SMC, NestedIS, TDS])
def test_the_normalizer_is_unbiased(kind) -> None:
    method = kind(particles=8, temperature=TEMPERATURE, proposal="other")
    drawn = draw(method, 1500, WORLD.model(WORLD.wrong_conditionals(0.5)))
    found = np.exp(drawn.columns["log_normalizer"][::8].numpy())
    true = float(WORLD.law @ np.exp(REWARDS / TEMPERATURE))
    assert abs(found.mean() - true) < 3 * found.std(ddof=1) / np.sqrt(1500)


def test_letters_that_the_proposal_alone_takes_for_improbable_are_drawn() -> None:
    """``top_p`` is of the prior's letters: the proposal's own set would leave some of them out."""
    ranked = -np.sort(-WORLD.conditionals, -1)
    least = (ranked + 2 * (ranked.cumsum(-1) - ranked >= 0.6)).min(-1, keepdims=True)
    kept = WORLD.conditionals * (WORLD.conditionals >= least)
    kept /= kept.sum(-1, keepdims=True)
    noisy = WORLD.noisy.numpy()
    radix = (K + 1) ** np.arange(L - 1, -1, -1)
    mass = np.zeros(len(noisy))
    mass[-1] = 1.0
    for hidden in range(L, 0, -1):
        for place in np.flatnonzero((noisy == K).sum(1) == hidden):
            for position in np.flatnonzero(noisy[place] == K):
                children = place + radix[position] * (np.arange(K) - K)
                mass[children] += mass[place] * kept[place, position] / hidden
    true = float(mass[(WORLD.clean.numpy() * radix).sum(1)] @ np.exp(REWARDS / TEMPERATURE))
    method = SMC(particles=8, temperature=TEMPERATURE, proposal="other", top_p=0.6)
    drawn = draw(method, 3000, WORLD.model(WORLD.wrong_conditionals()))
    found = np.exp(drawn.columns["log_normalizer"][::8].numpy())
    error = found.std(ddof=1) / np.sqrt(3000)
    assert abs(found.mean() - true) < 3.5 * error
    assert error < 0.05 * true


class Unpaid(SVDD):
    """Children of the proposal are chosen as if they were the prior's."""

    def select(self, children: Children, temperature: float) -> Tensor:
        ratio = torch.zeros_like(children.log_ratio)
        return super().select(replace(children, log_ratio=ratio), temperature)


def test_a_proposal_that_is_not_paid_for_is_caught() -> None:
    method = Unpaid(candidates=100, temperature=TEMPERATURE, proposal="other")
    other = WORLD.model(WORLD.wrong_conditionals(0.5))
    assert tv_excess(draw(method, 1500, other).tokens, TARGET) > 0.05


def test_the_prior_is_not_the_proposal() -> None:
    """With few candidates the proposal shows: it is used."""
    method = SVDD(candidates=1, temperature=TEMPERATURE, proposal="other")
    wrong = draw(method, 4000, WORLD.model(WORLD.wrong_conditionals())).tokens
    assert tv_excess(wrong, WORLD.law) > 0.05
    best = draw(method, 4000, WORLD.model(soft_optimal())).tokens
    assert tv_excess(best, TARGET) < 0.02


@pytest.mark.parametrize(
    "kind",
    [partial(SVDDR, particles=4, resampled=0), partial(Beam, beams=1)],
    ids=["svdd_r", "beam"],
)
def test_optimisers_draw_their_children_from_it_too(kind) -> None:
    method = kind(candidates=3, temperature=0.0, proposal="other")
    other = WORLD.model(WORLD.wrong_conditionals(2.0))
    found = REWARDS[places(draw(method, 400 // method.population, other).tokens, K).numpy()]
    plain = SVDD(candidates=3, proposal="other", temperature=0.0)
    expected = REWARDS[places(draw(plain, 400, other).tokens, K).numpy()]
    assert (found == expected).mean() > 0.6  # members of a population are distinct
    assert other.counter.calls == 2 * L
    own = REWARDS[places(draw(plain, 400, WORLD.model()).tokens, K).numpy()]
    assert (found == own).mean() < 0.5


def test_a_letter_that_the_prior_never_writes_is_not_proposed() -> None:
    """In one step the prior writes, of each position, the letters of its smallest set."""
    other = WORLD.model(WORLD.wrong_conditionals(2.0))
    method = SVDD(candidates=2, temperature=1.0, proposal="other", top_p=0.5, steps=1)
    first = WORLD.conditionals[-1]
    order = np.argsort(-first, axis=1)
    before = np.cumsum(np.take_along_axis(first, order, 1), 1) - np.take_along_axis(first, order, 1)
    allowed = np.zeros((L, K), dtype=bool)
    np.put_along_axis(allowed, order, before < 0.5, 1)
    assert not allowed.all(1).any()
    tokens = draw(method, 200, other).tokens
    assert allowed[np.arange(L), tokens.numpy()].all()


def test_what_no_law_allows_is_chosen_by_its_value() -> None:
    values = torch.tensor([[0.0, 5.0], [5.0, 0.0]], dtype=torch.float64)
    never = torch.full_like(values, -torch.inf)
    assert choose(values, never, 0.1, noise_for(0, 2)).tolist() == [1, 0]


def test_the_soft_optimal_policy_leaves_the_weights_even() -> None:
    method = SMC(particles=4, temperature=TEMPERATURE, proposal="other")
    found = draw(method, 300, WORLD.model(soft_optimal())).columns["log_normalizer"]
    true = np.log(WORLD.law @ np.exp(REWARDS / TEMPERATURE))
    np.testing.assert_allclose(found, true, atol=1e-4)
    plain = draw(SMC(particles=4, temperature=TEMPERATURE), 300, WORLD.model())
    assert plain.columns["log_normalizer"].std() > 0.1


def test_a_model_that_does_not_fit_is_refused() -> None:
    method, fits = SMC(particles=2, temperature=1.0, proposal="other"), WORLD.model()
    smaller = make_world(3, 4).model()
    for wrong, message in (
        (object(), "proposal other: it is not a prior"),
        (replace(fits, alphabet=DNA), "its letters are dna, those of the prior toy"),
        (replace(smaller, alphabet=fits.alphabet), "its noise is Masked"),
        (replace(fits, length_law=LengthLaw({5: 1, 7: 1})), "it writes 5 to 7 letters, not 4"),
    ):
        with pytest.raises(UsageError, match=message):
            draw(method, 1, wrong)
    with pytest.raises(UsageError, match="no registry"):
        method.sample(WORLD.model(), WORLD.objective(REWARDS), Request(L), noise_for(0, 2))
