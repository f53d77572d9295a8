from __future__ import annotations

from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from designkit.alphabet import DNA, PROTEIN, RNA, Alphabet
from designkit.errors import ConfigurationError, RewardError
from designkit.rewards.homopolymer import Homopolymer
from tests.rewards.examples import Example, random_sequences


def examples(folder: Path) -> list[Example]:
    return [
        Example("homopolymer", random_sequences()),
        Example("homopolymer?letters=A,U&minimum=2", random_sequences(RNA), RNA),
        Example("homopolymer?letters=L", random_sequences(PROTEIN, length=50), PROTEIN),
    ]


def values(sequences: list[str], alphabet: Alphabet = DNA, **parameters: Any) -> np.ndarray:
    reward = Homopolymer(**parameters)
    reward.bind(alphabet)
    return reward.score(sequences).values


@pytest.mark.parametrize(
    ("sequence", "parameters", "expected"),
    [
        ("ACGT", {}, (1, 0)),
        ("AAAACC", {}, (4, 4 / 6)),
        ("AAAACC", {"minimum": 2}, (4, 1)),
        ("AAAACC", {"letters": "C", "minimum": 2}, (2, 2 / 6)),
        ("AAAACC", {"letters": "C,A", "minimum": 3}, (4, 4 / 6)),
        ("AAAACC", {"letters": "G", "minimum": 1}, (0, 0)),
        ("ATATAT", {"letters": "A,T", "minimum": 2}, (1, 0)),  # of one letter
        ("GGTGGG", {"minimum": 3}, (3, 0.5)),
        ("T", {"minimum": 1}, (1, 1)),
    ],
)
def test_worked_by_hand(
    sequence: str, parameters: dict[str, Any], expected: tuple[float, float]
) -> None:
    np.testing.assert_allclose(values([sequence], **parameters), [expected])


def test_equals_a_scan_of_each_sequence() -> None:
    sequences = [s for n in (5, 30, 31) for s in random_sequences(count=100, length=n, seed=n)]
    expected = []
    for sequence in sequences:
        runs = [len(list(run)) for letter, run in groupby(sequence) if letter in "AT"]
        expected.append((max(runs, default=0), sum(r for r in runs if r > 2) / len(sequence)))
    np.testing.assert_allclose(values(sequences, letters="A,T", minimum=3), expected)


def test_tokens_of_several_letters() -> None:
    smiles = Alphabet("smiles", ("C", "Cl", "O"), separator=" ")
    np.testing.assert_allclose(values(["C C Cl Cl Cl O"], smiles, minimum=3), [[3, 0.5]])


def test_empty_sequence_has_no_score() -> None:
    reward = Homopolymer()
    reward.bind(DNA)
    scores = reward.score(["", "AA"])
    assert scores.errors == ["empty sequence", None]
    assert np.isnan(scores.values[0]).all()


def test_parameters_are_checked() -> None:
    with pytest.raises(RewardError, match="'AT' is not in the dna alphabet"):
        Homopolymer(letters="AT").bind(DNA)
    with pytest.raises(ConfigurationError, match="minimum: must be at least 1, not 0"):
        Homopolymer(minimum=0)
    with pytest.raises(RewardError, match="bind"):
        Homopolymer().score(["A"])
