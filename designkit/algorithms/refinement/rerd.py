"""RERD: reward-guided refinement by masking a part of a sequence and decoding it again.

Uehara et al. 2025, arXiv 2502.14944, with a population that persists, an archive of the best,
crossover whose joints are drawn anew, and no sequence that is scored twice. Without selection and
crossover, and with a sampler that draws exactly from p(x) exp(r(x) / temperature), this law is the
one that rounds leave as it is: masking positions that do not depend on the sequence, and drawing
them from the law given the others.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field, model_validator

from designkit.algorithms.refinement._adaptive import SHARE, adapted, shares_of
from designkit.algorithms.refinement._chains import chains
from designkit.algorithms.refinement._evolution import Evolution
from designkit.algorithms.refinement._positions import between, near, run, scattered, within_edits
from designkit.algorithms.refinement._variation import (
    changeable_of,
    crossed,
    least_likely,
    resized,
    shifted,
    well_placed,
    with_partners,
)

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
        population: 4; a front takes more, 16, and so do members who are followed by a child each.
        offspring: four times ``population`` when not given: few parents with several children each
            climb in few evaluations where as many parents as children do not. Where not the best
            go on, as many as ``population``.
        fraction: largest share of the positions that a child has drawn anew; of the edits that are
            allowed, where these are fewer: every letter drawn anew takes the place of an edit.
        schedule: how many positions that is: ``mixed`` draws a number for every child, from 1 to
            ``fraction`` of all, the logarithm uniform; ``decay`` falls geometrically from
            ``fraction`` to ``last_fraction`` in ``decay_rounds`` rounds; ``adaptive`` is ``mixed``
            up to a share that grows where more than a fifth of a lineage's children are better
            than their parents, and shrinks where fewer are.
        last_fraction: of the schedule ``decay``.
        decay_rounds: of the schedule ``decay``.
        span: share of children whose positions are neighbours; those of the others are scattered.
        confidence: prefer positions whose letters the prior finds unlikely, for one more denoiser
            row a child.
        joint: positions on each side of a cut that are drawn anew after a crossover; of short
            sequences fewer, as ``fraction`` bounds their number too.
        patience: 6, which for sequences of 8 letters out of 4 is 1.5 times as many children as it
            takes, on average, to draw each of the neighbours of one once.
        shifts: share of children, crossed ones aside, in which a stretch moves by one place: a
            letter is taken out at one end of it, and one put in at the other, whatever that does
            to the letters between. The letters at both ends are drawn, and ``joint`` - 1 on each
            side of them; that at the gap stays where the prior finds it as likely as others, for
            one more denoiser row a child.
        indels: share of children, crossed ones aside, with one letter more or less than their
            parent, where the prior writes sequences of several lengths. A letter that is put in
            is drawn, and ``joint`` - 1 on each side of it or of the gap.
        selection: ``best`` of members and children go on, or with ``pareto`` those that none
            surpasses in all objectives (NSGA-II); with ``none`` each member is followed by its own
            child, whatever its reward, and nothing is crossed or shifted.
    """

    population: int = Field(default=4, ge=1)
    patience: float | None = Field(default=6.0, gt=0)
    fraction: float = Field(default=0.3, gt=0, le=1)
    schedule: Literal["mixed", "decay", "adaptive"] = "mixed"
    last_fraction: float = Field(default=0.05, gt=0, le=1)
    decay_rounds: int = Field(default=20, ge=1)
    span: float = Field(default=0.5, ge=0, le=1)
    confidence: bool = False
    joint: int = Field(default=1, ge=1)
    shifts: float = Field(default=0.0, ge=0, le=1)
    indels: float = Field(default=0.0, ge=0, le=1)
    selection: Literal["best", "pareto", "none"] = "best"

    @model_validator(mode="before")
    @classmethod
    def _wide_where_not_the_best_go_on(cls, fields: Any) -> Any:
        if isinstance(fields, dict) and fields.get("selection", "best") != "best":
            return {"population": 16, **fields}
        return fields

    def rounds(
        self,
        model: DiffusionModel,
        archive: Archive,
        population: Population,
        brief: Brief,
        noise: Noise,
    ) -> Iterator[Population]:
        """See ``Refiner.rounds``."""
        if self.selection != "none":
            return super().rounds(model, archive, population, brief, noise)
        return chains(self, model, archive, population, brief, noise)

    def drafts(self, model: DiffusionModel, pairs: Pairs, brief: Brief, noise: Noise) -> Drafts:
        """See ``Evolution.drafts``."""
        import torch

        changeable = changeable_of(pairs.parents, brief)
        tokens = pairs.parents.tokens
        free = changeable.sum(1)
        if brief.most_edits is not None:
            free = free.clamp(max=brief.most_edits)
        chosen = self._positions(model, pairs.parents, changeable, free, noise)
        if self.selection != "none" and bool(pairs.crossed.any()):
            other, cuts = crossed(pairs.parents, pairs.partners, changeable, noise)
            most = (self.fraction * free).long().clamp(min=1)
            joints = scattered(noise, near(cuts, self.joint, changeable), most)
            tokens = other.where(pairs.crossed[:, None], tokens)
            chosen = joints.where(pairs.crossed[:, None], chosen)
        lengths, roots = pairs.parents.lengths, pairs.roots
        change = self._changes_of_length(pairs, brief, noise)
        shifts = 0.0 if self.selection == "none" else self.shifts
        is_shifted = (noise.uniform("is-shifted") < shifts) & ~pairs.crossed & (change == 0)
        if bool(is_shifted.any()):
            rows = is_shifted.nonzero().squeeze(1)
            tokens, chosen = tokens.clone(), chosen.clone()
            tokens[rows], chosen[rows] = self._shifted(
                model, tokens[rows], lengths[rows], changeable[rows], noise.rows(rows)
            )
        chosen = with_partners(model, chosen, changeable)
        if bool(change.any()):
            tokens, lengths, chosen = resized(tokens, lengths, chosen, change, self.joint, noise)
            roots = torch.nn.functional.pad(roots, (0, 1), value=-1)
            roots = roots.masked_fill(change.bool()[:, None], -1)
        if brief.most_edits is not None:
            left = brief.most_edits - pairs.parents.edits - change.abs()
            left = left.where(roots[:, 0] < 0, brief.most_edits)
            tokens, chosen = within_edits(noise, tokens, roots, chosen, left)
        return pairs.drafts(tokens, chosen, lengths)

    def _shifted(
        self,
        model: DiffusionModel,
        tokens: Tensor,
        lengths: Tensor,
        changeable: Tensor,
        noise: Noise,
    ) -> tuple[Tensor, Tensor]:
        """Tokens (N, W) in which a stretch has moved, and positions (N, W) to be drawn anew."""
        moved, drawn, gap = shifted(tokens, lengths, changeable, self.joint, noise)
        inner, device = self.inner(), model.device

        def predict(x_t: Tensor, t: Tensor) -> Tensor:
            return inner.predict(model, x_t.to(device), t.to(device))

        stays = well_placed(predict, model.alphabet.mask, moved, lengths, drawn, noise)
        return moved, drawn & ~(gap & stays)

    @property
    def children(self) -> int:
        """Children of each lineage in a round."""
        return self.offspring or (4 if self.selection == "best" else 1) * self.population

    @property
    def changes_lengths(self) -> bool:
        """Whether there are insertions and deletions."""
        return self.indels > 0

    def _changes_of_length(self, pairs: Pairs, brief: Brief, noise: Noise) -> Tensor:
        """(C,) int64: 1 for a letter more, -1 for a letter less, 0 for neither."""
        import torch

        lengths = pairs.parents.lengths
        longer, shorter = lengths < brief.longest, lengths > brief.shortest
        is_changed = (noise.uniform("indel") < self.indels) & ~pairs.crossed
        grows = ((noise.uniform("grow") < 0.5) & longer) | ~shorter
        change = torch.where(grows, 1, -1)
        return change.where(is_changed & (longer | shorter), 0)

    def learned(
        self, archive: Archive, before: Population, numbers: Sequence[int]
    ) -> dict[str, Tensor]:
        """The largest share of positions of each lineage, with the schedule ``adaptive``."""
        if self.schedule != "adaptive":
            return {}
        shares = shares_of(before, archive.lineages, self.fraction)
        return {SHARE: adapted(archive, shares, numbers, self.fraction)}

    def _positions(
        self,
        model: DiffusionModel,
        parents: Population,
        changeable: Tensor,
        free: Tensor,
        noise: Noise,
    ) -> Tensor:
        """Positions (C, W) bool, shares of ``free``, to draw anew where nothing is crossed."""
        if self.schedule == "decay":
            done = min(1.0, parents.round / self.decay_rounds)
            share = self.fraction ** (1 - done) * self.last_fraction**done
            count = (share * free).round().long().clamp(min=1)
        else:
            shares = shares_of(parents, int(parents.lineages.max()) + 1, self.fraction)
            most = (shares[parents.lineages] * free).long().clamp(min=1)
            count = between(noise, "count", most)
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
