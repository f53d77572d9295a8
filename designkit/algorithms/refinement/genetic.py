"""A genetic algorithm: mutation, crossover, and the best go on. The baseline of all others.

With ``mutation=uniform`` letters change to any other letter, without a prior (Holland 1975,
"Adaptation in natural and artificial systems"); with ``mutation=prior`` the same positions are
drawn from the prior given the others.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from designkit.algorithms.refinement._evolution import Evolution
from designkit.algorithms.refinement._positions import scattered, within_edits
from designkit.algorithms.refinement._variation import changeable_of, crossed, with_partners

if TYPE_CHECKING:
    from designkit.algorithms.refinement._drafts import Drafts
    from designkit.algorithms.refinement._pairs import Pairs
    from designkit.algorithms.refinement.base import Brief
    from designkit.models.base import DiffusionModel
    from designkit.randomness import Noise


class Genetic(Evolution):
    """Settings of the genetic algorithm, besides those of ``Evolution``.

    Attributes:
        mutation: ``uniform`` puts any other letter in the place of one; ``prior`` draws it from
            the prior.
        mutations: mean number of letters of a child that mutate, at least one.
        selection: the ``best`` of members and children go on, or with ``pareto`` those that none
            surpasses in all objectives (NSGA-II).
        patience: never by default.
    """

    mutation: Literal["uniform", "prior"] = "uniform"
    mutations: float = Field(default=1.1, gt=0)
    selection: Literal["best", "pareto"] = "best"
    patience: float | None = Field(default=None, gt=0)

    def drafts(self, model: DiffusionModel, pairs: Pairs, brief: Brief, noise: Noise) -> Drafts:
        """See ``Evolution.drafts``."""
        import torch

        changeable = changeable_of(pairs.parents, brief)
        other, _ = crossed(pairs.parents, pairs.partners, changeable, noise)
        tokens = other.where(pairs.crossed[:, None], pairs.parents.tokens)
        width, free = tokens.shape[1], changeable.sum(1, keepdim=True)
        rate = (self.mutations / free.clamp(min=1)).clamp(max=1)
        count = ((noise.uniform("mutate", width) < rate) & changeable).sum(1).clamp(min=1)
        chosen = scattered(noise, changeable, count)
        if self.mutation == "prior":
            chosen = with_partners(model, chosen, changeable)
        if brief.most_edits is not None:
            most = torch.full_like(count, brief.most_edits)
            tokens, chosen = within_edits(noise, tokens, pairs.roots, chosen, most)
        if self.mutation == "prior":
            return pairs.drafts(tokens, chosen)
        others = model.alphabet.size - 1
        step = 1 + (noise.uniform("letter", width) * others).long()
        mutated = ((tokens + step) % model.alphabet.size).where(chosen, tokens)
        return pairs.drafts(mutated, chosen & False)

    def positions_at_most(self, length: int) -> int:
        """See ``Evolution.positions_at_most``."""
        return 0 if self.mutation == "uniform" else min(length, 1 + int(8 * self.mutations))
