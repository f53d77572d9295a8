"""Populations of weighted particles: what SMC and nested importance sampling share."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from pydantic import Field

from designkit.algorithms.sampling._guided import GuidedSampler, PositiveTemperature
from designkit.algorithms.sampling.base import Children, Designs, Request, without_nan
from designkit.algorithms.values.base import Objective

if TYPE_CHECKING:
    from torch import Tensor

    from designkit.models.base import DiffusionModel
    from designkit.randomness import Noise


class ParticleSampler(GuidedSampler):
    """Settings of the methods that decode populations, besides those of ``GuidedSampler``.

    Attributes:
        particles: N, designs of a population; they are decoded together and share ancestors.
        threshold: resample when the effective size is below this share of the particles.
    """

    particles: int = Field(default=64, ge=2)
    temperature: PositiveTemperature | None = None
    threshold: float = Field(default=0.5, ge=0, le=1)

    @property
    def population(self) -> int:
        """Designs that are decoded together."""
        return self.particles

    def sample(
        self, model: DiffusionModel, reward: Objective | None, request: Request, noise: Noise
    ) -> Designs:
        """See ``Sampler.sample``; the rows are whole populations."""
        assert reward is not None
        particles = Particles(noise, self.particles)
        steps = self.steps_for(request.free)

        def resample(step: int) -> Tensor:
            heat = self.temperature_at(step, steps)
            return particles.resample(step, heat, self.threshold, last=step == steps - 1)

        tokens = self.follow(model, reward, request, noise, particles.advance, resample=resample)
        each = particles.log_normalizer.repeat_interleave(self.particles)
        return Designs(tokens, {"log_normalizer": each})


class Particles:
    """The weights of P populations of N particles while they are decoded.

    A particle's weight since the last resampling is exp(its potential now minus that of its
    ancestor then); what resampling averages away goes into the normaliser. Whatever the potentials
    of the steps between, the last one is reward / temperature, so that the product of the mean
    weights is an unbiased estimate of E[exp(reward / temperature)] under the model (Del Moral 2004,
    "Feynman-Kac formulae", sec. 7.4).

    Args:
        noise: of the P * N rows; population by population.
        size: N.

    Attributes:
        log_normalizer: (P,) float64, log of the estimate so far.
    """

    def __init__(self, noise: Noise, size: int):
        import torch

        self._noise = noise
        self._shape = (len(noise.item) // size, size)
        zeros = torch.zeros(self._shape, dtype=torch.float64, device=noise.item.device)
        self._value, self._potential, self._log_weight = zeros, zeros.clone(), zeros.clone()
        self.log_normalizer = zeros[:, 0].clone()

    def advance(self, children: Children, temperature: float) -> Tensor:
        """Choose a child for each particle that moves, and weigh the choice.

        A child is chosen in proportion to exp(value / temperature) times the model's probability
        of it over the proposal's; the weight grows by the mean of these over the children, and
        what the particle was worth before is taken off. A child without a score counts, until the
        last step, as the lowest value of the population, as it is not finished yet.

        Args:
            children: of the particles that move; all do in the first and the last step.
            temperature: of this step.

        Returns:
            (A,) int64 in 0..A*M-1, the child of each particle.
        """
        import torch

        from designkit.diffusion.base import categorical

        rows, values = children.rows, without_nan(children.values)
        if not children.last:
            values = values.where(~values.isneginf(), self._lowest(values, rows)[:, None])
        potentials = values / temperature
        logs = potentials + children.log_ratio
        best = logs.amax(1, keepdim=True)
        # -inf minus -inf: no child of the row has a score, all are as good.
        weights = (logs - best).exp().nan_to_num(1.0)
        kept = categorical(weights, children.noise.uniform("select"))
        gained = logs.logsumexp(1) - math.log(values.shape[1])
        self._log_weight.view(-1)[rows] += gained - self._potential.view(-1)[rows]
        self._value.view(-1)[rows] = values.gather(1, kept[:, None]).squeeze(1)
        self._potential.view(-1)[rows] = potentials.gather(1, kept[:, None]).squeeze(1)
        return torch.arange(len(rows), device=rows.device) * values.shape[1] + kept

    def resample(self, step: int, temperature: float, threshold: float, *, last: bool) -> Tensor:
        """Resample populations whose effective size is below ``threshold`` times N.

        Systematic resampling: one uniform number a population, each particle's offspring at most
        one away from its expectation (Kitagawa 1996, J Comput Graph Stat 5:1). After the last step
        every population is resampled and shuffled, so that its designs are exchangeable and any
        part of them stands for the whole.

        Args:
            step: of the noise.
            temperature: of this step, for the particles that did not move in it too.
            threshold: 0 to 1.
            last: whether this is the last step.

        Returns:
            (P * N,) int64, the particle that goes on in each place.
        """
        import torch

        populations, size = self._shape
        noise = self._noise.at(step)
        potential = self._value / temperature
        # A particle that ended has -inf in both, and its weight says so already.
        self._log_weight += (potential - self._potential).nan_to_num(0.0)
        best = self._log_weight.amax(1, keepdim=True)
        # No particle has a score: all are as good.
        weights = (self._log_weight - best).exp().nan_to_num(1.0)
        share = weights / weights.sum(1, keepdim=True)
        needed = 1 / share.square().sum(1, keepdim=True) < threshold * size  # (P, 1)
        needed |= torch.full_like(needed, last)
        places = torch.arange(size, device=share.device)
        points = (places + noise.uniform("resample").view(self._shape)[:, :1]) / size
        ladder = share.cumsum(1)
        chosen = torch.searchsorted(ladder / ladder[:, -1:], points).clamp(max=size - 1)
        chosen = torch.where(needed, chosen, places)
        if last:
            chosen = chosen.gather(1, noise.uniform("place").view(self._shape).argsort(1))
        mean = best.squeeze(1) + weights.mean(1).log()
        self.log_normalizer += torch.where(needed.squeeze(1), mean, torch.zeros_like(mean))
        self._value = self._value.gather(1, chosen)
        self._potential = potential.gather(1, chosen)
        self._log_weight = self._log_weight.masked_fill(needed, 0.0)
        first = torch.arange(populations, device=share.device)[:, None] * size
        return (first + chosen).view(-1)

    def _lowest(self, values: Tensor, rows: Tensor) -> Tensor:
        """The lowest value (A,) in the populations of some particles; 0 where there is none."""
        finite = values.masked_fill(values.isneginf(), math.inf).amin(1)
        known = self._value.view(-1).index_copy(0, rows, finite).view(self._shape)
        lowest = known.masked_fill(known.isneginf(), math.inf).amin(1)
        found: Tensor = lowest.masked_fill(lowest.isinf(), 0.0)[rows // self._shape[1]]
        return found
