from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from designkit.alphabet import RNA
from designkit.errors import ConfigurationError, RewardError
from designkit.rewards.gc import GC
from tests.rewards.examples import Example, random_sequences

SEQUENCES = ["AAAA", "ACAA", "GCAU", "GGCA", "GCGC"]  # GC 0, 0.25, 0.5, 0.75, 1


def examples(folder: Path) -> list[Example]:
    sequences = random_sequences()
    return [Example(ref, sequences) for ref in ("gc", "gc?low=0.4&high=0.6", "gc?high=0.3")]


@pytest.mark.parametrize(
    ("parameters", "expected"),
    [
        ({}, [0, 0.25, 0.5, 0.75, 1]),
        ({"low": 0.5, "high": 0.75}, [0.5, 0.75, 1, 1, 0.75]),
        ({"low": 0.75}, [0.25, 0.5, 0.75, 1, 1]),
        ({"high": 0.25}, [1, 1, 0.75, 0.5, 0.25]),
        ({"low": 0.5, "high": 0.5}, [0.5, 0.75, 1, 0.75, 0.5]),
    ],
)
def test_worked_by_hand(parameters: dict[str, float], expected: list[float]) -> None:
    reward = GC(**parameters)
    np.testing.assert_allclose(reward.score(SEQUENCES).values[:, 0], expected)
    reward.bind(RNA)
    probs = torch.eye(4)[torch.from_numpy(RNA.encode(SEQUENCES))]
    np.testing.assert_allclose(reward.score_relaxed(probs).numpy(), expected, atol=1e-6)


def test_positions_that_do_not_exist_are_not_counted() -> None:
    reward = GC()
    reward.bind(RNA)
    probs = torch.eye(4)[torch.from_numpy(RNA.encode(["GCAUGG"]))]
    valid = torch.tensor([[True] * 4 + [False] * 2])
    assert reward.score_relaxed(probs, valid).tolist() == [0.5]


def test_empty_sequence_has_no_score() -> None:
    scores = GC(low=0.4).score(["", "GC"])
    assert np.isnan(scores.values[0, 0])
    assert scores.errors == ["empty sequence", None]


def test_relaxed_needs_an_alphabet() -> None:
    with pytest.raises(RewardError, match="bind"):
        GC().score_relaxed(torch.ones(1, 2, 4))


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"low": 0.6, "high": 0.4}, "low=0.6 is above high=0.4"),
        ({"low": 40}, "reward gc: low: must be at most 1.0, not 40"),
        ({"lo": 0.4}, "reward gc: unknown key 'lo'; did you mean 'low'?"),
        ({"low": "half"}, "must be a number, not 'half'"),
    ],
)
def test_parameters_are_checked(parameters: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        GC(**parameters)
    assert message in str(caught.value)
