"""Monte Carlo: the soft mean of the rewards of random completions.

v(x_s) is approximated by temperature * log of the mean of exp(r(x_0) / temperature) over k
completions x_0 whose letters are drawn from the model's guess independently of each other (Li et
al. 2025, arXiv 2501.09685, sec. 3). k reward rows a state; what positions say of each other is left
out, so it is exact where at most one position is masked, for k to infinity.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from pydantic import Field

from designkit.algorithms.values.base import Objective, ValueEstimator

if TYPE_CHECKING:
    from torch import Tensor

    from designkit.randomness import Noise


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

    def values(
        self, reward: Objective, x_s: Tensor, x_0_probs: Tensor, temperature: float, noise: Noise
    ) -> Tensor:
        """See ``ValueEstimator.values``; temperature 0 takes the best completion."""
        import torch

        from designkit.diffusion.base import categorical

        length = x_s.shape[1]
        drawn = [
            categorical(x_0_probs, noise.uniform(f"completion {k}", length))
            for k in range(self.completions)
        ]
        rewards = reward.values(torch.cat(drawn)).view(self.completions, -1)  # (k, N)
        if temperature == 0:
            return rewards.amax(0)
        soft = (rewards / temperature).logsumexp(0)
        return temperature * (soft - math.log(self.completions))
