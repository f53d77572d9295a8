"""A finite automaton that reads a sequence letter by letter and dies at a forbidden word.

States are sets of words that have been begun (the bit-parallel Shift-And automaton of Baeza-Yates
and Gonnet 1992, Commun ACM 35:74), made deterministic and minimal (Moore 1956).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from designkit.errors import UsageError

Word = tuple[frozenset[int], ...]
"""The tokens that a word allows at each of its places."""

DEAD = -1
MOST_STATES = 20_000

Tables = tuple[tuple[tuple[int, ...], ...], ...]


@dataclass(frozen=True)
class Automaton:
    """A deterministic automaton; state 0 is where it begins.

    Attributes:
        tables: (2, S, K): ``tables[1]`` holds where a word that must be in frame may begin, and
            ``tables[0]`` elsewhere; the next state of each state and token, or ``DEAD``.
    """

    tables: Tables

    @property
    def states(self) -> int:
        """Number of states S that are not dead."""
        return len(self.tables[0])

    def reach(self, frames: Sequence[int], allowed: Sequence[frozenset[int]]) -> list[set[int]]:
        """States after 0, 1, ... letters that the allowed tokens lead to.

        Args:
            frames: (L,) which table holds at each position.
            allowed: (L,) tokens of each position.

        Returns:
            L + 1 sets. A set is empty where every sequence has met a forbidden word.
        """
        reached = [{0}]
        for frame, tokens in zip(frames, allowed, strict=True):
            table = self.tables[frame]
            reached.append({table[s][token] for s in reached[-1] for token in tokens} - {DEAD})
        return reached


def build(anywhere: Sequence[Word], in_frame: Sequence[Word], size: int) -> Automaton:
    """The smallest automaton that dies exactly at the words.

    Args:
        anywhere: words that may not occur at all.
        in_frame: words that may not begin at positions in frame.
        size: number of letters K.

    Raises:
        UsageError: the words need too many states.
    """
    words = [*anywhere, *in_frame]
    accept, starts, framed, ends, bit = [0] * size, 0, 0, 0, 1
    for number, word in enumerate(words):
        starts |= bit
        framed |= bit if number < len(anywhere) else 0
        for tokens in word:
            for token in tokens:
                accept[token] |= bit
            bit <<= 1
        ends |= bit >> 1
    begins = (framed, starts)
    place = {0: 0}
    order = [0]
    tables: list[list[list[int]]] = [[], []]
    for begun in order:  # grows while it is walked
        for table, begin in zip(tables, begins, strict=True):
            row = []
            for token in range(size):
                after = ((begun << 1) | begin) & accept[token]
                if after & ends:
                    row.append(DEAD)
                    continue
                if after not in place:
                    place[after] = len(order)
                    order.append(after)
                row.append(place[after])
            table.append(row)
        if len(order) > MOST_STATES:
            raise UsageError(
                f"the forbidden words need more than {MOST_STATES} automaton states; shorten them, "
                "or give fewer, or fewer codes that stand for several letters"
            )
    return _smallest(tables)


def _smallest(tables: list[list[list[int]]]) -> Automaton:
    """Merge states that no continuation tells apart, by refining classes until nothing splits."""
    states = len(tables[0])
    kind = [0] * states
    count = 1
    while True:
        names: dict[tuple[int, ...], int] = {}
        refined = []
        for state in range(states):
            steps = (after for table in tables for after in table[state])
            seen = (kind[state], *(DEAD if after == DEAD else kind[after] for after in steps))
            refined.append(names.setdefault(seen, len(names)))
        kind = refined
        if len(names) == count:
            break
        count = len(names)
    first = {name: state for state, name in reversed(list(enumerate(kind)))}
    return Automaton(
        tuple(
            tuple(
                tuple(DEAD if after == DEAD else kind[after] for after in table[first[name]])
                for name in range(count)
            )
            for table in tables
        )
    )
