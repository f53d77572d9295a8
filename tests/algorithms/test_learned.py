"""The value ``learned``: what it costs, what it must not bias, and what it refuses."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from designkit.algorithms.sampling.base import Request
from designkit.algorithms.sampling.nested_is import NestedIS
from designkit.algorithms.sampling.smc import SMC
from designkit.algorithms.sampling.svdd import SVDD
from designkit.algorithms.values.base import estimator
from designkit.algorithms.values.learned import Learned
from designkit.alphabet import DNA, Alphabet
from designkit.diffusion.masked import Masked
from designkit.errors import ModelError, UsageError
from designkit.models._value import ValueModel
from designkit.models.base import DiffusionModel, LengthLaw
from designkit.models.cnn import CNNPredictor
from designkit.randomness import noise_for
from designkit.recipes.training import build_seeded
from tests.tabular import Law, exact_svdd, make_rewards, make_world, places, tv_excess

WORLD = make_world(3, 4)
REWARDS = make_rewards(WORLD)
TEMPERATURE = 0.6
VALUE = {"name": "learned", "model": "v"}


class Table(nn.Module):
    def __init__(self, values: Law) -> None:
        super().__init__()
        self.table = nn.Parameter(torch.from_numpy(values).float()[:, None])

    def forward(self, x: Tensor) -> Tensor:
        return self.table[places(x.argmax(-1), WORLD.size + 1)]


def prior() -> DiffusionModel:
    return replace(WORLD.model(), name="toy", sha256="a" * 64)


def value_model(values: Law, mean: float = 0.5, scale: float = 2.0) -> ValueModel:
    """Of the enumerated values, standardised."""
    return ValueModel(
        network=Table((values - mean) / scale),
        process=Masked(size=3),
        alphabet=prior().alphabet,
        length_law=LengthLaw({4: 1}),
        mean=mean,
        scale=scale,
        temperature=TEMPERATURE,
        objective="linex",
        prior={"ref": "toy@1", "sha256": "a" * 64},
        name="v",
    )


def request(network: Any) -> Request:
    def load(ref: str) -> Any:
        assert ref == "v"
        return network

    return Request(4, load_model=load)


def wrong_values(seed: int = 3) -> Law:
    """Values that say little."""
    return np.random.default_rng(seed).normal(size=4**5)[: 4**4]


def test_with_exact_values_the_designs_are_those_of_the_soft_optimal_policy() -> None:
    soft = WORLD.soft_values(REWARDS, TEMPERATURE)
    method = SVDD(candidates=40, temperature=TEMPERATURE, value=VALUE)
    noise = noise_for(0, 1500)
    objective = WORLD.objective(REWARDS)
    found = method.sample(prior(), objective, request(value_model(soft)), noise).tokens
    assert tv_excess(found, WORLD.tilted(REWARDS, TEMPERATURE)) < 0.04
    same = exact_svdd(WORLD, REWARDS, TEMPERATURE, 40)
    exact = same.sample(prior(), WORLD.objective(REWARDS), Request(4), noise).tokens
    assert (found == exact).all(1).double().mean() > 0.99  # float32 values
    misled = method.sample(prior(), objective, request(value_model(wrong_values())), noise).tokens
    assert tv_excess(misled, WORLD.tilted(REWARDS, TEMPERATURE)) > 0.05


@pytest.mark.parametrize("kind", [SMC, NestedIS])
@pytest.mark.parametrize("exact", [True, False])
def test_weights_end_in_the_true_reward(kind: Any, exact: bool) -> None:
    """The normaliser is unbiased whatever the network says, and better values vary less."""
    values = WORLD.soft_values(REWARDS, TEMPERATURE) if exact else wrong_values()
    method = kind(particles=16, temperature=TEMPERATURE, value=VALUE)
    found = method.sample(
        prior(), WORLD.objective(REWARDS), request(value_model(values)), noise_for(1, 16 * 500)
    )
    each = np.exp(found.columns["log_normalizer"].view(-1, 16)[:, 0].numpy())
    truth = float(WORLD.law @ np.exp(REWARDS / TEMPERATURE))
    error = each.std(ddof=1) / np.sqrt(len(each))
    assert abs(each.mean() - truth) < 4 * error
    assert (each.std() / truth < 0.5) == exact


def test_a_design_takes_the_denoiser_rows_of_an_unguided_one() -> None:
    soft = WORLD.soft_values(REWARDS, TEMPERATURE)
    network, model = value_model(soft), prior()
    objective = WORLD.objective(REWARDS)
    method = SVDD(candidates=5, temperature=TEMPERATURE, value=VALUE)
    method.sample(model, objective, request(network), noise_for(2, 40))
    assert model.counter.calls == 4
    assert model.counter.rows <= 40 * 4
    assert 40 < objective.rows <= 40 * 3  # at the end alone: of five, three can differ
    assert network.counter.rows <= 40 * 3 * 3
    assert method.calls_per_design(4) == (4, 5)
    # Of five children, three can differ in a step of one letter; the last are scored.
    assert network.counter.rows <= 40 * method.network_rows(4) <= 40 * 3 * 5
    assert method.model_copy(update={"value": "monte_carlo"}).network_rows(4) == 0


def test_settings_and_the_loaded_network() -> None:
    made = estimator(VALUE)
    assert made == Learned(model="v")
    assert not made.needs_guess
    assert (made.reward_rows, made.final_reward_rows) == (0, 1)
    with pytest.raises(UsageError, match="'v' is not loaded"):
        Learned(model="v").relaxed_values(torch.zeros(1, 4, 4), torch.zeros(1))
    assert made.model_dump() == {"model": "v"}


def dna_network(**changes: Any) -> ValueModel:
    settings = CNNPredictor(channels=8, dilations=(1, 2), slots=2, head=8)
    network = build_seeded(lambda: settings.build(5, 1, 12), 0).eval()
    fields: dict[str, Any] = {
        "network": network,
        "process": Masked(size=4),
        "alphabet": DNA,
        "length_law": LengthLaw({10: 1, 12: 3}),
        "mean": 5.0,
        "scale": 3.0,
        "temperature": 1.0,
        "objective": "linex",
        "prior": {"ref": "p@1", "sha256": "b" * 64},
    }
    return ValueModel(**(fields | changes))


def test_relaxed_values_equal_values_and_have_gradients() -> None:
    made = Learned(model="v")
    made._network = network = dna_network()
    x_t = torch.randint(0, 5, (21, 10), generator=torch.Generator().manual_seed(0))
    t = torch.linspace(0, 1, 21)
    hot = torch.nn.functional.one_hot(x_t, 5).float().requires_grad_()
    found = made.relaxed_values(hot, t)
    torch.testing.assert_close(found.detach().double(), network.values(x_t, t))
    assert found.dtype == torch.float32
    (slope,) = torch.autograd.grad(found.sum(), hot)
    towards = torch.nn.functional.one_hot(torch.arange(5), 5).float()
    for letter in (0, 4):
        step = torch.zeros_like(hot)
        step[:, 3] = 1e-2 * towards[letter]
        further, back = (made.relaxed_values(hot.detach() + s, t) for s in (step, -step))
        torch.testing.assert_close(
            (further - back) / 2e-2, slope[:, 3, letter], rtol=0.05, atol=0.02
        )


def test_a_row_does_not_depend_on_its_batch_and_lengths_are_known() -> None:
    network = dna_network()
    x_t = torch.randint(0, 5, (37, 12), generator=torch.Generator().manual_seed(1))
    t = torch.full((37,), 0.5)
    whole = network.values(x_t, t)
    assert torch.equal(whole[:5], network.values(x_t[:5], t[:5]))
    assert whole.dtype == torch.float64
    with pytest.raises(ModelError, match="reads at most 12 letters, not 13"):
        network.values(torch.zeros(1, 13, dtype=torch.int64), t[:1])


def test_networks_that_see_the_time() -> None:
    settings = CNNPredictor(channels=8, dilations=(1,), slots=2, head=8)
    network = build_seeded(lambda: settings.build(6, 1, 12), 0).eval()
    timed = dna_network(network=network, time_conditioned=True)
    x_t = torch.zeros(2, 12, dtype=torch.int64)
    early, late = timed.values(x_t, torch.tensor([0.9, 0.1]))
    assert early != late


PRIOR = DiffusionModel(
    nn.Linear(1, 1), Masked(size=4), DNA, LengthLaw({12: 1}), name="p", sha256="b" * 64
)


@pytest.mark.parametrize(
    ("found", "message"),
    [
        (PRIOR, "'v' is not a value network"),
        (dna_network(alphabet=Alphabet("rna", tuple("ACGU"))), "is for rna, not for dna"),
        (dna_network(process=Masked(size=5)), "is for another noise process than that of p"),
        (
            dna_network(prior={"ref": "q@2", "sha256": "c" * 64}),
            r"is for the prior q@2 \(sha256 cccccccc\), not for p \(bbbbbbbb\): train one for it",
        ),
    ],
)
def test_networks_that_do_not_fit_are_refused(found: Any, message: str) -> None:
    with pytest.raises(ModelError, match=message):
        Learned(model="v").prepared(PRIOR, lambda ref: found)
    with pytest.raises(ModelError, match="is for p without a class, not for one of its classes"):
        Learned(model="v").prepared(
            replace(PRIOR, classes=("low", "high"), condition=1), lambda ref: dna_network()
        )
    assert Learned(model="v").prepared(PRIOR, lambda ref: dna_network())._network is not None
