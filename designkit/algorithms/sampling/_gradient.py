"""What the samplers share that tilt their proposal by gradients of the value."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from designkit.algorithms.sampling._guided import GuidedSampler, Valuer
from designkit.algorithms.sampling.base import Request, Tilt
from designkit.errors import UsageError

if TYPE_CHECKING:
    from designkit.algorithms.sampling._tilts import Changes
    from designkit.models.base import DiffusionModel


class GradientGuided(GuidedSampler):
    """Settings of these methods, besides those of ``GuidedSampler``.

    Attributes:
        gradient: where the change of value by a letter comes from: the reward's derivative at the
            model's ``guess``, or at its most probable letters (``straight_through``); the
            derivative of the reward of the guess through the ``denoiser``; or that of the value
            network of ``value=learned`` (``learned``). All but the last need a differentiable
            reward.
        guidance_scale: factor of the change over the temperature; 1 is the first-order
            approximation of the soft-optimal policy. Where the tilt is paid for by weights, more
            leaves a few particles with all the weight.
    """

    gradient: Literal["guess", "straight_through", "denoiser", "learned"] = "guess"
    guidance_scale: float = Field(default=1.0, ge=0)

    @property
    def needs_gradient(self) -> bool:
        """All forms but ``learned`` differentiate the reward."""
        return self.gradient != "learned" or super().needs_gradient

    def tilt(self, model: DiffusionModel, request: Request, value: Valuer) -> Tilt | None:
        """The law of the model, or of the proposal, tilted by the gradient."""
        from designkit.algorithms.sampling._tilts import chained, gradient_tilt

        heat = partial(self.temperature_at, steps=self.steps_for(request.free))
        own = gradient_tilt(
            self._changes(model, value),
            heat,
            self.guidance_scale,
            of_clean=self.gradient in ("guess", "straight_through"),
        )
        return chained(super().tilt(model, request, value), own)

    def _changes(self, model: DiffusionModel, value: Valuer) -> Changes:
        from designkit.algorithms.sampling import _tilts

        if self.gradient == "denoiser":
            return _tilts.denoiser_changes(value.reward, model.process)
        if self.gradient == "learned":
            relaxed = getattr(value.estimator, "relaxed_values", None)
            if relaxed is None:
                raise UsageError(
                    "gradient=learned takes the derivative of a value network: "
                    "add --set value.name=learned"
                )
            return _tilts.learned_changes(relaxed, model.process)
        return _tilts.guess_changes(value.reward, hard=self.gradient == "straight_through")

    def calls_per_design(self, length: int, letters: int = 4) -> tuple[int, int]:
        """A relaxed reward row a step besides, and through the denoiser one of its rows too."""
        denoiser, reward = super().calls_per_design(length, letters)
        steps = self.steps_for(length)
        denoiser += steps if self.gradient == "denoiser" else 0
        return denoiser, reward + (steps if self.gradient != "learned" else 0)

    def network_rows(self, length: int, letters: int = 4) -> int:
        """A row a step besides, for its gradient."""
        own = super().network_rows(length, letters)
        return own + (self.steps_for(length) if self.gradient == "learned" else 0)
