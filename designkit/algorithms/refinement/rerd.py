"""RERD: reward-guided refinement by masking a part of a sequence and decoding it again.

Uehara et al. 2025, arXiv 2502.14944, with a population that persists, an archive of the best,
crossover whose joints are drawn anew, and no sequence that is scored twice. Without selection and
crossover, and with a sampler that draws exactly from p(x) exp(r(x) / temperature), this law is the
one that rounds leave as it is: masking positions that do not depend on the sequence, and drawing
them from the law given the others.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from designkit.algorithms.refinement._chains import chains
from designkit.algorithms.refinement._evolution import Evolution
from designkit.algorithms.refinement._positions import between, near, run, scattered, within_edits
from designkit.algorithms.refinement._variation import changeable_of, crossed, least_likely

if TYPE_CHECKING:
    from torch import Tensor

    from designkit.algorithms.refinement._drafts import Drafts
    from designkit.algorithms.refinement._pairs import Pairs
    from designkit.algorithms.refinement.base import Archive, Brief, Population
    from designkit.models.base import DiffusionModel
    from designkit.randomness import Noise


class RERD(Evolution):
    """Settings of RERD, besides those of ``Evolution``.

    Attributes:
        fraction: largest share of the positions that a child has drawn anew.
        schedule: how many positions that is: ``mixed`` draws a number for every child, from 1 to
            ``fraction`` of all, the logarithm uniform; ``decay`` falls geometrically from
            ``fraction`` to ``last_fraction`` in ``decay_rounds`` rounds.
        last_fraction: of the schedule ``decay``.
        decay_rounds: of the schedule ``decay``.
        span: share of children whose positions are neighbours; those of the others are scattered.
        confidence: prefer positions whose letters the prior finds unlikely, for one more denoiser
            row a child.
        joint: positions on each side of a cut that are drawn anew after a crossover.
        selection: ``best`` of members and children go on; with ``none`` each member is followed by
            its own child, whatever its reward, and nothing is crossed.
    """

    fraction: float = Field(default=0.3, gt=0, le=1)
    schedule: Literal["mixed", "decay"] = "mixed"
    last_fraction: float = Field(default=0.05, gt=0, le=1)
    decay_rounds: int = Field(default=20, ge=1)
    span: float = Field(default=0.5, ge=0, le=1)
    confidence: bool = False
    joint: int = Field(default=1, ge=1)
    selection: Literal["best", "none"] = "best"

    def rounds(
        self,
        model: DiffusionModel,
        archive: Archive,
        population: Population,
        brief: Brief,
        noise: Noise,
    ) -> Iterator[Population]:
        """See ``Refiner.rounds``."""
        if self.selection == "best":
            return super().rounds(model, archive, population, brief, noise)
        return chains(self, model, archive, population, brief, noise)

    def drafts(self, model: DiffusionModel, pairs: Pairs, brief: Brief, noise: Noise) -> Drafts:
        """See ``Evolution.drafts``."""
        changeable = changeable_of(pairs.parents, brief)
        tokens = pairs.parents.tokens
        chosen = self._positions(model, pairs.parents, changeable, noise)
        if self.selection == "best" and bool(pairs.crossed.any()):
            other, cuts = crossed(pairs.parents, pairs.partners, changeable, noise)
            joints = near(cuts, self.joint, changeable)
            tokens = other.where(pairs.crossed[:, None], tokens)
            chosen = joints.where(pairs.crossed[:, None], chosen)
        if brief.most_edits is not None and pairs.roots is not None:
            tokens, chosen = within_edits(noise, tokens, pairs.roots, chosen, brief.most_edits)
        return pairs.drafts(tokens, chosen)

    def _positions(
        self, model: DiffusionModel, parents: Population, changeable: Tensor, noise: Noise
    ) -> Tensor:
        """Positions (C, W) bool that are drawn anew where nothing is crossed."""
        free = changeable.sum(1)
        if self.schedule == "mixed":
            most = (self.fraction * free).long().clamp(min=1)
            count = between(noise, "count", most)
        else:
            done = min(1.0, parents.round / self.decay_rounds)
            share = self.fraction ** (1 - done) * self.last_fraction**done
            count = (share * free).round().long().clamp(min=1)
        number = 2 * count if self.confidence else count
        is_run = noise.uniform("is-run") < self.span
        chosen = run(noise, changeable, number).where(
            is_run[:, None], scattered(noise, changeable, number)
        )
        if self.confidence:
            chosen = least_likely(model, parents, chosen, count, noise)
        return chosen

    def positions_at_most(self, length: int) -> int:
        """See ``Evolution.positions_at_most``."""
        return max(1, int(self.fraction * length), 4 * self.joint)
