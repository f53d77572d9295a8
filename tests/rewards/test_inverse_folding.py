from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import RNA

from designkit import alphabet
from designkit.dot_bracket import base_pairs
from designkit.errors import ConfigurationError
from designkit.rewards import RewardEngine, WeightedReward
from designkit.rewards.inverse_folding import InverseFolding, parts_of
from designkit.rewards.target_structure import TargetStructure
from tests.rewards.examples import Example, random_sequences
from tests.rewards.rna_structures import (
    SHORT,
    energies,
    paired_sequences,
    partners,
    probabilities,
)

TARGET = "((((....))))"
SOLUTIONS = ["GGGGAAAACCCC", "GCGCGAAAGCGC"]


def examples(folder: Path) -> list[Example]:
    found = random_sequences(alphabet.RNA, length=12)
    return [
        Example(f"inverse_folding?structure={TARGET}", found, alphabet.RNA),
        Example(f"inverse_folding?structure={TARGET}&no_gu=true&dangles=0", found, alphabet.RNA),
    ]


def scored(structure: str, sequence: str, **settings: float) -> list[float]:
    found = InverseFolding(structure=structure, **settings).score([sequence]).values[0]
    return [float(value) for value in found]


@pytest.mark.parametrize("sequence", SHORT)
def test_equals_enumeration(sequence: str) -> None:
    ensemble, energy = probabilities(sequence), energies(sequence)
    best = min(energy, key=lambda structure: energy[structure])
    ranked = sorted(energy, key=lambda structure: energy[structure])
    for target in (*ranked[:4], ranked[len(ranked) // 2], ranked[-1]):
        score, gap, distance = scored(target, sequence, dangles=0)
        if target == best:
            assert score == pytest.approx(ensemble[target], rel=1e-9)
            assert (gap, distance) == (0, 0)
            continue
        wanted, found = partners(target), partners(best)
        lost = [(i, j) for i, j in enumerate(wanted) if j is not None and i < j and found[i] != j]
        won = [(i, j) for i, j in enumerate(found) if j is not None and i < j and wanted[i] != j]
        assert distance == len(lost) + len(won) > 0
        assert gap == pytest.approx(energy[target] - energy[best], abs=1e-6)
        assert score == pytest.approx(-gap - 0.01 * distance, abs=1e-9)


@pytest.mark.parametrize("sequence", SOLUTIONS)
def test_a_solution_gets_its_share_of_molecules(sequence: str) -> None:
    score, gap, distance = scored(TARGET, sequence)
    (expected,) = TargetStructure(structure=TARGET).score([sequence]).values[:, 0]
    assert score == pytest.approx(expected, rel=1e-12)
    assert score > 0 == gap == distance


def test_pairs_that_cannot_be_cost_more_than_any_energy() -> None:
    one, two = scored(TARGET, "GGGAAAAACCCC"), scored(TARGET, "GGAAAAAACCCC")
    compound = RNA.fold_compound("GGGAAAAACCCC")
    gap = compound.eval_structure(TARGET) - compound.mfe()[1] + 10
    assert one[1] == pytest.approx(gap, abs=1e-6)
    assert two[0] < one[0] - 5 < -10
    # GU pairs cannot be either where they are not allowed.
    assert scored(TARGET, "GGGGAAAACCCU", no_gu=True)[0] < -9
    assert scored(TARGET, "GGGGAAAACCCU")[0] > -9


def test_t_is_read_as_u_and_lengths_must_fit() -> None:
    assert scored(TARGET, "GGGTAAAAACCC") == scored(TARGET, "GGGUAAAAACCC")
    found = InverseFolding(structure=TARGET).score(["GGG", SOLUTIONS[0]])
    assert found.errors == ["length 3; the structure has 12", None]
    assert np.isnan(found.values[0]).all()


@pytest.mark.parametrize("structure", ["", "((...)", "(.)", "((..[[..))..]]"])
def test_structures_that_are_refused(structure: str) -> None:
    with pytest.raises(ConfigurationError):
        InverseFolding(structure=structure)


def tokens(sequences: list[str]) -> np.ndarray:
    return alphabet.RNA.encode(sequences)


def test_the_stand_in_depends_on_what_was_scored_alone() -> None:
    sequences = random_sequences(alphabet.RNA, 12, 12, seed=1)
    first = InverseFolding(structure=TARGET)
    first.score(sequences)
    first.score(random_sequences(alphabet.RNA, 5, 12, seed=2))
    others = tokens(random_sequences(alphabet.RNA, 8, 12, seed=3))
    known = first.stand_in(sequences)
    again = InverseFolding(structure=TARGET).stand_in(sequences)
    for one, two in zip(known.judge(others), again.judge(others), strict=True):
        np.testing.assert_array_equal(one, two)
    fewer = first.stand_in(sequences[:3])
    assert (fewer.judge(others)[0] >= known.judge(others)[0]).all()


def test_a_guess_is_no_worse_than_the_score_by_more_than_its_smoothing() -> None:
    sequences = ["GGGGAAAACCCC", "AAUAAAAAUAUU", "GUGUAAAAGUGC", "AUUUAAAAGAAU", "UUUUGGGGAAAA"]
    reward = InverseFolding(structure=TARGET)
    reward.score(sequences)
    values, blame = reward.stand_in(sequences).judge(tokens(sequences))
    np.testing.assert_allclose(blame.sum(1), 1)
    found = reward.score(sequences).values
    smoothing = 0.3 * math.log(20)
    for value, (score, gap, _) in zip(values, found, strict=True):
        if score < 0:  # its own best structure is among the competitors
            assert -gap - smoothing <= value <= -gap + 1e-6


def test_the_engine_has_the_stand_in_of_its_only_objective() -> None:
    def engine(**fields: object) -> RewardEngine:
        reward = InverseFolding(structure=TARGET)
        return RewardEngine([WeightedReward(reward, **fields)], alphabet=alphabet.RNA)

    assert engine().stand_in([]) is not None
    for fields in ({"output": "gap"}, {"weight": -1.0}):
        assert engine(**fields).stand_in([]) is None
    two = [
        WeightedReward(InverseFolding(structure=TARGET), label="a"),
        WeightedReward(InverseFolding(structure="(((......)))"), label="b"),
    ]
    assert RewardEngine(two, alphabet=alphabet.RNA).stand_in([]) is None


def test_parts_are_inside_each_other_and_much_shorter() -> None:
    structure = "((((((((...((((.....))))..))))(((((.(((....))))))))))))."
    pairs = base_pairs(structure)
    found = parts_of(pairs, len(structure))
    assert len(found) > 2
    for i, j in pairs:
        around = [(k, m) for k, m in found if k < i and j < m]
        k, m = min(around, key=lambda part: part[1] - part[0], default=(0, len(structure) - 1))
        is_part = 12 <= j - i + 1 <= 0.7 * (m - k + 1)
        assert ((i, j) in found) == is_part
    assert parts_of(base_pairs(TARGET), len(TARGET)) == []


def test_what_is_better_inside_a_part_is_learned_too() -> None:
    structure = "((((.((((....)))).((((....)))).))))"
    parts = parts_of(base_pairs(structure), len(structure))
    assert parts == [(5, 16), (18, 29)]
    reward = InverseFolding(structure=structure)
    found = set()
    for sequence in paired_sequences(structure, 60, 1):
        score, _, _, seen = reward.fold(sequence)
        assert (seen == []) == (score > 0)
        compound = RNA.fold_compound(sequence)
        for other in seen[1:]:
            ((i, j),) = ((i, j) for i, j in parts if other[i : j + 1] != structure[i : j + 1])
            assert (other[i], other[j]) == ("(", ")")
            assert other[:i] + other[j + 1 :] == structure[:i] + structure[j + 1 :]
            assert compound.eval_structure(other) <= compound.eval_structure(structure) + 1e-6
            found.add((i, j))
    assert found == set(parts)
