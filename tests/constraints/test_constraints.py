"""What constraints mean: the automaton and the check against every sequence of a length."""

from __future__ import annotations

import random
import re
from collections.abc import Callable
from itertools import product

import pytest

from designkit.alphabet import DNA, PROTEIN, RNA, Alphabet
from designkit.constraints import Constraints, ConstraintSettings
from designkit.errors import ConfigurationError, UsageError
from designkit.settings import Layer, validate

LENGTH = 7
# Every sequence goes through the automaton, one of 7 through the slower check.
ALL = ["".join(letters) for letters in product("ACGT", repeat=LENGTH)]
TOKENS = Alphabet("tokens", ("C", "Cl", "[nH]"), separator=" ")


def constraints(
    alphabet: Alphabet = DNA, length: int = LENGTH, parent: str | None = None, **settings: object
) -> Constraints:
    found = ConstraintSettings(**settings).compile(alphabet, length, parent)
    assert found is not None
    return found


def refused(alphabet: Alphabet = DNA, length: int = LENGTH, **settings: object) -> str:
    with pytest.raises(UsageError) as caught:
        constraints(alphabet, length, **settings)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def accepted(found: Constraints) -> set[str]:
    """The sequences that the automaton and the allowed letters let through."""
    kept = set()
    for sequence in ALL:
        state = 0
        for place, letter in enumerate(sequence):
            token = DNA.index[letter]
            if token not in found.allowed[place]:
                state = -1
            elif found.automaton is not None:
                state = found.automaton.tables[found.frames[place]][state][token]
            if state < 0:
                break
        if state >= 0:
            kept.add(sequence)
    return kept


def stop_free(sequence: str) -> bool:
    return not {sequence[0:3], sequence[3:6]} & {"TAA", "TAG", "TGA"}


CASES: list[tuple[dict[str, object], Callable[[str], bool]]] = [
    ({"forbid": "GAATTC"}, lambda s: "GAATTC" not in s),
    ({"forbid": "ACG"}, lambda s: "ACG" not in s and "CGT" not in s),
    ({"forbid": "ACG:both"}, lambda s: "ACG" not in s and "CGT" not in s),
    ({"forbid": "acg:forward"}, lambda s: "ACG" not in s),
    ({"forbid": ("AAA", "AACA:forward")}, lambda s: not re.search("AAA|TTT|AACA", s)),
    ({"forbid": "ANA:forward"}, lambda s: not re.search("A.A", s)),
    ({"forbid": "RYN"}, lambda s: not re.search("[AG][CT].|.[AG][CT]", s)),
    ({"forbid": "AUG:forward"}, lambda s: "ATG" not in s),
    ({"forbid_letters": "C"}, lambda s: "C" not in s),
    ({"forbid_letters": "C, G"}, lambda s: not set("CG") & set(s)),
    ({"max_homopolymer": 2}, lambda s: not re.search(r"(.)\1\1", s)),
    ({"max_homopolymer": 1, "forbid": "ACA"}, lambda s: not re.search(r"(.)\1|ACA|TGT", s)),
    ({"coding": "1-6"}, stop_free),
    ({"coding": "5-7"}, lambda s: s[4:] not in ("TAA", "TAG", "TGA")),
    ({"coding": "1-6", "forbid": "GG:forward"}, lambda s: stop_free(s) and "GG" not in s),
    ({"template": "ATGNNNR"}, lambda s: bool(re.fullmatch("ATG...[AG]", s))),
    ({"template": "aug nnn ?"}, lambda s: s.startswith("ATG")),
    ({"template": "ACGTACG", "fix": "1-2,7"}, lambda s: bool(re.fullmatch("AC....G", s))),
    ({"template": "ACGTACG", "design": "3-6"}, lambda s: bool(re.fullmatch("AC....G", s))),
    ({"template": "ACGYACG", "fix": "1-2,7"}, lambda s: bool(re.fullmatch("AC.[CT]..G", s))),
    (
        {"template": "ACGTACG", "design": "3-6", "forbid_letters": "C"},
        lambda s: bool(re.fullmatch("AC[AGT]{4}G", s)),
    ),
    (
        {"template": "NNNNNAC", "forbid": "TACG", "max_homopolymer": 3},
        lambda s: bool(re.search("AC$", s)) and not re.search(r"TACG|CGTA|(.)\1\1\1", s),
    ),
]


@pytest.mark.parametrize(
    ("settings", "holds"), CASES, ids=lambda case: str(case)[:50] if isinstance(case, dict) else ""
)
def test_exactly_the_right_sequences_pass(
    settings: dict[str, object], holds: Callable[[str], bool]
) -> None:
    found = constraints(**settings)
    right = {sequence for sequence in ALL if holds(sequence)}
    assert 0 < len(right) < len(ALL)
    assert accepted(found) == right
    assert {s for s in ALL[::7] if not found.violations(s)} == right & set(ALL[::7])


def test_random_words_pass_exactly() -> None:
    rng = random.Random(0)
    for _ in range(8):
        words = [
            "".join(rng.choice("AACCGTRN") for _ in range(rng.randint(2, 5)))
            for _ in range(rng.randint(1, 4))
        ]
        words = [word for word in words if set(word) != {"N"}]
        patterns = [word.replace("R", "[AG]").replace("N", ".") for word in words]
        right = {s for s in ALL if not any(re.search(pattern, s) for pattern in patterns)}
        if right:
            found = constraints(forbid=tuple(f"{word}:forward" for word in words))
            assert accepted(found) == right
            assert {s for s in ALL[::7] if not found.violations(s)} == right & set(ALL[::7])


def test_shares_of_g_and_c_in_every_window() -> None:
    def share(window: str) -> float:
        return (window.count("G") + window.count("C")) / len(window)

    whole = constraints(gc="0.4-0.6")
    right = {s for s in ALL if 0.4 <= share(s) <= 0.6}
    assert {s for s in ALL if not whole.violations(s)} == right
    windows = constraints(gc=("0.25-0.75:4", "0-0.5"))
    right = {
        s
        for s in ALL
        if share(s) <= 0.5 and all(0.25 <= share(s[i : i + 4]) <= 0.75 for i in range(4))
    }
    assert {s for s in ALL if not windows.violations(s)} == right
    assert windows.violations("GGGGATA") == [
        "GC 1 at positions 1-4, must be 0.25 to 0.75",
        "GC 0.571 at positions 1-7, must be 0 to 0.5",
    ]
    # 0.3 * 10 and 0.7 * 10 are not whole numbers in floating point.
    exact = constraints(gc="0.3-0.7", length=10)
    assert not exact.violations("GGGAAAAAAA")
    assert not exact.violations("GGGGGGGAAA")
    assert exact.violations("GGGGGGGGAA")
    assert exact.violations("GGAAAAAAAA")


def test_other_alphabets() -> None:
    protein = constraints(PROTEIN, 4, template="MXBJ", forbid="KK", max_homopolymer=2)
    assert not protein.violations("MKDL")
    assert protein.violations("MKKL") == ["position 3: K, must be D or N", "KK at positions 2-3"]
    rna = constraints(RNA, 6, forbid="AUG")
    assert not rna.violations("CAUCAU")
    assert rna.violations("CAUGCA") == ["AUG at positions 2-4"]
    assert constraints(RNA, 6, coding="1-6").violations("AAAUGA") == [
        "stop codon UGA at positions 4-6"
    ]
    tokens = constraints(TOKENS, 4, template="C ? ? [nH]", forbid="Cl [nH]")
    assert not tokens.violations("C Cl C [nH]")
    assert tokens.violations("C C Cl [nH]") == ["Cl [nH] at positions 3-4"]
    assert constraints(TOKENS, 3, forbid_letters="Cl,[nH]").allowed[0] == {0}


def test_letters_of_a_parent_are_kept() -> None:
    found = constraints(parent="ACGTACG", design="3-5")
    assert found.fixed == (0, 1, None, None, None, 1, 2)
    assert found.free == 3
    assert constraints(parent="ACGTACG", forbid_letters="A").free == 7
    with pytest.raises(UsageError, match="position 1: A is to be kept, the template asks for T"):
        constraints(parent="ACGTACG", fix="1", template="TNNNNNN")
    with pytest.raises(UsageError, match="the parent has 3 letters, designs have 7"):
        constraints(parent="ACG", fix="1")


def test_what_is_wrong_is_said_in_words() -> None:
    found = constraints(length=14, template="ANNNNNNNNNNNNN", forbid=("GGTCTC",), max_homopolymer=4)
    assert found.violations("TAAAAAGGTCTCCC") == [
        "position 1: T, must be A",
        "GGTCTC at positions 7-12",
        "AAAAA at positions 2-6",
    ]
    assert found.violations("AGAGACCACACACA") == [
        "GAGACC (reverse complement of GGTCTC) at positions 2-7"
    ]
    assert found.violations("ACG") == ["3 letters, must be 14"]
    assert found.violations("ACGNACGTACGTAC") == ["position 4: 'N' is not a letter"]
    named = ConstraintSettings(forbid=("GGTCTC", "GAATTC", "ATR")).describe(DNA)
    assert named == (
        "GGTCTC, GAGACC (reverse complement of GGTCTC), GAATTC, ATR, "
        "YAT (reverse complement of ATR)"
    )


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"template": "ACXNNNN"}, "--template: 'X' at position 3 is neither in the dna alphabet"),
        ({"template": "ACG"}, "--template has 3 letters, designs have 7"),
        ({"forbid": "GAXTTC"}, "--forbid GAXTTC: 'X' at position 3"),
        ({"forbid": ""}, "--forbid '': an empty word"),
        ({"forbid": "ATG:back"}, "'back' is no strand: forward or both"),
        ({"forbid_letters": "X"}, "--forbid-letters: 'X'"),
        ({"fix": "1-3"}, "--fix keeps letters of a template: add --template"),
        ({"design": "1-3"}, "--design keeps letters of a template: add --template"),
        ({"fix": "8", "template": "ACGTACG"}, "--fix 8: position 8, but designs have 7 letters"),
        ({"design": "2-9", "template": "ACGTACG"}, "--design 2-9: position 9, but"),
        ({"coding": "1-9"}, "--coding 1-9: position 9, but designs have 7 letters"),
        ({"coding": "1-4"}, "--coding 1-4: 4 letters are not whole codons"),
        ({"fix": "1-3", "design": "3-5", "template": "ACGTACG"}, "position 3 is in --fix and in"),
        ({"fix": "1-2", "template": "ANNNNNN"}, "position 2 is to be kept, but the template leave"),
        ({"template": "ACNNNNN", "forbid_letters": "C"}, "position 2: the template asks for C, --"),
        ({"forbid_letters": "ACGT"}, "--forbid-letters ACGT: these are all letters"),
        ({"template": "NGAATTC", "forbid": "GAATTC"}, "GAATTC is at positions 2-7, which are fixe"),
        ({"template": "TGANNNN", "coding": "1-3"}, "stop codon TGA is at positions 1-3, which"),
        ({"forbid": ("S", "W")}, "the forbidden words leave no letter somewhere"),
        (
            {"max_homopolymer": 2, "forbid_letters": "CGT"},
            "AAA is at positions 1-3, which are fixed",
        ),
        ({"gc": "0.6-0.7", "template": "AAAAANN"}, "positions 1-7 can hold 0 to 2 of G and C, --"),
        ({"gc": "0.1-0.2:5", "template": "NNCCNNN"}, "positions 1-5 can hold 2 to 5 of G and C"),
        ({"gc": "0.1-0.6:8"}, "--gc in windows of 8: designs have 7 letters"),
        ({"forbid": tuple("A" * n + "NNNNNNNNNNNNNN" + "C" for n in (1, 2))}, "automaton states"),
    ],
)
def test_mistakes_are_one_clear_line(settings: dict[str, object], message: str) -> None:
    assert message in refused(**settings)


def test_mistakes_of_other_alphabets() -> None:
    assert "--forbid KK:both: protein has one strand" in refused(PROTEIN, forbid="KK:both")
    assert "--gc is for DNA and RNA, not for protein" in refused(PROTEIN, gc="0-1")
    assert "--coding is for DNA and RNA, not for tokens" in refused(TOKENS, coding="1-3")


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("fix", "10-1", "--fix: '10-1' must be positions from 1 on, like 1-10,25"),
        ("fix", "0-3", "'0-3' must be positions"),
        ("design", "a", "'a' must be positions"),
        ("coding", "1,,2", "'1,,2' must be positions"),
        ("gc", "40-60", "'40-60' must be shares from 0 to 1, like 0.4-0.6 or 0.3-0.7:50"),
        ("gc", "0.6-0.4", "'0.6-0.4' must be shares"),
        ("gc", "0.4-0.6:0", "'0.4-0.6:0' must be shares"),
        ("max_homopolymer", 0, "must be at least 1, not 0"),
    ],
)
def test_mistakes_that_need_no_alphabet(key: str, value: object, message: str) -> None:
    flag = "--" + key.replace("_", "-")
    with pytest.raises(ConfigurationError, match=re.escape(message)):
        validate(ConstraintSettings, Layer("flags", {key: value}, {(key,): flag}))


def test_nothing_asked_for_is_no_constraint() -> None:
    assert ConstraintSettings().is_empty
    assert ConstraintSettings().compile(DNA, 7) is None
    assert ConstraintSettings(fix=25).fix == "25"
    assert ConstraintSettings(template="ACG NN").template_length(DNA) == 5


def test_the_automaton_is_minimal() -> None:
    # One state for each letter of the word that has been read.
    automaton = constraints(forbid="GAATTC").automaton
    assert automaton is not None
    assert automaton.states == 6
    automaton = constraints(max_homopolymer=3, forbid=("AAAAAA", "AAAA", "CCAAAATT")).automaton
    assert automaton is not None
    assert automaton.states == 13  # the start, and runs of one, two and three of each letter
