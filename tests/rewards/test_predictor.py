"""A predictor as a reward: values worked by hand, lengths and letters refused with a reason."""

from __future__ import annotations

from math import erfc, log
from pathlib import Path

import numpy as np
import pytest
import torch

from designkit.alphabet import DNA, PROTEIN, RNA, Alphabet
from designkit.errors import ConfigurationError, RewardError
from designkit.rewards import RewardEngine, WeightedReward
from designkit.rewards.predictor import PredictorReward
from tests.rewards.examples import Example, linear_predictor, random_sequences

TWO = ({"name": "te", "unit": "log2"}, {"name": "decay", "unit": "1/h", "direction": "minimize"})


def examples(folder: Path) -> list[Example]:
    predictor = linear_predictor(lengths=(1, 12))
    return [Example("model:mrl", random_sequences(), load_model=lambda _: predictor, smooth=False)]


def test_mean_and_spread_by_hand() -> None:
    reward = PredictorReward(load_model=lambda _: linear_predictor(lengths=(4,)), model="mrl")
    scores = reward.score(["GGAA", "AAAA", "GGGG"])
    # Slopes 1, 2, 6 (mean 3, sample deviation sqrt(7)) times the number of G over 10.
    expected = np.array([[0.6, 0.2 * 7**0.5], [0, 0], [1.2, 0.4 * 7**0.5]])
    np.testing.assert_allclose(scores.values, expected, rtol=1e-6)
    assert [output.name for output in reward.info.outputs] == ["mrl", "std"]
    assert reward.info.outputs[0].unit == "log2"
    assert reward.info.version == "abc123"


def test_calibrated_spread_by_hand() -> None:
    predictor = linear_predictor(outputs=TWO, lengths=(4,), calibration=[(1.0, 0.0), (4.0, 0.25)])
    reward = PredictorReward(load_model=lambda _: predictor, model="m", target="decay")
    # The second output is twice the first: members 0.4, 0.8, 2.4, their variance 1.12.
    expected = [[1.2, (4 * 1.12 + 0.25) ** 0.5], [0, 0.5]]
    np.testing.assert_allclose(reward.score(["GGAA", "AAAA"]).values, expected, rtol=1e-6)


def test_one_member_has_no_spread() -> None:
    reward = PredictorReward(load_model=lambda _: linear_predictor(slopes=(5.0,)), model="mrl")
    assert reward.score(["GGGGGGGG"]).values.tolist() == [[4.0]]


def test_columns_in_the_engine() -> None:
    reward = PredictorReward(load_model=lambda _: linear_predictor(lengths=(4,)), model="mrl")
    scored = RewardEngine([WeightedReward(reward)], alphabet=DNA).score(["GGAA"])
    assert list(scored.columns) == ["mrl", "mrl_std"]
    np.testing.assert_array_equal(scored.reward, scored.columns["mrl"])


def test_choosing_an_output() -> None:
    predictor = linear_predictor(outputs=TWO, slopes=(1.0,), lengths=(4,))
    first = PredictorReward(load_model=lambda _: predictor, model="m")
    np.testing.assert_allclose(
        first.score(["GGGA"]).values,
        PredictorReward(load_model=lambda _: predictor, model="m", target="te")
        .score(["GGGA"])
        .values,
    )
    assert first.info.name == "mrl"
    with pytest.raises(RewardError, match="no output 'decoy'; did you mean 'decay'"):
        PredictorReward(load_model=lambda _: predictor, model="m", target="decoy")
    reward = PredictorReward(load_model=lambda _: predictor, model="m", target="decay")
    np.testing.assert_allclose(reward.score(["GGGA"]).values, [[0.6]])
    assert (reward.info.name, reward.info.outputs[0].direction) == ("mrl_decay", "minimize")
    scored = RewardEngine([WeightedReward(reward)], alphabet=DNA).score(["GGGA"])
    np.testing.assert_allclose(scored.columns["mrl_decay"], [0.6])
    np.testing.assert_allclose(scored.reward, [-0.6])  # less is better


def test_lengths_outside_the_training_range_have_no_score() -> None:
    reward = PredictorReward(load_model=lambda _: linear_predictor(lengths=(4, 8)), model="mrl")
    scores = reward.score(["GGG", "GGGG", "GGGGGG", "G" * 9])
    assert np.isnan(scores.values[:, 0]).tolist() == [True, False, False, True]
    assert scores.errors[0] == "length 3; 'mrl' was trained on 4 to 8"
    fixed = PredictorReward(load_model=lambda _: linear_predictor(lengths=(4,)), model="mrl")
    assert fixed.score(["GG"]).errors == ["length 2; 'mrl' was trained on 4"]


def test_alphabets() -> None:
    reward = PredictorReward(load_model=lambda _: linear_predictor(), model="mrl")
    reward.bind(Alphabet("mine", tuple("ACGT")))
    with pytest.raises(RewardError, match=r"DNA is written with T and RNA with U"):
        reward.bind(RNA)
    with pytest.raises(RewardError, match=r"reads dna \(ACGT\), the sequences are protein") as e:
        reward.bind(PROTEIN)
    assert "written with T" not in str(e.value)


def test_gradient_by_hand() -> None:
    reward = PredictorReward(load_model=lambda _: linear_predictor(lengths=(4,)), model="mrl")
    probs = torch.full((2, 4, 4), 0.25, requires_grad=True)
    reward.score_relaxed(probs).sum().backward()
    expected = torch.zeros(4)
    expected[DNA.index["G"]] = 0.3  # mean slope 3 over 10
    assert probs.grad is not None
    torch.testing.assert_close(probs.grad, expected.expand(2, 4, 4))


def test_ragged_batches_are_refused() -> None:
    reward = PredictorReward(load_model=lambda _: linear_predictor(lengths=(4,)), model="mrl")
    valid = torch.tensor([[True, True, True, False]])
    with pytest.raises(RewardError, match="one length"):
        reward.score_relaxed(torch.ones(1, 4, 4) / 4, valid)


def normal_below(z: float) -> float:
    return erfc(-z / 2**0.5) / 2


def test_a_threshold_is_a_condition_by_hand() -> None:
    """GGAA: mean 0.6, deviation 0.2 sqrt(7); the second output is twice that, less is better."""
    predictor = linear_predictor(outputs=TWO, lengths=(4,))
    above = PredictorReward(load_model=lambda _: predictor, model="m", above=1.0)
    mean, deviation = 0.6, 0.2 * 7**0.5
    expected = [log(1 - normal_below((1.0 - mean) / deviation)), mean, deviation]
    np.testing.assert_allclose(above.score(["GGAA"]).values, [expected], rtol=1e-5)
    assert [output.name for output in above.info.outputs] == ["mrl_above_1", "mean", "std"]
    below = PredictorReward(load_model=lambda _: predictor, model="m", target="decay", below=1.0)
    wanted = log(normal_below((1.0 - 2 * mean) / (2 * deviation)))
    assert below.score(["GGAA"]).values[0, 0] == pytest.approx(wanted, rel=1e-5)
    scored = RewardEngine([WeightedReward(below)], alphabet=DNA).score(["GGAA", "AAAA"])
    assert scored.reward[0] == pytest.approx(wanted, rel=1e-5)
    assert scored.reward[1] > scored.reward[0]


def test_a_condition_far_away_is_finite_and_has_a_derivative() -> None:
    predictor = linear_predictor(lengths=(4,), calibration=[(1.0, 1e-4)])
    reward = PredictorReward(load_model=lambda _: predictor, model="m", above=50.0)
    probs = torch.full((1, 4, 4), 0.25, requires_grad=True)
    value = reward.score_relaxed(probs)
    value.sum().backward()
    assert torch.isfinite(value).all()
    assert value < -100
    assert probs.grad is not None
    assert (probs.grad[..., DNA.index["G"]] > 0).all()
    one_hot = torch.eye(4)[[2, 2, 0, 0]][None]
    hard = reward.score(["GGAA"]).values[0, 0]
    assert float(reward.score_relaxed(one_hot).detach()) == pytest.approx(hard, rel=1e-5)


def test_conditions_that_cannot_be() -> None:
    with pytest.raises(RewardError, match="a single network: no deviation is known"):
        PredictorReward(load_model=lambda _: linear_predictor(slopes=(5.0,)), model="m", above=1.0)
    with pytest.raises(ConfigurationError, match="give two rewards"):
        PredictorReward(load_model=lambda _: linear_predictor(), model="m", above=1.0, below=2.0)
