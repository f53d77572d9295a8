"""Ancestral sampling: draw from the model as it was trained, without a reward.

The sampler of masked diffusion (Sahoo et al. 2024, arXiv 2406.07524, sec. 4).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from designkit.algorithms.sampling.base import Designs, Request, Sampler

if TYPE_CHECKING:
    from designkit.algorithms.values.base import Objective
    from designkit.models.base import DiffusionModel
    from designkit.randomness import Noise


class Ancestral(Sampler):
    """Settings of ancestral sampling."""

    @property
    def needs_reward(self) -> bool:
        """A reward is recorded where there is one, never used."""
        return False

    def sample(
        self, model: DiffusionModel, reward: Objective | None, request: Request, noise: Noise
    ) -> Designs:
        """See ``Sampler.sample``."""
        return Designs(self.decode(model, request, noise))

    def calls_per_design(self, length: int, letters: int = 4) -> tuple[int, int]:
        """One denoiser row a step."""
        return self.steps_for(length), 0
