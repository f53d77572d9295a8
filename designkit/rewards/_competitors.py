"""Structures that a sequence may prefer to its target: what was learned from folding others.

A sequence folds into its target when the target's energy is below that of every other structure.
Folding tells one that is below, at the cost of O(L^3); the energies of structures that are known
already are looked up in a thousandth of that time. So the most stable structures of sequences that
failed are remembered, and the parts by which they differ from the target one by one, and a new
sequence is folded when the target holds against all of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from designkit.dot_bracket import base_pairs, partners, written

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from designkit.rewards._structure_energies import StructureEnergies

    Numbers = NDArray[np.float64]
    Integers = NDArray[np.int64]

SMOOTHING = 0.3
"""kcal/mol: competitors that are so much less stable than the best count a third of it."""

_NEAR = 3
"""Pairs that differ from each other by at most so many positions on either side go together."""

Pairs = frozenset[tuple[int, int]]


def alternatives(target: Pairs, other: Pairs) -> list[Pairs]:
    """A structure, and the target with each independent part of what the structure changes.

    Pairs that are lost and pairs that are won belong to one part where they share a base or cross,
    and where they lie side by side: any part may be had without the others.

    Args:
        target: its pairs.
        other: of another structure.
    """
    lost, won = sorted(target - other), sorted(other - target)
    changes = np.array([*lost, *won], dtype=np.int64).reshape(-1, 2)
    is_won = np.arange(len(changes)) >= len(lost)
    i, j = changes.T
    shares = (changes[:, None, :, None] == changes[None, :, None, :]).any((2, 3))
    inside = (i[:, None] < i) & (i < j[:, None])
    crosses = inside != ((i[:, None] < j) & (j < j[:, None]))
    beside = np.abs(changes[:, None] - changes).max(2) <= _NEAR
    same = is_won[:, None] == is_won
    linked = np.where(same, beside, shares | crosses | crosses.T)
    labels = np.arange(len(changes))
    while True:
        lowest = np.where(linked, labels, len(changes)).min(1, initial=len(changes))
        if (lowest == labels).all():
            break
        labels = lowest
    found = [other]
    for label in np.unique(labels).tolist():
        rows = [(int(a), int(b)) for a, b in changes[labels == label]]
        found.append(target ^ frozenset(rows))
    return list(dict.fromkeys(found))


@dataclass(frozen=True)
class Competitor:
    """A structure beside the target.

    Attributes:
        structure: dot-bracket.
        gains: terms of the target's energy that it lacks.
        losses: terms of its energy that the target's lacks.
        positions: that pair in one of the two in another way than in the other.
    """

    structure: str
    gains: tuple[int, ...]
    losses: tuple[int, ...]
    positions: tuple[int, ...]


class Competitors:
    """Competitors of a target, by what was folded.

    Args:
        target: dot-bracket.
        energies: of structures of its length.
    """

    def __init__(self, target: str, energies: StructureEnergies):
        self.target, self.energies = target, energies
        self._pairs = frozenset(base_pairs(target))
        self._partners = partners(target)
        self._terms = frozenset(energies.terms(target))
        self._made: dict[str, tuple[Competitor, ...]] = {}

    def of(self, structures: Iterable[str]) -> list[Competitor]:
        """Distinct competitors that structures teach, in their order, the open chain first."""
        found = {one.structure: one for one in self._taught("." * len(self.target))}
        for structure in structures:
            for one in self._taught(structure):
                found.setdefault(one.structure, one)
        return list(found.values())

    def _taught(self, structure: str) -> tuple[Competitor, ...]:
        if structure not in self._made:
            others = alternatives(self._pairs, frozenset(base_pairs(structure)))
            self._made[structure] = tuple(
                self._competitor(other) for other in others if other != self._pairs
            )
        return self._made[structure]

    def _competitor(self, pairs: Pairs) -> Competitor:
        structure = written(set(pairs), len(self.target))
        terms = frozenset(self.energies.terms(structure))
        places = {place for pair in pairs ^ self._pairs for place in pair}
        return Competitor(
            structure,
            tuple(sorted(self._terms - terms)),
            tuple(sorted(terms - self._terms)),
            tuple(sorted(places)),
        )


class Rivalry:
    """How a target holds against competitors: a stand-in for folding.

    Args:
        energies: of structures.
        competitors: at least one.
        length: of the sequences.
    """

    def __init__(self, energies: StructureEnergies, competitors: Sequence[Competitor], length: int):
        self._energies, self._competitors, self._length = energies, competitors, length
        used = sorted({term for one in competitors for term in (*one.gains, *one.losses)})
        self._terms = np.array(used, dtype=np.int64)
        place = {term: row for row, term in enumerate(used)}
        self._signs = np.zeros((len(used), len(competitors)), dtype=np.float32)
        self._where = np.zeros((len(competitors), length), dtype=np.float64)
        for column, one in enumerate(competitors):
            self._signs[[place[term] for term in one.gains], column] = 1
            self._signs[[place[term] for term in one.losses], column] = -1
            self._where[column, list(one.positions)] = 1 / len(one.positions)

    def lead(self, letters: Integers) -> Numbers:
        """Energies (N, C) of the target less those of competitors, in kcal/mol.

        Args:
            letters: (N, L) tokens of A, C, G, U.
        """
        terms = self._energies.of(letters, self._terms).astype(np.float32)
        return (terms @ self._signs).astype(np.float64) / 100

    def judge(self, tokens: Integers) -> tuple[Numbers, Numbers]:
        """Guesses (N,) of minus the energy that the target is above the best structure.

        In kcal/mol; a guess is above the truth by what is not known, and below by what the
        smoothing counts of competitors that are nearly as good as the best. To blame (N, L) are
        the positions at which the best competitors differ from the target.
        """
        scaled = self.lead(tokens) / SMOOTHING
        highest = scaled.max(1, keepdims=True)
        weights = np.exp(scaled - highest)
        total = weights.sum(1, keepdims=True)
        values = -SMOOTHING * (highest + np.log(total))[:, 0]
        return values, (weights / total) @ self._where

    def near(self, tokens: Integers, most: int) -> Rivalry:
        """The same with the competitors that come nearest to the best for some sequence."""
        if len(self._competitors) <= most:
            return self
        lead = self.lead(tokens)
        closest = (lead - lead.max(1, keepdims=True)).max(0)
        kept = np.sort(np.argsort(-closest, kind="stable")[:most])
        chosen = [self._competitors[column] for column in kept.tolist()]
        return Rivalry(self._energies, chosen, self._length)
