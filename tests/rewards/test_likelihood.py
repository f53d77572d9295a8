"""Likelihood: an exact law by enumeration, the bound of an inexact one, one value in any batch."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from designkit.alphabet import DNA, PROTEIN, RNA
from designkit.diffusion.masked import Masked
from designkit.errors import ConfigurationError, RewardError
from designkit.models.base import DiffusionModel, LengthLaw
from designkit.models.cnn import CNNDenoiser
from designkit.rewards import RewardEngine, WeightedReward
from designkit.rewards.likelihood import Likelihood
from tests.rewards.examples import Example, linear_predictor, random_sequences
from tests.tabular import World, make_world

WORLD = make_world(4, 4)
SEQUENCES = DNA.decode(WORLD.clean.numpy())


def prior(world: World = WORLD, **changes: Any) -> DiffusionModel:
    return replace(world.model(), **{"alphabet": DNA, "name": "toy"} | changes)


def examples(folder: Path) -> list[Example]:
    sequences = random_sequences(length=4)
    refs = ("likelihood?model=toy", "likelihood?model=toy&draws=8&per_letter=true")
    return [Example(ref, sequences, load_model=lambda _: prior()) for ref in refs]


def scored(model: DiffusionModel, sequences: list[str], **parameters: Any) -> np.ndarray:
    reward = Likelihood(load_model=lambda _: model, model="toy", **parameters)
    reward.bind(DNA)
    return reward.score(sequences).values


def test_of_an_exact_prior_it_is_the_log_law() -> None:
    some = [0, 17, 101, 255]
    mean, error = scored(prior(), [SEQUENCES[row] for row in some], draws=4000).T
    assert (abs(mean - np.log(WORLD.law[some])) < 4 * error).all()
    assert ((error > 0) & (error < 0.1)).all()


def test_of_an_inexact_prior_it_is_its_bound() -> None:
    conditionals = WORLD.wrong_conditionals()
    model = replace(WORLD.model(conditionals), alphabet=DNA)
    some = [0, 17, 101, 255]
    mean, error = scored(model, [SEQUENCES[row] for row in some], draws=4000).T
    assert (abs(mean + WORLD.nelbo(conditionals)[some]) < 4 * error).all()


def test_one_letter_by_hand() -> None:
    model = prior(World(np.array([0.1, 0.2, 0.3, 0.4]), 4, 1))
    mean, error = scored(model, list("TGCA"), draws=2).T
    np.testing.assert_allclose(mean, np.log([0.4, 0.3, 0.2, 0.1]), rtol=1e-6)
    np.testing.assert_allclose(error, 0, atol=1e-6)


def test_draws_and_letters() -> None:
    few, many, most = (scored(prior(), SEQUENCES[:20], draws=n) for n in (16, 500, 2000))
    assert np.median(many[:, 1] / most[:, 1]) == pytest.approx(2, rel=0.2)  # their root
    np.testing.assert_allclose(scored(prior(), SEQUENCES[:20], draws=16, per_letter=True), few / 4)


@pytest.fixture(scope="module")
def network() -> DiffusionModel:
    torch.manual_seed(0)
    denoiser = CNNDenoiser(channels=8, kernel=3, dilations=(1,), repeats=1).build(5, 4).eval()
    return DiffusionModel(denoiser, Masked(size=4), DNA, LengthLaw.fit([10, 30]), sha256="abc")


def test_a_sequence_has_one_value_whatever_it_is_scored_with(network: DiffusionModel) -> None:
    sequences = random_sequences(count=70, length=30) + random_sequences(count=5, length=10)
    together = scored(network, sequences)
    assert len(np.unique(together[:, 0])) == 75
    order = np.random.default_rng(0).permutation(75)
    np.testing.assert_array_equal(scored(network, [sequences[r] for r in order]), together[order])
    for row in (0, 33, 69, 74):
        np.testing.assert_array_equal(scored(network, [sequences[row]]), together[[row]])


def test_lengths_that_the_prior_never_writes(network: DiffusionModel) -> None:
    reward = Likelihood(load_model=lambda _: network, model="mine")
    scores = reward.score(["A" * 9, "A" * 10, "A" * 20, "A" * 31])
    assert np.isnan(scores.values).any(axis=1).tolist() == [True, False, False, True]
    assert scores.errors[0] == "length 9; 'mine' was trained on 10 to 30"
    fixed = Likelihood(load_model=lambda _: prior(), model="toy")
    assert fixed.score(["ACG"]).errors == ["length 3; 'toy' was trained on 4"]


def test_impossible_sequences_have_no_score() -> None:
    model = prior(World(np.array([0.5, 0.5, 0, 0]), 4, 1))
    reward = Likelihood(load_model=lambda _: model, model="toy")
    scores = reward.score(["A", "G"])
    assert scores.errors == [None, "'toy' gives it the probability 0"]
    assert np.isnan(scores.values[1]).all()


def test_columns_and_info(network: DiffusionModel) -> None:
    reward = Likelihood(load_model=lambda _: network, model="mine", per_letter=True)
    assert (reward.info.version, reward.info.alphabets) == ("abc", ("dna",))
    assert reward.info.outputs[0].unit == "nats per letter"
    assert reward.info.cost == "expensive"
    found = RewardEngine([WeightedReward(reward)], alphabet=DNA).score(["A" * 10])
    assert {"likelihood", "likelihood_se"} <= set(found.columns)


def test_predictors_are_refused() -> None:
    with pytest.raises(RewardError, match=r"'mrl' is a predictor.* is model:mrl"):
        Likelihood(load_model=lambda _: linear_predictor(), model="mrl")


def test_alphabets() -> None:
    reward = Likelihood(load_model=lambda _: prior(), model="toy")
    assert reward.own_alphabet is DNA
    with pytest.raises(RewardError, match="DNA is written with T and RNA with U"):
        reward.bind(RNA)
    with pytest.raises(RewardError, match=r"writes dna \(ACGT\), the sequences are protein"):
        reward.bind(PROTEIN)


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({}, "reward likelihood needs model: likelihood?model=..."),
        ({"model": "toy", "draws": 1}, "draws: must be at least 2, not 1"),
        ({"model": "toy", "per_leter": True}, "did you mean 'per_letter'?"),
    ],
)
def test_parameters_are_checked(parameters: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        Likelihood(load_model=lambda _: prior(), **parameters)
    assert message in str(caught.value)
