from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import RNA

from designkit import alphabet
from designkit.errors import ConfigurationError
from designkit.rewards.target_structure import TargetStructure
from tests.rewards.examples import Example, random_sequences
from tests.rewards.rna_structures import SHORT, energies, partners, probabilities, recorded_rnafold

SHARED = Path(__file__).parents[3] / "shared" / "data"
SEQUENCE = "GGGAAUCCAGGCAUUCAGGC"


def examples(folder: Path) -> list[Example]:
    # Letters that can pair where the target does: all have a probability above 0.
    source = random_sequences(alphabet.RNA, length=8)
    paired = [s[:4] + "AAAA" + s[3::-1].translate(str.maketrans("ACGU", "UGCA")) for s in source]
    found = list(dict.fromkeys(paired))
    return [
        Example("target_structure?structure=((((....))))", found, alphabet.RNA),
        Example(
            "target_structure?structure=((((....))))&no_gu=true&dangles=0", found, alphabet.RNA
        ),
    ]


def defect(target: str, ensemble: dict[str, float]) -> float:
    """Mean over positions of the probability of another partner than in the target."""
    wanted = partners(target)
    wrong = [
        share * sum(a != b for a, b in zip(partners(structure), wanted, strict=True))
        for structure, share in ensemble.items()
    ]
    return sum(wrong) / len(target)


def paired(structure: str) -> set[tuple[int, int]]:
    """Pairs of a structure."""
    return {(i, j) for i, j in enumerate(partners(structure)) if j is not None and i < j}


@pytest.mark.parametrize("sequence", SHORT)
def test_equals_enumeration(sequence: str) -> None:
    ensemble, energy = probabilities(sequence), energies(sequence)
    best = min(energy, key=lambda structure: energy[structure])
    likely = sorted(ensemble, key=lambda structure: -ensemble[structure])
    for target in (*likely[:5], likely[len(likely) // 2], likely[-1]):
        found = TargetStructure(structure=target, dangles=0).score([sequence]).values[0]
        pairs = paired(target) ^ paired(best)
        expected = [ensemble[target], len(pairs), defect(target, ensemble)]
        np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-12)


def test_probabilities_of_all_structures_sum_to_one() -> None:
    rewards = [TargetStructure(structure=s, dangles=0) for s in probabilities("GUGUAAAAGUGC")]
    total = sum(reward.score(["GUGUAAAAGUGC"]).values[0, 0] for reward in rewards)
    assert len(rewards) > 10
    assert total == pytest.approx(1, abs=1e-9)


def test_equals_recorded_output_of_rnafold() -> None:
    recorded = recorded_rnafold()
    rows = zip(*(recorded[key] for key in ("sequence", "structure", "frequency")), strict=True)
    for sequence, structure, frequency in rows:
        probability, distance, _ = TargetStructure(structure=structure).score([sequence]).values[0]
        # The program works with energies in single precision.
        assert probability == pytest.approx(frequency, rel=1e-4)
        assert distance == 0


def test_a_sequence_that_cannot_form_the_target() -> None:
    target, sequence = "((((....))))", "GGGGAAAACCCA"
    values = TargetStructure(structure=target, dangles=0).score([sequence]).values[0]
    ensemble = probabilities(sequence)
    assert target not in ensemble
    assert values[0] == 0
    assert values[2] == pytest.approx(defect(target, ensemble), abs=1e-12)


def test_wobble_pairs_can_be_forbidden() -> None:
    target, sequence = "((((....))))", "GGGGAAAACCCU"
    share, forbidden = (
        TargetStructure(structure=target, no_gu=no_gu).score([sequence]).values[0, 0]
        for no_gu in (False, True)
    )
    assert share > 0.1
    assert forbidden == 0


def test_distance_by_hand() -> None:
    # Folds into ((((....)))): the target lacks two of these pairs, 2-11 and 3-10, and has 2-10.
    assert TargetStructure(structure="((.(....)).)").score(["GGGGAAAACCCC"]).values[0, 1] == 3


def test_the_length_is_that_of_the_structure() -> None:
    scores = TargetStructure(structure="((((....))))").score(["GGGGAAAACCC", "", "GGGGAAAACCCC"])
    assert scores.errors == [
        "length 11; the structure has 12",
        "length 0; the structure has 12",
        None,
    ]
    assert np.isnan(scores.values[:2]).all()
    assert np.isfinite(scores.values[2]).all()


def test_t_is_read_as_u() -> None:
    reward = TargetStructure(structure="(((....)))..")
    np.testing.assert_array_equal(
        reward.score(["GATAAAAGTCTT"]).values, reward.score(["GAUAAAAGUCUU"]).values
    )


@pytest.mark.parametrize(
    ("structure", "message"),
    [
        ("(((....))", "structure: the '(' at position 1 is not closed"),
        ("((....)))", "structure: the ')' at position 9 closes nothing"),
        ("((.[.])..)", "structure: '[' at position 4 is none of '(', ')' and '.'"),
        ("((..))", "positions 2 and 5 cannot pair: a hairpin has at least 3 bases between"),
        ("", "structure: it is empty"),
    ],
)
def test_structures_are_checked(structure: str, message: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        TargetStructure(structure=structure)
    assert message in str(caught.value)


def test_a_structure_is_needed() -> None:
    with pytest.raises(ConfigurationError, match=r"needs structure: target_structure\?structure="):
        TargetStructure()


@pytest.mark.shared
@pytest.mark.skipif(not SHARED.is_dir(), reason="needs the curated data beside the checkout")
def test_puzzles_of_eterna100() -> None:
    with (SHARED / "eterna100_dev.tsv").open() as handle:
        puzzles = [row["structure_v2"] for row in csv.DictReader(handle, delimiter="\t")]
    assert len(puzzles) == 40
    solved = 0
    for target in puzzles:
        reward = TargetStructure(structure=target)
        if len(target) > 120:
            continue
        sequence = target.translate(str.maketrans("(.)", "GAC"))
        values: Any = reward.score([sequence]).values[0]
        assert values[1] == RNA.bp_distance(RNA.fold(sequence)[0], target)
        assert (values[0] > 0.5) <= (values[1] == 0)
        solved += values[1] == 0
    assert solved > 1
