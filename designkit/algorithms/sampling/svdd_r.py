"""SVDD-R: SVDD in a population, whose worst members make way for the best in every step.

Each member chooses among its M children as in SVDD (Li et al. 2024, arXiv 2408.08252, which
resamples a share of 0.03 to 0.05 across the batch). Then a share of the members is given up: at
temperature 0 those with the lowest values, for copies of those with the highest; above 0 they are
drawn in proportion to exp(-v / temperature), and those that are copied in proportion to
exp(v / temperature), both without putting back. The last step replaces none, as finished copies are
of no use. Temperature 0 gives the best clean sequence that was scored for each design, no two of a
population the same.

The population is drawn towards the reward twice, by the choice among children and by the
replacement: 1 / temperature counts more than once, and the designs do not follow
p(x) exp(r(x) / temperature). It is an optimiser; ``smc`` and ``nested_is`` are the samplers.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from pydantic import Field

from designkit.algorithms.sampling._archive import DistinctBest, ranked
from designkit.algorithms.sampling._guided import GuidedSampler, Temperature, choose
from designkit.algorithms.sampling.base import Children, Designs, Request, without_nan

if TYPE_CHECKING:
    from torch import Tensor

    from designkit.algorithms.values.base import Objective
    from designkit.models.base import DiffusionModel
    from designkit.randomness import Noise


class SVDDR(GuidedSampler):
    """Settings of SVDD-R, besides those of ``GuidedSampler``.

    Attributes:
        particles: N, designs of a population; they are decoded together and share ancestors.
        candidates: M, children of each state in each step.
        resampled: the share of a population that is replaced in each step, rounded up.
        temperature: in units of the reward; 0 is greedy, ``auto`` measures one.
    """

    particles: int = Field(default=16, ge=2)
    candidates: int = Field(default=10, ge=1)
    resampled: float = Field(default=0.05, ge=0, le=0.5)
    temperature: Temperature = 0.0

    @property
    def children(self) -> int:
        """M."""
        return self.candidates

    @property
    def population(self) -> int:
        """Designs that are decoded together."""
        return self.particles

    def sample(
        self, model: DiffusionModel, reward: Objective | None, request: Request, noise: Noise
    ) -> Designs:
        """See ``Sampler.sample``; the rows are whole populations."""
        assert reward is not None
        greedy = self.alpha == 0
        best = DistinctBest(noise.item, self.particles, request) if greedy else None
        tokens = self.follow(model, reward, request, noise, self.select, best=best, coupled=True)
        return Designs(tokens if best is None else best.instead_of(tokens))

    def select(self, children: Children, temperature: float) -> Tensor:
        """The child that goes on in the place of each state.

        Args:
            children: of A states, whole populations.
            temperature: of this step.

        Returns:
            (A,) int64 in 0..A*M-1.
        """
        import torch

        kept = choose(children.values, children.log_ratio, temperature, children.noise)
        count, candidates = children.values.shape
        flat = torch.arange(count, device=kept.device) * candidates + kept
        if children.last:
            return flat
        values = without_nan(children.values).gather(1, kept[:, None])
        order = self.replaced(values.view(-1, self.particles), temperature, children.noise)
        return flat.view(-1, self.particles).gather(1, order).flatten()

    def replaced(self, values: Tensor, temperature: float, noise: Noise) -> Tensor:
        """Which member of its population is in each place after the replacement.

        Args:
            values: (P, N) float64; -inf for "no score".
            temperature: 0 copies the best in the places of the worst.
            noise: of the P * N members.

        Returns:
            (P, N) int64 in 0..N-1.
        """
        import torch

        count = math.ceil(self.resampled * self.particles - 1e-9)
        upward, downward = values, -values
        if temperature:
            upward, downward = values / temperature, -values / temperature
            upward = upward - noise.uniform("copied").log().neg().log().view_as(values)
            downward = downward - noise.uniform("replaced").log().neg().log().view_as(values)
        places = torch.arange(self.particles, device=values.device).expand_as(values)
        return places.scatter(1, ranked(downward)[:, :count], ranked(upward)[:, :count])
