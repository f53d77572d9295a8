from __future__ import annotations

from pathlib import Path

import numpy as np
from Bio.SeqUtils.ProtParam import ProteinAnalysis

from designkit.alphabet import PROTEIN
from designkit.rewards.charge import Charge
from designkit.rewards.isoelectric_point import IsoelectricPoint
from tests.rewards.examples import Example, random_sequences
from tests.rewards.proteins import LYSOZYME, UBIQUITIN, random_proteins


def examples(folder: Path) -> list[Example]:
    sequences = random_sequences(PROTEIN)
    refs = ("isoelectric_point", "isoelectric_point?target=8.5")
    return [Example(ref, sequences, PROTEIN) for ref in refs]


def test_published() -> None:
    # Two groups: midway between their pK. Proteins: as ProtParam gives them.
    values = IsoelectricPoint().score(["G", "A", LYSOZYME, UBIQUITIN]).values[:, 0]
    np.testing.assert_allclose(values[:2], [(7.5 + 3.55) / 2, (7.59 + 3.55) / 2])
    np.testing.assert_allclose(values[2:], [9.32, 6.56], atol=0.005)


def test_equals_biopython_where_it_looks() -> None:
    expected = np.array([ProteinAnalysis(p).isoelectric_point() for p in random_proteins()])
    found = IsoelectricPoint().score(list(random_proteins())).values[:, 0]
    inside = (expected > 4.051) & (expected < 11.999)  # Bio searches pH 4.05 to 12
    assert 300 < inside.sum() < len(expected)
    np.testing.assert_allclose(found[inside], expected[inside], atol=1e-4)


def test_chains_beyond_biopython_have_no_charge_at_their_point() -> None:
    acid, base = "D" * 20, "R" * 20
    points = IsoelectricPoint().score([acid, base]).values[:, 0]
    assert points[0] < 4
    assert points[1] > 12
    for chain, point in zip((acid, base), points.tolist(), strict=True):
        assert abs(Charge(ph=point).score([chain]).values[0, 0]) < 1e-9


def test_distance_from_a_target() -> None:
    reward = IsoelectricPoint(target=9)
    values = reward.score(["G", LYSOZYME]).values
    point = (7.5 + 3.55) / 2
    np.testing.assert_allclose(values[0], [9 - point, point])
    np.testing.assert_allclose(values[1], [0.32, 9.32], atol=0.005)
    assert reward.info.outputs[0].direction == "minimize"
    assert reward.info.outputs[0].range == (0, 9)


def test_empty_sequence_has_no_score() -> None:
    for reward in (IsoelectricPoint(), IsoelectricPoint(target=7)):
        scores = reward.score(["", "G"])
        assert np.isnan(scores.values[0]).all()
        assert scores.errors == ["empty sequence", None]
