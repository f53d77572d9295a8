"""Best-of-N: draw N designs, keep the one with the highest reward.

The honest baseline of every guided method: its KL divergence from the model is at most
log N - (N - 1) / N (Beirami et al. 2024, arXiv 2401.01879).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from designkit.algorithms.sampling.base import Designs, Request, Sampler, without_nan

if TYPE_CHECKING:
    from designkit.algorithms.values.base import Objective
    from designkit.models.base import DiffusionModel
    from designkit.randomness import Noise


class BestOfN(Sampler):
    """Settings of best-of-N.

    Attributes:
        candidates: N, designs drawn for each one kept.
    """

    candidates: int = Field(default=10, ge=1)

    def sample(
        self, model: DiffusionModel, reward: Objective | None, request: Request, noise: Noise
    ) -> Designs:
        """See ``Sampler.sample``."""
        assert reward is not None
        tokens = self.decode(model, request, noise.repeat(self.candidates))
        values = without_nan(reward.values(tokens)).view(-1, self.candidates)
        drawn = tokens.view(-1, self.candidates, request.length)
        best = values.argmax(1)[:, None, None].expand(-1, 1, request.length)
        return Designs(drawn.gather(1, best).squeeze(1))

    def calls_per_design(self, length: int) -> tuple[int, int]:
        """N ancestral designs and N rewards."""
        return self.candidates * self.steps_for(length), self.candidates
