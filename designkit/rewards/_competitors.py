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
from functools import cached_property
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


@dataclass(frozen=True, eq=False)
class Competitor:
    """A structure beside the target.

    Attributes:
        structure: dot-bracket.
        terms: (T,) of the target's energy that it lacks, then those that the target's lacks.
        signs: (T,) 1 and -1.
        positions: (P,) that pair in one of the two in another way than in the other.
    """

    structure: str
    terms: Integers
    signs: Integers
    positions: Integers


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
        gains, losses = sorted(self._terms - terms), sorted(terms - self._terms)
        return Competitor(
            structure,
            np.array([*gains, *losses], dtype=np.int64),
            np.repeat(np.array([1, -1]), [len(gains), len(losses)]),
            np.unique([place for pair in pairs ^ self._pairs for place in pair]),
        )


class Rivalry:
    """How a target holds against competitors: a stand-in for folding.

    Sequences are followed: of one that differs in a few letters from what was judged before, or
    from what that had come from, only the terms of these letters are looked up. Energies are whole
    numbers: the way to a sum does not matter.

    Args:
        energies: of structures.
        competitors: at least one.
        length: of the sequences.
    """

    def __init__(self, energies: StructureEnergies, competitors: Sequence[Competitor], length: int):
        self._energies, self._competitors, self._length = energies, competitors, length
        each = np.concatenate([one.terms for one in competitors])
        self._terms, self._place = np.unique(each, return_inverse=True)
        self._sign = np.concatenate([one.signs for one in competitors])
        sizes = np.array([len(one.terms) for one in competitors])
        self._owner = np.repeat(np.arange(len(sizes)), sizes)
        self._first = sizes.cumsum() - sizes
        self._known: _Judged | None = None
        self._tried: _Tried | None = None

    def lead(self, letters: Integers) -> Integers:
        """Energies (N, C) of the target less those of competitors, in 0.01 kcal/mol.

        Args:
            letters: (N, L) tokens of A, C, G, U.
        """
        known = self._known
        if known is None or letters.shape != known.letters.shape:
            found = self._energies.of(letters, self._terms)
            lead = np.add.reduceat(found[:, self._place] * self._sign, self._first, axis=1)
            self._known, self._tried = _Judged(letters.copy(), found, lead), None
            return lead
        if self._tried is not None:
            known.take_up(self._tried, letters)
        self._tried = self._changed(known, letters)
        return self._tried.lead

    def _changed(self, known: _Judged, letters: Integers) -> _Tried:
        """What is another than it was, and the lead that makes it."""
        rows, positions = np.nonzero(letters != known.letters)
        touched, first = self._touched
        which, each = _expanded(first, positions)
        code = np.unique(rows[which] * len(self._terms) + touched[each])
        rows, terms = np.divmod(code, len(self._terms))
        change = self._energies.of_each(letters, rows, self._terms[terms])
        change -= known.found[rows, terms]
        rows, terms, change = rows[change != 0], terms[change != 0], change[change != 0]
        owners, signs, first = self._of_term
        which, each = _expanded(first, terms)
        code = rows[which] * known.lead.shape[1] + owners[each]
        total = np.bincount(code, change[which] * signs[each], known.lead.size)
        lead = known.lead + total.astype(np.int64).reshape(known.lead.shape)
        return _Tried(letters.copy(), rows, terms, change, lead)

    @cached_property
    def _touched(self) -> tuple[Integers, Integers]:
        return self._energies.touched(self._terms)

    @cached_property
    def _of_term(self) -> tuple[Integers, Integers, Integers]:
        """Competitors that terms matter to, and their signs, term by term; where each begins."""
        order = np.argsort(self._place, kind="stable")
        first = np.searchsorted(self._place[order], np.arange(len(self._terms) + 1))
        return self._owner[order], self._sign[order], first

    @cached_property
    def _where(self) -> NDArray[np.float32]:
        """Shares (C, L) that positions have in the blame of competitors."""
        found = np.zeros((len(self._competitors), self._length), dtype=np.float32)
        for row, one in enumerate(self._competitors):
            found[row, one.positions] = 1 / len(one.positions)
        return found

    def judge(self, tokens: Integers) -> tuple[Numbers, Numbers]:
        """Guesses (N,) of minus the energy that the target is above the best structure.

        In kcal/mol; a guess is above the truth by what is not known, and below by what the
        smoothing counts of competitors that are nearly as good as the best. To blame (N, L) are
        the positions at which the best competitors differ from the target.
        """
        scaled = self.lead(tokens) / (100 * SMOOTHING)
        highest = scaled.max(1, keepdims=True)
        weights = np.exp(scaled - highest)
        total = weights.sum(1, keepdims=True)
        values = -SMOOTHING * (highest + np.log(total))[:, 0]
        blame = (weights / total).astype(np.float32) @ self._where
        return values, blame.astype(np.float64)

    def near(self, tokens: Integers, most: int) -> Rivalry:
        """The same with the competitors that come nearest to the best for some sequence."""
        if len(self._competitors) <= most:
            return self
        lead = self.lead(tokens)
        closest = (lead - lead.max(1, keepdims=True)).max(0)
        kept = np.sort(np.argsort(-closest, kind="stable")[:most])
        chosen = [self._competitors[column] for column in kept.tolist()]
        return Rivalry(self._energies, chosen, self._length)


@dataclass
class _Judged:
    """N sequences, what energies their terms have (N, T), and what the target's lead is (N, C)."""

    letters: Integers
    found: Integers
    lead: Integers

    def take_up(self, tried: _Tried, letters: Integers) -> None:
        """Go on from what was tried where that is nearer to what is asked for now."""
        apart, now = letters != self.letters, letters != tried.letters
        nearer = now.sum(1) < apart.sum(1)
        self.letters[nearer], self.lead[nearer] = tried.letters[nearer], tried.lead[nearer]
        own = nearer[tried.rows]
        self.found[tried.rows[own], tried.terms[own]] += tried.change[own]


@dataclass
class _Tried:
    """Sequences judged last, and by how much some terms (P,) of some rows (P,) are others."""

    letters: Integers
    rows: Integers
    terms: Integers
    change: Integers
    lead: Integers


def _expanded(first: Integers, groups: Integers) -> tuple[Integers, Integers]:
    """The members of groups: to which of ``groups`` each belongs, and its place.

    Args:
        first: (G + 1,) where each group begins, and the end.
        groups: numbers of some, in any order.
    """
    sizes = first[groups + 1] - first[groups]
    which = np.repeat(np.arange(len(groups)), sizes)
    return which, np.repeat(first[groups] - sizes.cumsum() + sizes, sizes) + np.arange(len(which))
