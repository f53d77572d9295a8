"""Best-of-N: draw N designs, keep the one with the highest reward, or one in proportion.

The honest baseline of every guided method: its KL divergence from the model is at most
log N - (N - 1) / N (Beirami et al. 2024, arXiv 2401.01879). With a temperature one design is kept
with probability proportional to exp(reward / temperature): soft best-of-N, self-normalised
importance sampling of p(x) exp(r(x) / temperature), exact for N to infinity (Verdun et al. 2025,
arXiv 2505.03156).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from designkit.algorithms.sampling._guided import Temperature
from designkit.algorithms.sampling.base import Designs, Request, Sampler, without_nan

if TYPE_CHECKING:
    from designkit.algorithms.values.base import Objective
    from designkit.models.base import DiffusionModel
    from designkit.randomness import Noise


class BestOfN(Sampler):
    """Settings of best-of-N.

    Attributes:
        candidates: N, designs drawn for each one kept.
        temperature: alpha of the target p(x) exp(r(x) / alpha), in units of the reward; 0 keeps
            the best, ``auto`` measures one.
    """

    candidates: int = Field(default=10, ge=1)
    temperature: Temperature = 0.0

    def sample(
        self, model: DiffusionModel, reward: Objective | None, request: Request, noise: Noise
    ) -> Designs:
        """See ``Sampler.sample``."""
        from designkit.diffusion.base import categorical

        assert reward is not None
        assert isinstance(self.temperature, float | int)
        tokens = self.decode(model, request, noise.repeat(self.candidates))
        values = without_nan(reward.values(tokens))
        if request.guard is not None:
            values = values.where(request.guard.holds(tokens), -float("inf"))
        values = values.view(-1, self.candidates)
        drawn = tokens.view(-1, self.candidates, request.length)
        kept = values.argmax(1)
        if self.temperature:
            scaled = (values - values.amax(1, keepdim=True)) / self.temperature
            # -inf minus -inf: no draw of the row has a score, all are as good.
            kept = categorical(scaled.exp().nan_to_num(1.0), noise.uniform("select"))
        return Designs(drawn.gather(1, kept[:, None, None].expand(-1, 1, request.length))[:, 0])

    def within(self, length: int, rewards: int, letters: int = 4) -> Sampler:
        """The best of as many as there are rewards."""
        return self.largest(rewards, rewards, length, letters, "candidates")

    def calls_per_design(self, length: int, letters: int = 4) -> tuple[int, int]:
        """N ancestral designs and N rewards."""
        return self.candidates * self.steps_for(length), self.candidates
