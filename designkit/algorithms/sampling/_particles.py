"""Populations of weighted particles: what SMC and nested importance sampling share."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from pydantic import Field

from designkit.algorithms.sampling.base import Designs, Request, Sampler, without_nan
from designkit.algorithms.values.base import Objective, ValueName, estimator, reward_rows

if TYPE_CHECKING:
    from torch import Tensor

    from designkit.models.base import DiffusionModel
    from designkit.randomness import Noise


class ParticleSampler(Sampler):
    """Settings of the methods that decode populations.

    Attributes:
        particles: N, designs of a population; they are decoded together and share ancestors.
        temperature: alpha of the target p(x) exp(r(x) / alpha), in units of the reward; where it is
            not given, a fifth of the reward's standard deviation under the model.
        threshold: resample when the effective size is below this share of the particles.
        tempering: how many times as high the temperature is at first; it falls to its value
            half way.
        value: name of the value estimator, or its ``name`` and settings.
    """

    particles: int = Field(default=64, ge=2)
    temperature: float | None = Field(default=None, gt=0)
    threshold: float = Field(default=0.5, ge=0, le=1)
    tempering: float = Field(default=1.0, ge=1)
    value: ValueName = "posterior_mean"

    @property
    def population(self) -> int:
        """Designs that are decoded together."""
        return self.particles

    @property
    def children(self) -> int:
        """M, among which each particle chooses in a step."""
        return 1

    def sample(
        self, model: DiffusionModel, reward: Objective | None, request: Request, noise: Noise
    ) -> Designs:
        """See ``Sampler.sample``; the rows are whole populations."""
        assert reward is not None
        assert self.temperature is not None
        objective, temperature, valued = reward, self.temperature, estimator(self.value)
        particles = Particles(noise, self.particles)
        steps = self.steps_for(request.length)

        def worth(x_s: Tensor, x_0_probs: Tensor, rows: Noise) -> Tensor:
            return valued.values(objective, x_s, x_0_probs, temperature, rows)

        def select(values: Tensor, step: int, active: Tensor) -> Tensor:
            heat = tempered(temperature, self.tempering, step, steps)
            return particles.advance(values, heat, active, step, last=step == steps - 1)

        def resample(step: int) -> Tensor:
            heat = tempered(temperature, self.tempering, step, steps)
            return particles.resample(step, heat, self.threshold, last=step == steps - 1)

        tokens = self.decode(
            model,
            request,
            noise,
            candidates=self.children,
            value=worth,
            select=select,
            resample=resample,
        )
        each = particles.log_normalizer.repeat_interleave(self.particles)
        return Designs(tokens, {"log_normalizer": each})

    def calls_per_design(self, length: int) -> tuple[int, int]:
        """M denoiser rows a step, one for the first, and as many values as states."""
        steps = self.steps_for(length)
        # At the first and the last step every particle is valued, whether it moved or not.
        valued = self.children * steps * reward_rows(self.value)
        return 1 + self.children * (steps - 1), valued


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

    def advance(
        self, values: Tensor, temperature: float, rows: Tensor, step: int, *, last: bool
    ) -> Tensor:
        """Choose a child for each particle that moves, and weigh the choice.

        A child is chosen in proportion to exp(value / temperature); the weight grows by the mean of
        these over the children, and what the particle was worth before is taken off.

        Args:
            values: (A, M) of the children; NaN or -inf for "no score". Until the last step that
                counts as the lowest value of the population, as the child is not finished yet.
            temperature: of this step.
            rows: (A,) which of the P * N particles move; all do in the first and the last step.
            step: of the noise.
            last: whether the children are finished.

        Returns:
            (A,) int64, the child of each particle.
        """
        from designkit.diffusion.base import categorical

        values = without_nan(values)
        if not last:
            values = values.where(~values.isneginf(), self._lowest(values, rows)[:, None])
        potentials = values / temperature
        best = potentials.amax(1, keepdim=True)
        # -inf minus -inf: no child of the row has a score, all are as good.
        weights = (potentials - best).exp().nan_to_num(1.0)
        kept = categorical(weights, self._noise.rows(rows).at(step).uniform("select"))
        gained = potentials.logsumexp(1) - math.log(values.shape[1])
        self._log_weight.view(-1)[rows] += gained - self._potential.view(-1)[rows]
        self._value.view(-1)[rows] = values.gather(1, kept[:, None]).squeeze(1)
        self._potential.view(-1)[rows] = potentials.gather(1, kept[:, None]).squeeze(1)
        return kept

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


def tempered(temperature: float, tempering: float, step: int, steps: int) -> float:
    """Temperature of a step: ``tempering`` times as high at first, and from half way as it is."""
    done = min(1.0, 2 * (step + 1) / steps)
    return float(temperature * tempering ** (1 - done))
