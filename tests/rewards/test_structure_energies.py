"""Energies from tables equal those of ViennaRNA, and what competes with a target."""

from __future__ import annotations

import math
import random

import numpy as np
import pytest
import RNA

from designkit.dot_bracket import base_pairs, written
from designkit.rewards._competitors import SMOOTHING, Competitors, Rivalry, alternatives
from designkit.rewards._loop_tables import LETTERS, LoopTables
from designkit.rewards._structure_energies import StructureEnergies
from tests.rewards.rna_structures import paired_sequences

# Every kind of loop: hairpins of 3 to 9, stacks, bulges of 1 to 3 on both sides, interior loops of
# all tabled and some other sizes, branches with and without bases between, both ends paired.
STRUCTURES = [
    "((((...))))",
    "..((....)).(((.....)))..((......))(((.......))).",
    "((.((..((...((((.........))))...))..)).))",
    "((.((((..((((...((((....))))))))))))))",
    "((((((((((....)))).))))..))((((...)).))((((...))..))",
    "((..((.((....))..)).))((.((..((....)).))..))",
    "((...((.((....))))...))((....((...((...))..))..))",
    "(((((...))((....))..((.....)).)).)",
    ".((((.((((...))))((((....)).))..)).)).",
    "((.((((....))...)).((...))))",
]


def details(**settings: float) -> RNA.md:
    return RNA.md(uniq_ML=0, **settings)


def energies(length: int, **settings: float) -> StructureEnergies:
    return StructureEnergies(LoopTables(RNA, details(**settings)), length)


def tokens(sequences: list[str]) -> np.ndarray:
    return np.array([[LETTERS.index(letter) for letter in sequence] for sequence in sequences])


@pytest.mark.parametrize("structure", STRUCTURES)
@pytest.mark.parametrize(
    "settings",
    [{}, {"dangles": 0}, {"temperature": 55.0}, {"noGU": 1, "dangles": 0, "temperature": 20.0}],
    ids=["default", "dangles", "warm", "noGU"],
)
def test_sums_of_terms_are_the_energies_of_viennarna(
    structure: str, settings: dict[str, float]
) -> None:
    sequences = paired_sequences(structure, 40, 1, wobble=not settings.get("noGU"))
    found = energies(len(structure), **settings).energies(tokens(sequences), structure)
    expected = [
        round(100 * RNA.fold_compound(sequence, details(**settings)).eval_structure(structure))
        for sequence in sequences
    ]
    assert found.tolist() == expected


@pytest.mark.parametrize("hairpin", ["CAACGG", "CCAAGG", "CAACG", "GUUAC", "ACAGUACU", "ACAGUGCU"])
def test_hairpins_with_energies_of_their_own(hairpin: str) -> None:
    sequence = f"GG{hairpin}CC"
    structure = f"((({'.' * (len(hairpin) - 2)})))"
    (found,) = energies(len(sequence)).energies(tokens([sequence]), structure)
    assert found == round(100 * RNA.fold_compound(sequence).eval_structure(structure))


def test_pairs_that_cannot_be_cost_more_than_anything() -> None:
    structure = "((((...)))((....)))"
    for place, letter in ((0, "A"), (2, "C"), (11, "A")):
        (sequence,) = paired_sequences(structure, 1, 5)
        letters = list(sequence)
        i, j = next(pair for pair in base_pairs(structure) if place in pair)
        letters[i] = letters[j] = letter
        (found,) = energies(19).energies(tokens(["".join(letters)]), structure)
        assert found > 500_000
    without = energies(19, noGU=1).energies(tokens(["GGGGAAAUUUGGAAAAUUU"]), structure)
    assert without[0] > 500_000


TARGET = "((((...))))..((((...))))"
FRAYED = ".(((...)))...((((...))))"
SHIFTED = "((((...)))).((((....))))"


def pairs(structure: str) -> frozenset[tuple[int, int]]:
    return frozenset(base_pairs(structure))


@pytest.mark.parametrize(
    ("other", "parts"),
    [
        (".............((((...))))", []),  # a helix is lost as a whole
        (SHIFTED, []),  # what is won goes with what it takes the place of
        (".(((...)))....(((...))).", [FRAYED, "((((...))))...(((...)))."]),
        (".(((...)))..((((....))))", [FRAYED, SHIFTED]),
        (TARGET, []),
    ],
)
def test_what_differs_is_taken_apart(other: str, parts: list[str]) -> None:
    found = [written(set(one), len(TARGET)) for one in alternatives(pairs(TARGET), pairs(other))]
    assert found[0] == other
    assert sorted(found[1:]) == sorted(parts)


def test_alternatives_are_structures() -> None:
    source = random.Random(2)
    for _ in range(60):
        sequences = ["".join(source.choices(LETTERS, k=60)) for _ in range(2)]
        target, other = (RNA.fold(sequence)[0] for sequence in sequences)
        for one in alternatives(pairs(target), pairs(other)):
            places = [place for pair in one for place in pair]
            assert len(set(places)) == len(places)
            assert pairs(written(set(one), 60)) == one  # no two cross
            assert one != pairs(target) or target == other
        changes = [one ^ pairs(target) for one in alternatives(pairs(target), pairs(other))]
        if len(changes) > 1:  # the parts share nothing, and together they are all
            assert sum(len(part) for part in changes[1:]) == len(changes[0])
            assert frozenset().union(*changes[1:]) == changes[0]


def rivalry(structures: list[str]) -> tuple[Rivalry, list[str]]:
    known = Competitors(TARGET, energies(len(TARGET)))
    found = known.of(structures)
    return Rivalry(known.energies, found, len(TARGET)), [one.structure for one in found]


OTHERS = [".(((...)))..((((....))))", "((......))....((.....))."]


def test_a_stand_in_knows_the_energies_of_all_competitors() -> None:
    stand_in, structures = rivalry(OTHERS)
    assert structures[0] == "." * len(TARGET)
    assert set(OTHERS) < set(structures)
    sequences = paired_sequences(TARGET, 20, 3)
    values, blame = stand_in.judge(tokens(sequences))
    for row, sequence in enumerate(sequences):
        compound = RNA.fold_compound(sequence)
        own = compound.eval_structure(TARGET)
        leads = []
        for structure in structures:
            possible = all(
                sequence[i] + sequence[j] in ("GC", "CG", "AU", "UA", "GU", "UG")
                for i, j in base_pairs(structure)
            )
            leads.append(own - compound.eval_structure(structure) if possible else -1e4)
        weights = [math.exp(lead / SMOOTHING) for lead in leads]
        assert values[row] == pytest.approx(-SMOOTHING * math.log(sum(weights)), abs=1e-3)
        expected = np.zeros(len(TARGET))
        for structure, weight in zip(structures, weights, strict=True):
            places = sorted({p for pair in pairs(structure) ^ pairs(TARGET) for p in pair})
            expected[places] += weight / sum(weights) / len(places)
        np.testing.assert_allclose(blame[row], expected, atol=1e-4)


def test_what_was_judged_last_changes_nothing() -> None:
    stand_in, _ = rivalry(OTHERS)
    rng = np.random.default_rng(1)
    letters = tokens(paired_sequences(TARGET, 6, 5))
    for changes in (0, 1, 3, 24):
        letters = letters.copy()
        for row in letters:
            row[rng.choice(24, size=changes, replace=False)] = rng.integers(0, 4, size=changes)
        expected = rivalry(OTHERS)[0].lead(letters)
        np.testing.assert_array_equal(stand_in.lead(letters), expected)
    np.testing.assert_array_equal(stand_in.lead(letters[:2]), expected[:2])


def test_the_nearest_competitors_are_kept() -> None:
    stand_in, _ = rivalry(OTHERS)
    sequences = tokens(paired_sequences(TARGET, 3, 4))
    assert stand_in.near(sequences, 100) is stand_in
    fewer = stand_in.near(sequences, 3)
    leads, kept = stand_in.lead(sequences), fewer.lead(sequences)
    assert kept.shape == (3, 3)
    np.testing.assert_allclose(kept.max(1), leads.max(1))
    closest = np.sort((leads - leads.max(1, keepdims=True)).max(0))[-3:]
    np.testing.assert_allclose(np.sort((kept - kept.max(1, keepdims=True)).max(0)), closest)
