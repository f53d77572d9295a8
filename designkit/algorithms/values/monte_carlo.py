"""Monte Carlo: the soft mean of the rewards of random completions.

v(x_s) is approximated by temperature * log of the mean of exp(r(x_0) / temperature) over k
completions x_0 whose letters are drawn from the model's guess independently of each other (Li et
al. 2025, arXiv 2501.09685, sec. 3). k reward rows a state; what positions say of each other is left
out, so it is exact where at most one position is masked, for k to infinity.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from designkit.algorithms.values._completions import soft_mean
from designkit.algorithms.values.base import Objective, States, ValueEstimator, Values

if TYPE_CHECKING:
    pass


class MonteCarlo(ValueEstimator):
    """Soft mean over random completions.

    Attributes:
        completions: k, of each state.
    """

    completions: int = Field(default=4, ge=1)

    @property
    def reward_rows(self) -> int:
        """K."""
        return self.completions

    def values(self, reward: Objective, states: States, temperature: float) -> Values:
        """See ``ValueEstimator.values``; temperature 0 takes the best completion."""
        import torch

        from designkit.diffusion.base import categorical

        length = states.tokens.shape[1]
        drawn = torch.stack(
            [
                categorical(states.x_0_probs, states.noise.uniform(f"completion {k}", length))
                for k in range(self.completions)
            ]
        )  # (k, N, L)
        rewards = reward.values(drawn.flatten(0, 1)).view(self.completions, -1)
        return soft_mean(drawn, rewards, temperature)
