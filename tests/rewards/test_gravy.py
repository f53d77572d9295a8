from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from Bio.SeqUtils.ProtParam import ProteinAnalysis

from designkit.alphabet import PROTEIN, Alphabet
from designkit.errors import RewardError
from designkit.rewards.gravy import Gravy
from tests.rewards.examples import Example, random_sequences
from tests.rewards.proteins import LYSOZYME, random_proteins


def examples(folder: Path) -> list[Example]:
    return [Example("gravy", random_sequences(PROTEIN), PROTEIN)]


def test_published_scale_and_protein() -> None:
    # The ends of the scale of Kyte and Doolittle, a mean by hand, and ProtParam of lysozyme.
    values = Gravy().score(["I", "R", "IIR", LYSOZYME]).values[:, 0]
    np.testing.assert_allclose(values[:3], [4.5, -4.5, 1.5])
    assert values[3] == pytest.approx(-0.472, abs=5e-4)


def test_equals_biopython() -> None:
    expected = [ProteinAnalysis(protein).gravy() for protein in random_proteins()]
    found = Gravy().score(list(random_proteins())).values[:, 0]
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-12)


def test_relaxed_is_the_expectation_over_positions_that_exist() -> None:
    reward = Gravy()
    reward.bind(PROTEIN)
    probs = torch.zeros(1, 3, 20, dtype=torch.float64)
    probs[0, 0, PROTEIN.index["I"]] = 1
    probs[0, 1, [PROTEIN.index["I"], PROTEIN.index["R"]]] = torch.tensor([0.75, 0.25]).double()
    probs[0, 2, PROTEIN.index["R"]] = 1
    valid = torch.tensor([[True, True, False]])
    assert reward.score_relaxed(probs, valid).item() == pytest.approx((4.5 + 2.25) / 2)
    assert reward.score_relaxed(probs).item() == pytest.approx((4.5 + 2.25 - 4.5) / 3)


def test_empty_sequence_has_no_score() -> None:
    scores = Gravy().score(["", "I"])
    assert np.isnan(scores.values[0, 0])
    assert scores.errors == ["empty sequence", None]


def test_letters_may_come_in_any_order() -> None:
    reward = Gravy()
    reward.bind(Alphabet("protein", tuple("RI")))
    assert reward.score(["I", "R"]).values[:, 0].tolist() == [4.5, -4.5]
    with pytest.raises(RewardError, match="'gravy' has no value for the letter 'X'"):
        reward.bind(Alphabet("protein", (*PROTEIN.letters, "X")))
