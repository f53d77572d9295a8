"""Energies of many structures for many sequences at once, from tables of terms."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from designkit.dot_bracket import loops
from designkit.rewards._loop_tables import LETTERS, LoopTables, Term, terms_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Integers = NDArray[np.int64]

_MOST_LETTERS = 8
_USUAL_LETTERS = 4


class StructureEnergies:
    """The terms of structures of one length, each kept once however many structures share it.

    Args:
        tables: of the energy model.
        length: of the structures.
    """

    def __init__(self, tables: LoopTables, length: int):
        self._tables, self._length = tables, length
        self._numbers: dict[Term, int] = {}
        self._places = np.zeros((0, _MOST_LETTERS), dtype=np.int64)
        self._strides = np.zeros((0, _MOST_LETTERS), dtype=np.int64)
        self._offsets = np.zeros(0, dtype=np.int64)
        self._new: list[Term] = []

    def terms(self, structure: str) -> tuple[int, ...]:
        """Numbers of a structure's terms; its energy is their sum."""
        found = []
        for loop in loops(structure):
            for term in terms_of(loop, self._length):
                if term not in self._numbers:
                    self._numbers[term] = len(self._numbers)
                    self._new.append(term)
                found.append(self._numbers[term])
        return tuple(found)

    def of(self, letters: Integers, terms: Integers) -> NDArray[np.int64]:
        """Energies (N, T) of terms in 0.01 kcal/mol.

        Args:
            letters: (N, L) tokens of A, C, G, U.
            terms: (T,) numbers.
        """
        self._note()
        found = np.empty((len(letters), len(terms)), dtype=np.int64)
        is_long = self._strides[terms, _USUAL_LETTERS] > 0
        for rows, width in ((~is_long, _USUAL_LETTERS), (is_long, _MOST_LETTERS)):
            own = terms[rows]
            entry = np.broadcast_to(self._offsets[own], (len(letters), len(own))).copy()
            for letter in range(width):
                entry += letters[:, self._places[own, letter]] * self._strides[own, letter]
            found[:, rows] = self._tables.entries[entry]
        return found

    def of_each(self, letters: Integers, rows: Integers, terms: Integers) -> Integers:
        """Energies (P,) in 0.01 kcal/mol, each of one term for one row of letters.

        Args:
            letters: (N, L) tokens of A, C, G, U.
            rows: (P,) of letters.
            terms: (P,) numbers.
        """
        self._note()
        found = letters[rows[:, None], self._places[terms]] * self._strides[terms]
        entry = self._offsets[terms] + found.sum(1)
        return np.asarray(self._tables.entries[entry], dtype=np.int64)

    def touched(self, terms: Integers) -> tuple[Integers, Integers]:
        """The terms whose energies depend on each position, position by position.

        Args:
            terms: (T,) numbers.

        Returns:
            Places in ``terms``, and where those of each position begin, (L + 1,).
        """
        self._note()
        place, letter = np.nonzero(self._strides[terms] > 0)
        position, place = np.unique([self._places[terms[place], letter], place], axis=1)
        return place, np.searchsorted(position, np.arange(self._length + 1))

    def energies(self, letters: Integers, structure: str) -> NDArray[np.int64]:
        """Energies (N,) of a structure in 0.01 kcal/mol."""
        each = self.of(letters, np.array(self.terms(structure), dtype=np.int64))
        return np.asarray(each.sum(1), dtype=np.int64)

    def _note(self) -> None:
        """Lay out the terms that came since the last time."""
        if not self._new:
            return
        count = len(self._new)
        places = np.zeros((count, _MOST_LETTERS), dtype=np.int64)
        strides = np.zeros((count, _MOST_LETTERS), dtype=np.int64)
        offsets = np.zeros(count, dtype=np.int64)
        for row, (kind, positions) in enumerate(self._new):
            size = len(positions)
            places[row, :size] = positions
            strides[row, :size] = len(LETTERS) ** np.arange(size - 1, -1, -1)
            offsets[row] = self._tables.offset(kind)
        self._places = np.concatenate([self._places, places])
        self._strides = np.concatenate([self._strides, strides])
        self._offsets = np.concatenate([self._offsets, offsets])
        self._new = []
