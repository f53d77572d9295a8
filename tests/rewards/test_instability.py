from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from Bio.SeqUtils.ProtParam import ProteinAnalysis

from designkit.alphabet import PROTEIN, Alphabet
from designkit.errors import RewardError
from designkit.rewards.instability import Instability
from tests.rewards.examples import Example, random_sequences
from tests.rewards.proteins import LYSOZYME, random_proteins


def examples(folder: Path) -> list[Example]:
    return [Example("instability", random_sequences(PROTEIN), PROTEIN)]


def test_published() -> None:
    # Weights WW 1, CM 33.6, MA 13.34, AP 20.26. ProtParam calls lysozyme stable, with 16.09.
    values = Instability().score(["WW", "CM", "AP", "CMAP", LYSOZYME]).values[:, 0]
    by_hand = [5, 5 * 33.6, 5 * 20.26, 2.5 * (33.6 + 13.34 + 20.26)]
    np.testing.assert_allclose(values[:4], by_hand)
    assert values[4] == pytest.approx(16.09, abs=0.005)


def test_equals_biopython() -> None:
    expected = [ProteinAnalysis(protein).instability_index() for protein in random_proteins()]
    found = Instability().score(list(random_proteins())).values[:, 0]
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-9)


def test_one_residue_has_no_pair() -> None:
    scores = Instability().score(["", "W", "WW"])
    assert np.isnan(scores.values[:2, 0]).all()
    reasons = ["no pair of neighbours (length 0)", "no pair of neighbours (length 1)", None]
    assert scores.errors == reasons


def test_relaxed_is_the_expectation_of_independent_positions() -> None:
    reward = Instability()
    reward.bind(PROTEIN)
    source = np.random.default_rng(0)
    probs = source.dirichlet(np.ones(20), size=(1, 2))
    pairs = [one + two for one in PROTEIN.letters for two in PROTEIN.letters]
    weights = np.outer(probs[0, 0], probs[0, 1]).ravel()
    expected = float(weights @ reward.score(pairs).values[:, 0])
    assert reward.score_relaxed(torch.from_numpy(probs)).item() == pytest.approx(expected)


def test_pairs_with_positions_that_do_not_exist_are_not_counted() -> None:
    reward = Instability()
    reward.bind(PROTEIN)
    probs = torch.eye(20).double()[torch.from_numpy(PROTEIN.encode(["CMAPW"]))]
    valid = torch.tensor([[True, True, True, False, False]])
    expected = reward.score(["CMA"]).values[0, 0]
    assert reward.score_relaxed(probs, valid).item() == pytest.approx(expected)


def test_other_letters_are_refused() -> None:
    with pytest.raises(RewardError, match="no weights for the letter 'X'"):
        Instability().bind(Alphabet("protein", (*PROTEIN.letters, "X")))
