"""Dot-bracket structures: pairs, partners, loops."""

from __future__ import annotations

import pytest

from designkit.dot_bracket import OUTSIDE, Loop, base_pairs, loops, partners, written

STRUCTURE = ".((..((...))(((...)))..)).(...)"
PAIRS = [(1, 24), (2, 23), (5, 11), (6, 10), (12, 20), (13, 19), (14, 18), (26, 30)]


def test_pairs_and_partners() -> None:
    assert base_pairs(STRUCTURE) == PAIRS
    assert written(set(PAIRS), len(STRUCTURE)) == STRUCTURE
    found = partners(STRUCTURE)
    assert all(found[i] == j and found[j] == i for i, j in PAIRS)
    assert [i for i, j in enumerate(found) if i == j] == [
        i for i, character in enumerate(STRUCTURE) if character == "."
    ]


def test_every_pair_closes_one_loop_and_is_inside_one() -> None:
    assert loops(STRUCTURE) == [
        Loop(OUTSIDE, ((1, 24), (26, 30))),
        Loop((1, 24), ((2, 23),)),
        Loop((2, 23), ((5, 11), (12, 20))),
        Loop((5, 11), ((6, 10),)),
        Loop((6, 10), ()),
        Loop((12, 20), ((13, 19),)),
        Loop((13, 19), ((14, 18),)),
        Loop((14, 18), ()),
        Loop((26, 30), ()),
    ]
    assert loops("....") == [Loop(OUTSIDE, ())]


@pytest.mark.parametrize(
    ("structure", "problem"),
    [
        ("", "it is empty"),
        ("((...)", r"the '\(' at position 1 is not closed"),
        ("(...))", r"the '\)' at position 6 closes nothing"),
        ("(..)", "positions 1 and 4 cannot pair"),
        ("[...]", "pseudoknots and other notations are not read"),
    ],
)
def test_what_is_no_structure(structure: str, problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        base_pairs(structure)
