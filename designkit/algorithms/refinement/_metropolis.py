"""What the refiners share whose chains draw positions anew and accept by the reward."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

from pydantic import Field

from designkit.algorithms.refinement._chains import Exchange, chains
from designkit.algorithms.refinement._positions import between, run, scattered
from designkit.algorithms.refinement._variation import changeable_of, with_partners
from designkit.algorithms.refinement.base import Refiner
from designkit.algorithms.sampling._guided import PositiveTemperature
from designkit.errors import UsageError

if TYPE_CHECKING:
    from torch import Tensor

    from designkit.algorithms.refinement._drafts import Drafts
    from designkit.algorithms.refinement._pairs import Pairs
    from designkit.algorithms.refinement.base import Archive, Brief, Population
    from designkit.algorithms.sampling.base import Sampler
    from designkit.models.base import DiffusionModel
    from designkit.randomness import Noise


class Metropolis(Refiner):
    """Settings of these methods, besides those of ``Refiner``.

    Attributes:
        population: chains of each lineage.
        sampler: unguided, and with the prior's own probabilities; others would change the law.
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
            UsageError: a sampler whose draws do not follow the prior.
        """
        found = super().inner()
        if not found.keeps_law:
            name = type(self).__name__.lower()
            raise UsageError(
                f"method {name}: its chains need an unguided sampler that draws from the prior as "
                "it is: ancestral, without denoiser_temperature, top_p or order"
            )
        return found

    @property
    def follows_law(self) -> bool:
        """It is what the methods are for."""
        return True

    def chains(
        self,
        model: DiffusionModel,
        archive: Archive,
        population: Population,
        brief: Brief,
        noise: Noise,
        exchange: Exchange | None = None,
    ) -> Iterator[Population]:
        """The rounds of the chains; ``exchange`` follows each of them."""
        # A guard would change the law of children; those that break a constraint are refused.
        brief = replace(brief, guard=lambda length: None)
        return chains(self, model, archive, population, brief, noise, self.accepts, exchange)

    @property
    def heats(self) -> tuple[float, ...]:
        """See ``Refiner.heats``."""
        assert isinstance(self.temperature, float | int)
        return (float(self.temperature),) * self.members

    def heat(self, noise: Noise) -> float | Tensor:
        """Temperature of all chains, or (N,) of each."""
        assert isinstance(self.temperature, float | int)
        return float(self.temperature)

    def accepts(self, rewards: Tensor, children: Tensor, noise: Noise) -> Tensor:
        """(N,) bool, who is followed by its child.

        Args:
            rewards: (N,) float64, -inf for "no score".
            children: (N,) theirs.
            noise: of the N chains.
        """
        gain = (children - rewards) / self.heat(noise)
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
        return pairs.drafts(pairs.parents.tokens, with_partners(model, chosen, changeable))

    def calls_per_round(self, length: int, letters: int) -> tuple[int, int]:
        """A denoiser row for each position, a reward for each chain."""
        found = max(1, int(self.fraction * length))
        return self.members * self.inner().calls_per_design(found)[0], self.members
