"""Metropolis-Hastings: chains whose designs follow p(x) exp(r(x) / temperature) exactly.

A round masks a random set of positions, whose choice does not depend on the sequence, and draws
them from the prior given the others. That leaves the prior p as it is and is reversible, so that a
child x' of x is accepted with probability min(1, exp((r(x') - r(x)) / temperature)) (Metropolis et
al. 1953, doi 10.1063/1.1699114; Hastings 1970, doi 10.1093/biomet/57.1.97). It is as exact as the
prior's conditionals, one position at a time, are those of one law.

Constraints are kept by refusing children: the law is then that of p restricted to them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

from pydantic import Field

from designkit.algorithms.refinement._chains import chains
from designkit.algorithms.refinement._positions import between, run, scattered
from designkit.algorithms.refinement._variation import changeable_of
from designkit.algorithms.refinement.base import Refiner
from designkit.algorithms.sampling._guided import PositiveTemperature

if TYPE_CHECKING:
    from torch import Tensor

    from designkit.algorithms.refinement._drafts import Drafts
    from designkit.algorithms.refinement._pairs import Pairs
    from designkit.algorithms.refinement.base import Archive, Brief, Population
    from designkit.algorithms.sampling.base import Sampler
    from designkit.models.base import DiffusionModel
    from designkit.randomness import Noise


class MH(Refiner):
    """Settings of Metropolis-Hastings.

    Attributes:
        population: chains of each lineage.
        sampler: unguided; other samplers would change the law.
        temperature: alpha of the law p(x) exp(r(x) / alpha), in units of the reward; a fifth of
            the reward's standard deviation under the prior when not given, ``auto`` measures one.
        fraction: largest share of the positions that a child has drawn anew; their number is
            drawn from 1 up, the logarithm uniform.
        span: share of children whose positions are neighbours; those of the others are scattered.
    """

    temperature: PositiveTemperature | None = None
    fraction: float = Field(default=0.2, gt=0, le=1)
    span: float = Field(default=0.5, ge=0, le=1)

    def inner(self) -> Sampler:
        """See ``Refiner.inner``.

        Raises:
            UsageError: a sampler that is guided.
        """
        found = super().inner()
        if found.needs_reward:
            from designkit.errors import UsageError

            raise UsageError("method mh: its chains need an unguided sampler, such as ancestral")
        return found

    def rounds(
        self,
        model: DiffusionModel,
        archive: Archive,
        population: Population,
        brief: Brief,
        noise: Noise,
    ) -> Iterator[Population]:
        """See ``Refiner.rounds``."""
        # A guard would change the law of children; those that break a constraint are refused.
        brief = replace(brief, guard=lambda length: None)
        return chains(self, model, archive, population, brief, noise, self.accepts)

    def accepts(self, rewards: Tensor, children: Tensor, noise: Noise) -> Tensor:
        """(N,) bool, who is followed by its child.

        Args:
            rewards: (N,) float64, -inf for "no score".
            children: (N,) theirs.
            noise: of the N chains.
        """
        assert isinstance(self.temperature, float | int)
        gain = (children - rewards) / self.temperature
        # -inf minus -inf: neither has a score.
        return (noise.uniform("accept").log() < gain) | (children >= rewards)

    def drafts(self, model: DiffusionModel, pairs: Pairs, brief: Brief, noise: Noise) -> Drafts:
        """The children before they are decoded."""
        changeable = changeable_of(pairs.parents, brief)
        count = between(noise, "count", (self.fraction * changeable.sum(1)).long().clamp(min=1))
        is_run = noise.uniform("is-run") < self.span
        chosen = run(noise, changeable, count).where(
            is_run[:, None], scattered(noise, changeable, count)
        )
        return pairs.drafts(pairs.parents.tokens, chosen)

    def calls_per_round(self, length: int, letters: int) -> tuple[int, int]:
        """A denoiser row for each position, a reward for each chain."""
        found = max(1, int(self.fraction * length))
        return self.population * self.inner().calls_per_design(found)[0], self.population
