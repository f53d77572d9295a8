from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from Bio.SeqUtils.ProtParam import ProteinAnalysis

from designkit.alphabet import PROTEIN
from designkit.rewards.molecular_weight import MolecularWeight
from tests.rewards.examples import Example, random_sequences
from tests.rewards.proteins import LYSOZYME, UBIQUITIN, random_proteins


def examples(folder: Path) -> list[Example]:
    mixed = random_sequences(PROTEIN) + random_sequences(PROTEIN, count=5, length=7)
    return [Example("molecular_weight", mixed, PROTEIN)]


def test_published() -> None:
    # Glycine and triglycine from atomic weights; proteins as ProtParam gives them, whose tables
    # have fewer digits.
    values = MolecularWeight().score(["G", "GGG", LYSOZYME, UBIQUITIN]).values[:, 0]
    np.testing.assert_allclose(values[:2], [75.067, 189.171], atol=2e-3)
    np.testing.assert_allclose(values[2:], [14313.1, 8564.8], atol=0.2)


def test_equals_biopython() -> None:
    expected = [ProteinAnalysis(protein).molecular_weight() for protein in random_proteins()]
    found = MolecularWeight().score(list(random_proteins())).values[:, 0]
    np.testing.assert_allclose(found, expected, rtol=1e-9)


def test_relaxed_has_one_water_whatever_the_length() -> None:
    reward = MolecularWeight()
    reward.bind(PROTEIN)
    probs = torch.eye(20).double()[torch.from_numpy(PROTEIN.encode(["GAW", "GAK"]))]
    valid = torch.tensor([[True, True, False], [True, True, True]])
    expected = reward.score(["GA", "GAK"]).values[:, 0]
    np.testing.assert_allclose(reward.score_relaxed(probs, valid).numpy(), expected)
