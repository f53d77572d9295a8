"""Classifier-free guidance: draw from a class of the model, and further away from all the others.

The model's guesses of the class y and of the null class are mixed at every position,

    log pi(.) = scale * log pi(. | x_t, y) + (1 - scale) * log pi(. | x_t, null) + constant,

normalised over the letters (Ho and Salimans 2022, arXiv 2207.12598; Schiff et al. 2024, arXiv
2412.10193, eq. 12, for discrete diffusion), so that positions are revealed as fast as without it.
Scale 1 draws from the class, 0 from all sequences; above 1 designs are more typical of the class
and less varied, and follow no law that could be written down. Where a process lets letters change
again, the guesses are mixed, not the laws of the steps.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from designkit.algorithms.sampling.base import Designs, Request, Sampler
from designkit.errors import UsageError

if TYPE_CHECKING:
    from torch import Tensor

    from designkit.algorithms.values.base import Objective
    from designkit.models.base import DiffusionModel
    from designkit.randomness import Noise

LEAST_LOG_PROBABILITY = -1e4
"""Of a letter that a guess rules out: finite, so that the other guess cannot turn it into NaN."""


class CFG(Sampler):
    """Settings of classifier-free guidance; the class is the model's (``--condition``).

    Attributes:
        guidance_scale: of the guess of the class, one minus it being that of the null class; 1
            is the class as it is.
    """

    guidance_scale: float = Field(default=2.0, ge=0)

    @property
    def needs_reward(self) -> bool:
        """A reward is recorded where there is one, never used."""
        return False

    @property
    def needs_condition(self) -> bool:
        """The class is what is drawn towards."""
        return True

    @property
    def keeps_law(self) -> bool:
        """Only the class as it is does."""
        return super().keeps_law and self.guidance_scale == 1

    def sample(
        self, model: DiffusionModel, reward: Objective | None, request: Request, noise: Noise
    ) -> Designs:
        """See ``Sampler.sample``."""
        return Designs(self.decode(model, request, noise))

    def guess(self, model: DiffusionModel, x_t: Tensor, t: Tensor) -> Tensor:
        """Both guesses in one call, mixed; at scales 0 and 1 the one that counts.

        Raises:
            UsageError: the model is not bound to a class.
        """
        import torch

        if model.condition is None:
            raise UsageError("cfg: the model is not bound to a class")
        own = t.new_full(t.shape, model.condition, dtype=torch.int64)
        null = torch.full_like(own, model.null_class)
        if self.guidance_scale in (0, 1):
            return model.predict_x_0(x_t, t, own if self.guidance_scale else null)
        both = model.predict_x_0(x_t.repeat(2, 1), t.repeat(2), torch.cat([own, null]))
        logs = both.double().log().clamp(min=LEAST_LOG_PROBABILITY)
        of_class, of_all = logs.chunk(2)
        mixed = of_all + self.guidance_scale * (of_class - of_all)
        return mixed.softmax(-1).to(both.dtype)

    def calls_per_design(self, length: int, letters: int = 4) -> tuple[int, int]:
        """Two denoiser rows a step; one where only one guess counts."""
        rows = 1 if self.guidance_scale in (0, 1) else 2
        return rows * self.steps_for(length), 0
