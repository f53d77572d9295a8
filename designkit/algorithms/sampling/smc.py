"""Sequential Monte Carlo: a population whose members are weighed and resampled while decoded.

Each particle takes its step from the model; its weight grows by exp((v_s - v_t) / temperature), v
being the estimated value. When the effective size falls below a share of the population, particles
are drawn anew in proportion to their weights (Wu et al. 2023, arXiv 2306.17775, with the model
itself as proposal; Li et al. 2024, arXiv 2408.08252, sec. 2.3). For many particles the designs
follow p(x) exp(r(x) / temperature), whatever the value estimator; a better one needs fewer.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from designkit.algorithms.sampling._particles import Particles, tempered
from designkit.algorithms.sampling.base import Designs, Request, Sampler, without_nan
from designkit.algorithms.values.base import Objective, ValueName, estimator

if TYPE_CHECKING:
    from torch import Tensor

    from designkit.models.base import DiffusionModel
    from designkit.randomness import Noise


class SMC(Sampler):
    """Settings of sequential Monte Carlo.

    Attributes:
        particles: N, designs of a population; they are decoded together and share ancestors.
        temperature: alpha of the target p(x) exp(r(x) / alpha), in units of the reward; where it is
            not given, a fifth of the reward's standard deviation under the model.
        threshold: resample when the effective size is below this share of the particles; 1 always.
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

    def sample(
        self, model: DiffusionModel, reward: Objective | None, request: Request, noise: Noise
    ) -> Designs:
        """See ``Sampler.sample``; the rows are whole populations."""
        assert reward is not None
        assert self.temperature is not None
        objective, valued = reward, estimator(self.value)
        particles = Particles(noise, self.particles)
        steps = self.steps_for(request.length)

        temperature = self.temperature

        def heat(step: int) -> float:
            return tempered(temperature, self.tempering, step, steps)

        def worth(x_s: Tensor, x_0_probs: Tensor, rows: Noise) -> Tensor:
            return valued.values(objective, x_s, x_0_probs, temperature, rows)

        def select(values: Tensor, step: int, active: Tensor) -> Tensor:
            found = without_nan(values[:, 0])
            last = step == steps - 1
            particles.advance(found / heat(step), found, heat(step), active, last=last)
            return active * 0

        def resample(step: int) -> Tensor:
            threshold = 2.0 if step == steps - 1 else self.threshold
            return particles.resample(step, heat(step), threshold)

        tokens = self.decode(model, request, noise, value=worth, select=select, resample=resample)
        each = particles.log_normalizer.repeat_interleave(self.particles)
        return Designs(tokens, {"log_normalizer": each})

    def calls_per_design(self, length: int) -> tuple[int, int]:
        """One denoiser row and one reward a step."""
        return self.steps_for(length), self.steps_for(length)
