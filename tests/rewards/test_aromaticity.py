from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from Bio.SeqUtils.ProtParam import ProteinAnalysis

from designkit.alphabet import PROTEIN
from designkit.rewards.aromaticity import Aromaticity
from tests.rewards.examples import Example, random_sequences
from tests.rewards.proteins import LYSOZYME, random_proteins


def examples(folder: Path) -> list[Example]:
    return [Example("aromaticity", random_sequences(PROTEIN), PROTEIN)]


def test_by_hand() -> None:
    values = Aromaticity().score(["FWY", "HAAA", "WA", LYSOZYME]).values[:, 0]
    np.testing.assert_allclose(values[:3], [1, 0, 0.5])
    assert values[3] == pytest.approx(12 / 129)  # 3 F, 6 W, 3 Y


def test_equals_biopython() -> None:
    expected = [ProteinAnalysis(protein).aromaticity() for protein in random_proteins()]
    found = Aromaticity().score(list(random_proteins())).values[:, 0]
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-12)
