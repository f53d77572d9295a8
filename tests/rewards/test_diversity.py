"""Diversity: worked by hand, and against the textbook recurrence over all pairs."""

from __future__ import annotations

import random
import sys
from pathlib import Path

import numpy as np
import pytest

from designkit.alphabet import DNA, PROTEIN, Alphabet
from designkit.errors import ConfigurationError, RewardError
from designkit.rewards import _edit_distances
from designkit.rewards.diversity import Diversity
from tests.rewards.examples import Example, random_sequences
from tests.rewards.textbook import edit_distance


def examples(folder: Path) -> list[Example]:
    return [
        Example("diversity", random_sequences()),
        Example("diversity", random_sequences(PROTEIN), PROTEIN),
    ]


def test_by_hand() -> None:
    # AAAA-AAAT 1/4, AAAA-AATTCC 4/6, AAAT-AATTCC 3/6
    scores = Diversity().score(["AAAA", "AAAT", "AATTCC"])
    np.testing.assert_allclose(scores.values, [[11 / 24, 1 / 4], [3 / 8, 1 / 4], [7 / 12, 1 / 2]])
    assert scores.errors == [None] * 3


def test_copies_count_once() -> None:
    alone = Diversity().score(["AAAA", "AAAT", "CCCC"]).values
    copied = Diversity().score(["CCCC", "AAAA", "AAAA", "AAAT", "CCCC", "CCCC"]).values
    np.testing.assert_array_equal(copied, alone[[2, 0, 0, 1, 2, 2]])
    assert alone[0].tolist() == [5 / 8, 1 / 4]


@pytest.mark.parametrize("population", [["ACGT"], ["ACGT", "ACGT"]])
def test_one_sequence_has_none(population: list[str]) -> None:
    scores = Diversity().score(population)
    assert scores.values.shape == (len(population), 2)
    assert np.isnan(scores.values).all()
    assert scores.errors == ["a population of one has no diversity"] * len(population)


@pytest.mark.parametrize("cells", [1, 100, 1 << 21])
def test_textbook_recurrence(monkeypatch: pytest.MonkeyPatch, cells: int) -> None:
    """Whatever the size of the blocks; the order of the sequences does not matter."""
    monkeypatch.setattr(_edit_distances, "_CELLS", cells)
    draw = random.Random(0)
    sequences = list({"".join(draw.choices("ACGT", k=draw.randint(0, 9))) for _ in range(40)})
    values = Diversity().score(sequences).values
    for sequence, (mean, nearest) in zip(sequences, values, strict=True):
        others = [
            edit_distance(sequence, other) / max(len(sequence), len(other))
            for other in sequences
            if other != sequence
        ]
        assert mean == pytest.approx(sum(others) / len(others))
        assert nearest == pytest.approx(min(others))
    turned = Diversity().score(sequences[::-1]).values
    np.testing.assert_array_equal(turned[::-1], values)


def test_symbols_of_several_letters() -> None:
    reward = Diversity()
    reward.bind(Alphabet("words", ("C", "Cl", "Br"), separator=" "))
    assert reward.score(["C C Cl", "C C Br"]).values.tolist() == [[1 / 3, 1 / 3]] * 2


def test_sees_whole_populations() -> None:
    reward = Diversity()
    reward.bind(DNA)
    assert reward.info.coupled
    assert reward.info.deterministic


def test_has_no_parameters() -> None:
    with pytest.raises(ConfigurationError, match="reward diversity: unknown key 'reference'"):
        Diversity(reference="natives.fasta")


def test_needs_rapidfuzz(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "rapidfuzz", None)
    with pytest.raises(RewardError, match="reward 'diversity' needs rapidfuzz"):
        Diversity()
