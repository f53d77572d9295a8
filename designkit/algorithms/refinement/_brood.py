"""The children of a round that are worth scoring."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from designkit.algorithms.refinement._archive import Archive
from designkit.algorithms.refinement._drafts import Drafts
from designkit.algorithms.refinement._ledger import Spent
from designkit.algorithms.refinement._pairs import fitting
from designkit.algorithms.refinement.base import Brief

if TYPE_CHECKING:
    from torch import Tensor

Slot = TypeVar("Slot", int, "Tensor")
_ATTEMPT_BITS = 32


def slot_of(slot: Slot, attempt: int) -> Slot:
    """What the noise of an attempt is keyed by: fresh noise of the same slot, or slots."""
    return slot + (attempt << _ATTEMPT_BITS)


@dataclass(frozen=True)
class Child:
    """A decoded child that was not scored yet."""

    sequence: str
    lineage: int
    parent: int
    partner: int


class Brood:
    """Children that satisfy everything, new to their lineages and all different.

    Args:
        archive: of the run.
        brief: what is asked for.
    """

    def __init__(self, archive: Archive, brief: Brief):
        self._archive, self._brief = archive, brief
        self._children: dict[int, Child] = {}
        self._known: set[tuple[int, str]] = set()

    def take(self, drafts: Drafts, sequences: Sequence[str]) -> list[bool]:
        """Take what is worth scoring.

        Args:
            drafts: C of them.
            sequences: theirs.

        Returns:
            (C,) whether each was taken.
        """
        lineages = drafts.lineages.tolist()
        fits = fitting(self._archive, sequences, lineages, self._brief)
        of = zip(
            drafts.slots.tolist(), drafts.parents.tolist(), drafts.partners.tolist(), strict=True
        )
        taken = []
        for fit, sequence, lineage, (slot, parent, partner) in zip(
            fits, sequences, lineages, of, strict=True
        ):
            key = lineage, sequence
            is_new = key not in self._known and self._archive.number_of(*key) is None
            taken.append(fit and is_new)
            if taken[-1]:
                self._known.add(key)
                place = slot & ((1 << _ATTEMPT_BITS) - 1)
                self._children[place] = Child(sequence, lineage, parent, partner)
        return taken

    def scored(self, round: int, each: int) -> list[int]:
        """Numbers of the children, scored, as far as the ledger may score them.

        Args:
            round: that made them.
            each: slots of a lineage. A limit that is reached in between is so for all lineages
                alike: their first children come first.

        Raises:
            Spent: there are children, and none of them may be scored.
        """
        order = sorted(self._children, key=lambda slot: (slot % each, slot))
        children = [self._children[slot] for slot in order]
        may = self._archive.ledger.affordable([child.sequence for child in children])
        kept = [child for child, allowed in zip(children, may, strict=True) if allowed]
        if children and not kept:
            raise Spent
        numbers = self._archive.add(
            [child.sequence for child in kept],
            [child.lineage for child in kept],
            round,
            [child.parent for child in kept],
            [child.partner for child in kept],
        )
        return [int(number) for number in numbers]
