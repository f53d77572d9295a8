"""Parallel tempering: chains at rising temperatures that exchange their designs.

Each ladder has a chain of Metropolis-Hastings at every temperature alpha_1 < ... < alpha_K. After
each round neighbours i and j exchange their designs with probability
min(1, exp((1 / alpha_i - 1 / alpha_j) (r_j - r_i))), which leaves the joint law, the product of
p(x) exp(r(x) / alpha_k) over k, as it is: the prior cancels (Geyer 1991, "Markov chain Monte Carlo
maximum likelihood"; Hukushima and Nemoto 1996, doi 10.1143/JPSJ.65.1604). Hot chains cross what
cold ones cannot. Pairs that begin with an odd and an even rung take turns, so that designs travel
in one direction for long (Okabe et al. 2001, doi 10.1016/S0009-2614(01)00055-0; Syed et al. 2022,
doi 10.1111/rssb.12464).

The designs that go on are those of all rungs; the first of each ladder follow the law of alpha.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from pydantic import Field

from designkit.algorithms.refinement._metropolis import Metropolis

if TYPE_CHECKING:
    from torch import Tensor

    from designkit.algorithms.refinement.base import Archive, Brief, Population
    from designkit.models.base import DiffusionModel
    from designkit.randomness import Noise


class Ladder(Metropolis):
    """Settings of parallel tempering, besides those of ``Metropolis``.

    Attributes:
        population: ladders of each lineage; each has ``rungs`` designs, the coldest first.
        temperature: of the first rung.
        rungs: chains of a ladder.
        hottest: temperature of the last rung over that of the first; those between them rise by
            one factor.
    """

    population: int = Field(default=4, ge=1)
    rungs: int = Field(default=6, ge=1)
    hottest: float = Field(default=20.0, ge=1)

    @property
    def members(self) -> int:
        """Designs of each lineage that go on from a round."""
        return self.population * self.rungs

    def rounds(
        self,
        model: DiffusionModel,
        archive: Archive,
        population: Population,
        brief: Brief,
        noise: Noise,
    ) -> Iterator[Population]:
        """See ``Refiner.rounds``."""
        return self.chains(model, archive, population, brief, noise, self.exchanged)

    @property
    def heats(self) -> tuple[float, ...]:
        """See ``Refiner.heats``; the rungs of each ladder, the coldest first."""
        assert isinstance(self.temperature, float | int)
        each = [self.hottest ** (rung / max(1, self.rungs - 1)) for rung in range(self.rungs)]
        return tuple(float(self.temperature) * factor for factor in each) * self.population

    def heat(self, noise: Noise) -> Tensor:
        """Temperatures (N,) float64 of the N chains whose noise it is."""
        import torch

        heats = torch.tensor(self.heats[: self.rungs], dtype=torch.float64)
        return heats.to(noise.item.device)[noise.item % self.rungs]

    def exchanged(self, rewards: Tensor, noise: Noise) -> Tensor:
        """The chains (N,) whose designs each of N chains has after the exchange.

        Args:
            rewards: (N,) float64, ladder by ladder; -inf for "no score".
            noise: of the N chains, in a round.
        """
        import torch

        place = torch.arange(len(rewards))
        rung = place % self.rungs
        is_lower = (rung % 2 == noise.round % 2) & (rung + 1 < self.rungs)
        lower = place[is_lower]
        colder = 1 / self.heat(noise)
        # -inf minus -inf: neither has a score, both stay.
        gain = (colder[lower] - colder[lower + 1]) * (rewards[lower + 1] - rewards[lower])
        chosen = lower[noise.uniform("exchange")[lower].log() < gain.nan_to_num(nan=-torch.inf)]
        order = place.clone()
        order[chosen], order[chosen + 1] = chosen + 1, chosen
        return order
