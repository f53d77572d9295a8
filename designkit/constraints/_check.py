"""Finished sequences against their constraints, by searching the written sequence."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from designkit.constraints._automaton import Word

_FIRST_CODE = 0xE000  # private use: a token as one character, whatever the letters of the alphabet


@dataclass(frozen=True)
class Forbidden:
    """A word that may not occur.

    Attributes:
        word: tokens that it allows at each of its places.
        name: what messages call it.
        starts: 0-based positions at which it may not begin; None for all.
    """

    word: Word
    name: str
    starts: frozenset[int] | None = None

    @cached_property
    def _pattern(self) -> re.Pattern[str]:
        classes = ("".join(map(as_character, sorted(tokens))) for tokens in self.word)
        return re.compile("(?=" + "".join(f"[{letters}]" for letters in classes) + ")")

    def find(self, characters: str) -> list[int]:
        """0-based places at which it begins and may not."""
        found = [match.start() for match in self._pattern.finditer(characters)]
        return [place for place in found if self.starts is None or place in self.starts]


@dataclass(frozen=True)
class Share:
    """Bounds of the share of some letters in every window.

    Attributes:
        tokens: that are counted.
        low, high: least and most allowed share, 0 to 1.
        width: letters of a window; None for the whole sequence.
    """

    tokens: frozenset[int]
    low: float
    high: float
    width: int | None = None

    def window(self, length: int) -> int:
        """Letters of a window in sequences of a length."""
        return self.width or length

    def counts(self, length: int) -> tuple[int, int]:
        """Least and most letters that a window may count."""
        width = self.window(length)
        # 0.3 * 10 is 3.0000000000000004 in floating point.
        return math.ceil(self.low * width - 1e-9), math.floor(self.high * width + 1e-9)

    def find(self, tokens: Sequence[int]) -> list[int]:
        """0-based first positions of windows outside the bounds."""
        width = self.window(len(tokens))
        least, most = self.counts(len(tokens))
        counted = [token in self.tokens for token in tokens]
        inside = sum(counted[:width])
        outside = []
        for start in range(len(tokens) - width + 1):
            if start:
                inside += counted[start + width - 1] - counted[start - 1]
            if not least <= inside <= most:
                outside.append(start)
        return outside


def as_character(token: int) -> str:
    """One character for a token."""
    return chr(_FIRST_CODE + token)


def span(start: int, width: int) -> str:
    """``positions 4-9`` of a 0-based start."""
    return f"position {start + 1}" if width == 1 else f"positions {start + 1}-{start + width}"
