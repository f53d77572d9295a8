from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from Bio.SeqUtils.ProtParam import ProteinAnalysis

from designkit.alphabet import PROTEIN
from designkit.errors import ConfigurationError
from designkit.rewards.charge import Charge
from tests.rewards.examples import Example, random_sequences
from tests.rewards.proteins import random_proteins


def examples(folder: Path) -> list[Example]:
    sequences = random_sequences(PROTEIN)
    return [Example(ref, sequences, PROTEIN) for ref in ("charge", "charge?ph=5.5")]


def test_by_hand() -> None:
    # At pH 10 lysine's side chain is half charged, the ends of G have 1 / (1 + 10^2.5) and -1.
    ends = 1 / (1 + 10**2.5) - 1 / (1 + 10 ** (3.55 - 10))
    values = Charge(ph=10).score(["G", "GKG", "GYG", "GKYG"]).values[:, 0]
    np.testing.assert_allclose(values, [ends, ends + 0.5, ends - 0.5, ends])


@pytest.mark.parametrize("ph", [2, 7.4, 11])
def test_equals_biopython(ph: float) -> None:
    expected = [ProteinAnalysis(protein).charge_at_pH(ph) for protein in random_proteins()]
    found = Charge(ph=ph).score(list(random_proteins())).values[:, 0]
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-9)


def test_ends_depend_on_the_letters_that_are_there() -> None:
    # D ends with pK 4.55 instead of 3.55; A begins with 7.59 instead of 7.5.
    values = Charge(ph=4.55).score(["GD", "AG"]).values[:, 0]
    side = -1 / (1 + 10 ** (4.05 - 4.55))
    np.testing.assert_allclose(values[0], 1 / (1 + 10 ** (4.55 - 7.5)) + side - 0.5)
    np.testing.assert_allclose(
        values[1], 1 / (1 + 10 ** (4.55 - 7.59)) - 1 / (1 + 10 ** (3.55 - 4.55))
    )


def test_relaxed_finds_the_last_residue() -> None:
    reward = Charge()
    reward.bind(PROTEIN)
    probs = torch.eye(20).double()[torch.from_numpy(PROTEIN.encode(["ADKK", "AKDE"]))]
    valid = torch.tensor([[True, True, False, False], [True, True, True, True]])
    expected = reward.score(["AD", "AKDE"]).values[:, 0]
    np.testing.assert_allclose(reward.score_relaxed(probs, valid).numpy(), expected)


def test_ph_is_checked() -> None:
    with pytest.raises(ConfigurationError, match=r"ph: must be at most 14"):
        Charge(ph=15)
