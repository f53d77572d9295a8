"""Secondary structures of RNA in dot-bracket notation: which bases pair, and the loops between."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated

from pydantic import AfterValidator

SMALLEST_HAIRPIN = 3
"""Bases that the loop of a hairpin has at least."""

OUTSIDE = (-1, -1)
"""Stands for a pair around the whole sequence: what closes the exterior loop."""


def base_pairs(structure: str) -> list[tuple[int, int]]:
    """Pairs (i, j) of a dot-bracket structure, 0-based, i < j.

    Raises:
        ValueError: it is empty, has other characters, is not balanced, or has too small a hairpin.
    """
    pairs, opened = [], list[int]()
    for place, character in enumerate(structure):
        if character == "(":
            opened.append(place)
        elif character == ")":
            if not opened:
                raise ValueError(f"the ')' at position {place + 1} closes nothing")
            pairs.append((opened.pop(), place))
        elif character != ".":
            raise ValueError(
                f"{character!r} at position {place + 1} is none of '(', ')' and '.'; "
                "pseudoknots and other notations are not read"
            )
    if opened:
        raise ValueError(f"the '(' at position {opened[-1] + 1} is not closed")
    if not structure:
        raise ValueError("it is empty")
    for left, right in pairs:
        if right - left <= SMALLEST_HAIRPIN:
            raise ValueError(
                f"positions {left + 1} and {right + 1} cannot pair: a hairpin has at least "
                f"{SMALLEST_HAIRPIN} bases between"
            )
    return sorted(pairs)


def _check(structure: str) -> str:
    structure = structure.strip()
    base_pairs(structure)
    return structure


DotBracket = Annotated[str, AfterValidator(_check)]
"""A setting that is a structure."""


def partners(structure: str) -> list[int]:
    """The position that each pairs with, its own where it does not pair.

    Raises:
        ValueError: see ``base_pairs``.
    """
    found = list(range(len(structure)))
    for left, right in base_pairs(structure):
        found[left], found[right] = right, left
    return found


def written(pairs: Iterator[tuple[int, int]] | set[tuple[int, int]], length: int) -> str:
    """The dot-bracket structure of pairs that do not cross."""
    characters = ["."] * length
    for left, right in pairs:
        characters[left], characters[right] = "(", ")"
    return "".join(characters)


@dataclass(frozen=True)
class Loop:
    """A loop: the pair that closes it, and the pairs that go on from it.

    Attributes:
        closing: (i, j), ``OUTSIDE`` for the exterior loop.
        inner: pairs (k, l) directly inside, from left to right.
    """

    closing: tuple[int, int]
    inner: tuple[tuple[int, int], ...]


def loops(structure: str) -> list[Loop]:
    """All loops of a structure, the exterior one first.

    Raises:
        ValueError: see ``base_pairs``.
    """
    inner: dict[tuple[int, int], list[tuple[int, int]]] = {OUTSIDE: []}
    around = [OUTSIDE]
    for left, right in base_pairs(structure):
        while around[-1] != OUTSIDE and around[-1][1] < left:
            around.pop()
        inner[around[-1]].append((left, right))
        inner[left, right] = []
        around.append((left, right))
    return [Loop(closing, tuple(found)) for closing, found in inner.items()]
