"""Nested importance sampling: SMC whose particles choose among M children in every step.

A particle draws M children from the model and keeps one with probability proportional to
exp(v / temperature), as SVDD does; its weight grows by the mean of these factors over exp of its
own value, so that the choice is paid for. Resampling the particles is as in SMC (Naesseth et al.
2015, arXiv 1502.02536; Li et al. 2025, arXiv 2501.09685, sec. 4.3).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from designkit.algorithms.sampling._particles import Particles, log_mean, tempered
from designkit.algorithms.sampling.base import Designs, Request, Sampler, without_nan
from designkit.algorithms.values.base import Objective, ValueName, estimator

if TYPE_CHECKING:
    from torch import Tensor

    from designkit.models.base import DiffusionModel
    from designkit.randomness import Noise


class NestedIS(Sampler):
    """Settings of nested importance sampling.

    Attributes:
        particles: N, designs of a population; they are decoded together and share ancestors.
        candidates: M, children of each particle in each step.
        temperature: alpha of the target p(x) exp(r(x) / alpha), in units of the reward; where it is
            not given, a fifth of the reward's standard deviation under the model.
        threshold: resample when the effective size is below this share of the particles; 1 always.
        tempering: how many times as high the temperature is at first; it falls to its value
            half way.
        value: name of the value estimator, or its ``name`` and settings.
    """

    particles: int = Field(default=16, ge=2)
    candidates: int = Field(default=8, ge=1)
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
        from designkit.diffusion.base import categorical

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
            values = without_nan(values)
            potentials = values / heat(step)
            weights = (potentials - potentials.amax(1, keepdim=True)).exp().nan_to_num(1.0)
            kept = categorical(weights, noise.rows(active).at(step).uniform("select"))
            value = values.gather(1, kept[:, None]).squeeze(1)
            last = step == steps - 1
            particles.advance(log_mean(potentials), value, heat(step), active, last=last)
            return kept

        def resample(step: int) -> Tensor:
            threshold = 2.0 if step == steps - 1 else self.threshold
            return particles.resample(step, heat(step), threshold)

        tokens = self.decode(
            model,
            request,
            noise,
            candidates=self.candidates,
            value=worth,
            select=select,
            resample=resample,
        )
        each = particles.log_normalizer.repeat_interleave(self.particles)
        return Designs(tokens, {"log_normalizer": each})

    def calls_per_design(self, length: int) -> tuple[int, int]:
        """One denoiser row at the start, then M a step but the last; M rewards a step."""
        steps = self.steps_for(length)
        return 1 + self.candidates * (steps - 1), self.candidates * steps
