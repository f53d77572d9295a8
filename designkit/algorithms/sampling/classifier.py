"""Classifier guidance: each step draws letters in proportion to p(letter) exp(scale * v / alpha).

For a reward that is a log-probability log p(y | x) and temperature 1 this draws from the posterior
p(x | y); ``guidance_scale`` is its gamma (Schiff et al. 2024, arXiv 2412.10193, sec. 3.2, D-CBG).
The exact form tries every letter at every position that the step decides and asks the value
estimator for each x_t^{l<-v}, so it needs no derivative, and no training where the estimator
completes the states itself. With one position a step and the exact value the designs follow
p(x) exp(r(x) / temperature); several positions a step are tilted independently of each other.
The first-order form is one forward and one backward pass (see ``gradient``).
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from designkit.algorithms.sampling._candidates import CandidateSampler
from designkit.algorithms.sampling._gradient import GradientGuided
from designkit.algorithms.sampling._guided import GuidedSampler, Temperature, Valuer
from designkit.algorithms.sampling.base import Request, Tilt

if TYPE_CHECKING:
    from designkit.diffusion.base import X0Function
    from designkit.models.base import DiffusionModel


class Classifier(GradientGuided, CandidateSampler):
    """Settings of classifier guidance, besides those of ``CandidateSampler``, ``GradientGuided``.

    Attributes:
        form: ``exact``: the value of every letter; ``first_order``: its ``gradient``.
        temperature: 1 for rewards that are log-probabilities; 0 takes the best letter.
    """

    form: Literal["exact", "first_order"] = "exact"
    candidates: int = Field(default=1, ge=1)
    temperature: Temperature = 1.0

    @property
    def needs_gradient(self) -> bool:
        """The first-order form does, where the gradient is not ``learned``."""
        if self.form == "first_order":
            return super().needs_gradient
        return self.estimator().needs_gradient

    def guesses(self, model: DiffusionModel) -> X0Function | None:
        """What was tried and is kept is not computed again."""
        if self.form == "first_order":
            return None
        from designkit.algorithms.sampling._tilts import RememberedGuesses

        return RememberedGuesses(partial(self.predict, model))

    def tilt(self, model: DiffusionModel, request: Request, value: Valuer) -> Tilt | None:
        """The law of the model, or of the proposal, tilted by the value of every letter."""
        if self.form == "first_order":
            return super().tilt(model, request, value)
        from designkit.algorithms.sampling._tilts import chained, exact_tilt

        heat = partial(self.temperature_at, steps=self.steps_for(request.free))
        own = exact_tilt(
            value, model.process, heat, self.guidance_scale, needs_guess=value.needs_guess
        )
        return chained(GuidedSampler.tilt(self, model, request, value), own)

    def calls_per_design(self, length: int, letters: int = 4) -> tuple[int, int]:
        """Every letter of every position is a state that is valued, besides what is kept.

        On a grid, where letters may be revised in every step, of every step.
        """
        if self.form == "first_order":
            return super().calls_per_design(length, letters)
        denoiser, reward = CandidateSampler.calls_per_design(self, length, letters)
        steps, value, tried = self.steps_for(length), self.estimator(), length * letters
        own = max(value.denoiser_rows(left) for left in range(steps + 1)) + value.needs_guess
        # The last of them are finished: where positions are decided one by one, K at most.
        tried *= steps if self.decoding == "grid" else 1
        reward += tried * value.reward_rows + letters * value.final_reward_rows
        return denoiser + tried * own, reward
