"""The nearest-neighbour model as tables, measured from ViennaRNA: energies of loops by letters.

The energy of a structure is a sum over its loops, and each term of it depends on at most eight
letters (Turner 2004: Mathews et al. 2004, PNAS 101:7287). A table holds a term for all letters, so
that the energies of many structures and sequences are looked up instead of computed one by one.
Energies are integers in 0.01 kcal/mol, those of ViennaRNA to the last digit.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np

from designkit.dot_bracket import OUTSIDE, Loop

if TYPE_CHECKING:
    from types import ModuleType

    from numpy.typing import NDArray

    Table = NDArray[np.int32]

LETTERS = "ACGU"
IMPOSSIBLE = 10**6
"""Stands for the energy of a pair that cannot be."""

_PAIR_TYPES = ("CG", "GC", "GU", "UG", "AU", "UA")  # 1 to 6 in ViennaRNA
_SPECIAL_HAIRPINS = (3, 4, 6)
_LARGEST_TABLED_SIDE = 2

Kind = tuple[str | int, ...]
Term = tuple[Kind, tuple[int, ...]]
"""A table, and the positions whose letters say its entry."""


def terms_of(loop: Loop, length: int) -> list[Term]:
    """The terms of a loop's energy.

    Args:
        loop: of a structure.
        length: of the structure.
    """
    i, j = loop.closing
    if loop.closing == OUTSIDE:
        return [
            (
                ("exterior", int(k > 0), int(m < length - 1)),
                (max(k - 1, 0), k, m, min(m + 1, length - 1)),
            )
            for k, m in loop.inner
        ]
    if not loop.inner:
        size = j - i - 1
        if size in _SPECIAL_HAIRPINS:
            return [(("hairpin", size), tuple(range(i, j + 1)))]
        return [(("hairpin", size), (i, i + 1, j - 1, j))]
    if len(loop.inner) == 1:
        return _interior_terms(i, j, *loop.inner[0])
    branches: list[Term] = [(("branch",), (k - 1, k, m, m + 1)) for k, m in loop.inner]
    return [(("closing",), (i, i + 1, j - 1, j)), *branches]


def _interior_terms(i: int, j: int, k: int, m: int) -> list[Term]:
    left, right = k - i - 1, j - m - 1
    if left == 0 or right == 0:
        return [(("bulge", left, right), (i, k, m, j))]
    if max(left, right) <= _LARGEST_TABLED_SIDE:
        return [(("interior", left, right), (*range(i, k + 1), *range(m, j + 1)))]
    return [
        (("outer", left, right), (i, i + 1, j - 1, j)),
        (("inner", left, right), (k - 1, k, m, m + 1)),
    ]


class LoopTables:
    """Tables of terms, made when they are asked for.

    Args:
        library: ViennaRNA.
        model: its model details.
    """

    def __init__(self, library: ModuleType, model: Any):
        self._library, self._model = library, model
        self._parameters = library.param(model)
        self._offsets: dict[Kind, int] = {}
        self._tables: list[Table] = []
        self._entries: Table | None = None
        self.size = 0
        wobble = () if model.noGU else ("GU", "UG")
        allowed = {"AU", "UA", "CG", "GC", *wobble}
        self._can_pair = np.array([[a + b in allowed for b in LETTERS] for a in LETTERS])

    def offset(self, kind: Kind) -> int:
        """Where the table of a kind begins among all entries."""
        if kind not in self._offsets:
            made: Callable[..., Table] = getattr(self, f"_{kind[0]}")
            table = made(*kind[1:]).astype(np.int32).ravel()
            self._offsets[kind] = self.size
            self._tables.append(table)
            self.size += len(table)
            self._entries = None
        return self._offsets[kind]

    @property
    def entries(self) -> Table:
        """All tables, one after the other; the last letter of an entry changes fastest."""
        if self._entries is None:
            self._entries = np.concatenate(self._tables)
        return self._entries

    def _compound(self, blocks: Sequence[str]) -> tuple[Any, list[int]]:
        """A sequence of blocks, and where each begins, counted from 1 as in ViennaRNA."""
        starts = np.cumsum([1, *(len(block) for block in blocks)])[:-1].tolist()
        option = self._library.OPTION_EVAL_ONLY
        return self._library.fold_compound("".join(blocks), self._model, option), starts

    def _hairpin(self, size: int) -> Table:
        if size == 6:
            table = np.broadcast_to(
                self._mismatched_hairpin(size)[:, :, None, None, None, None], (4,) * 8
            ).copy()
            for word in self._parameters.Hexaloops.split():
                compound, _ = self._compound([word])
                table[tuple(map(LETTERS.index, word))] = compound.eval_hp_loop(1, len(word))
        elif size in _SPECIAL_HAIRPINS:
            compound, starts = self._compound(_words(size + 2))
            found = [compound.eval_hp_loop(i, i + size + 1) for i in starts]
            table = np.array(found).reshape((4,) * (size + 2))
        else:
            table = self._mismatched_hairpin(size)
        closing = self._can_pair.reshape(4, *(1,) * (table.ndim - 2), 4)
        return np.where(closing, table, IMPOSSIBLE)

    def _mismatched_hairpin(self, size: int) -> Table:
        """By the closing pair and the bases beside it (4, 4, 4, 4), whatever lies between."""
        blocks = [word[:2] + "A" * (size - 2) + word[2:] for word in _words(4)]
        compound, starts = self._compound(blocks)
        found = [compound.eval_hp_loop(i, i + size + 1) for i in starts]
        return np.array(found).reshape(4, 4, 4, 4)

    def _between(self, left: Sequence[str], right: Sequence[str]) -> Table:
        """Energies (left, right) of loops that have these two strands, pairs included."""
        compound, starts = self._compound([*left, *right])
        ends = [
            start + len(strand) - 1 for start, strand in zip(starts, [*left, *right], strict=True)
        ]
        count = len(left)
        return np.array(
            [
                [
                    compound.eval_int_loop(starts[a], ends[b], ends[a], starts[b])
                    for b in range(count, len(starts))
                ]
                for a in range(count)
            ]
        )

    def _interior(self, left: int, right: int) -> Table:
        found = self._between(_words(left + 2), _words(right + 2))
        table = found.reshape((4,) * (left + right + 4))
        closing = self._can_pair.reshape(4, *(1,) * (left + right + 2), 4)
        inner = self._can_pair.reshape(*(1,) * (left + 1), 4, 4, *(1,) * (right + 1))
        return np.where(closing & inner, table, IMPOSSIBLE)

    def _bulge(self, left: int, right: int) -> Table:
        strands = [[word[0] + "A" * size + word[1] for word in _words(2)] for size in (left, right)]
        table = self._between(*strands).reshape(4, 4, 4, 4)
        closing, inner = self._can_pair[:, None, None, :], self._can_pair[None, :, :, None]
        return np.where(closing & inner, table, IMPOSSIBLE)

    def _outer(self, left: int, right: int) -> Table:
        closing = self._can_pair[:, None, None, :]
        return np.where(closing, self._outer_half(left, right), IMPOSSIBLE)

    def _outer_half(self, left: int, right: int) -> Table:
        """The whole loop by its closing side, the inner pair being C-G between As."""
        strands = (
            [word + "A" * (left - 1) + "C" for word in _words(2)],
            ["G" + "A" * (right - 1) + word for word in _words(2)],
        )
        return self._between(*strands).reshape(4, 4, 4, 4)

    def _inner(self, left: int, right: int) -> Table:
        """What another inner side changes, the closing pair being G-C beside As."""
        strands = (
            ["G" + "A" * (left - 1) + word for word in _words(2)],
            [word + "A" * (right - 1) + "C" for word in _words(2)],
        )
        whole = self._between(*strands).reshape(4, 4, 4, 4)
        change = whole - whole[tuple(map(LETTERS.index, "ACGA"))]
        return np.where(self._can_pair[None, :, :, None], change, IMPOSSIBLE)

    def _stem(self, energy: Callable[..., int], left: bool, right: bool) -> Table:
        """A stem by the base before it, its pair, and the base after it."""
        dangles = bool(self._model.dangles)
        table = np.full((4, 4, 4, 4), IMPOSSIBLE)
        for before, five, three, after in product(range(4), repeat=4):
            if self._can_pair[five, three]:
                kind = _PAIR_TYPES.index(LETTERS[five] + LETTERS[three]) + 1
                sides = (
                    before + 1 if left and dangles else -1,
                    after + 1 if right and dangles else -1,
                )
                table[before, five, three, after] = energy(kind, *sides, self._parameters)
        return table

    def _exterior(self, left: int, right: int) -> Table:
        return self._stem(self._library.E_ExtLoop, bool(left), bool(right))

    def _branch(self) -> Table:
        return self._stem(self._library.E_MLstem, True, True)

    def _closing(self) -> Table:
        """The closing pair as a branch seen from inside: read from its right base to its left."""
        seen: Table = self._branch().transpose(2, 3, 0, 1) + self._parameters.MLclosing
        return seen


def _words(length: int) -> list[str]:
    return ["".join(letters) for letters in product(LETTERS, repeat=length)]
