"""The parents of children, and what children have to be."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from designkit.algorithms.refinement._archive import NOTHING, Archive, Population
from designkit.algorithms.refinement._drafts import Drafts

if TYPE_CHECKING:
    from torch import Tensor

    from designkit.algorithms.refinement.base import Brief
    from designkit.randomness import Noise


@dataclass(frozen=True)
class Pairs:
    """The parents of C children.

    Attributes:
        slots: (C,) int64, what the children's noise is keyed by.
        parents: C members.
        partners: C others, of the same lineage unless lineages may mix.
        crossed: (C,) bool, whether parent and partner are to be crossed.
        roots: (C, W) int64, the first sequences of the lineages; -1 in rows where there is none,
            or one of another length.
    """

    slots: Tensor
    parents: Population
    partners: Population
    crossed: Tensor
    roots: Tensor

    def drafts(self, tokens: Tensor, chosen: Tensor, lengths: Tensor | None = None) -> Drafts:
        """Children of these parents.

        Args:
            tokens: (C, W).
            chosen: (C, W) bool, positions to be found.
            lengths: (C,); None for those of their parents.
        """
        partners = self.partners.numbers.where(self.crossed, NOTHING)
        return Drafts(
            self.slots,
            self.parents.lineages,
            self.parents.numbers,
            partners,
            tokens,
            self.parents.lengths if lengths is None else lengths,
            chosen,
        )


def places_of(members: Population, lineages: Tensor) -> tuple[Tensor, Tensor]:
    """First place and number (N,) of the members of lineages (N,); members are in their order."""
    import torch

    first = torch.searchsorted(members.lineages, lineages)
    end = torch.searchsorted(members.lineages, lineages, right=True)
    return first, end - first


def drawn_pairs(
    archive: Archive,
    members: Population,
    lineages: Tensor,
    crossover: float,
    brief: Brief,
    noise: Noise,
) -> Pairs:
    """Random parents for children of lineages (C,), each with a partner that is not itself.

    Args:
        archive: of the run.
        members: at least one of each lineage.
        lineages: (C,).
        crossover: share of children that are crossed, where there is a partner of one length.
        brief: what is asked for.
        noise: of the C children.
    """
    import torch

    first, count = places_of(members, lineages)
    place = first + (noise.uniform("parent") * count).long()
    if brief.mix:
        first, count = torch.zeros_like(first), torch.full_like(count, len(members))
    step = 1 + (noise.uniform("partner") * (count - 1)).long()
    parents = members.rows(place)
    partners = members.rows(first + (place - first + step) % count)
    crossed = noise.uniform("is-crossed") < crossover
    crossed &= (partners.numbers != parents.numbers) & (partners.lengths == parents.lengths)
    return Pairs(noise.item, parents, partners, crossed, archive.root_tokens(parents))


def fitting(
    archive: Archive, sequences: Sequence[str], lineages: Sequence[int], brief: Brief
) -> list[bool]:
    """Whether children satisfy the constraints and are near enough to their roots."""
    fits = [
        brief.holds(lineage, sequence)
        for lineage, sequence in zip(lineages, sequences, strict=True)
    ]
    if brief.most_edits is None:
        return fits
    edits = archive.edits(sequences, lineages).tolist()
    return [fit and count <= brief.most_edits for fit, count in zip(fits, edits, strict=True)]
