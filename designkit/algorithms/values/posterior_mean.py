"""Posterior mean: the reward of the model's best guess of the clean sequence.

SVDD-PM of Li et al. 2024, "Derivative-free guidance in continuous and discrete diffusion models
with soft value-based decoding", arXiv 2408.08252, sec. 4.2: v(x_s) is approximated by r(x_0) at the
most probable letter of every masked position. One reward row a state; neither a sample nor a mean,
hence biased, most of all while much is masked.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from designkit.algorithms.values.base import Objective, ValueEstimator

if TYPE_CHECKING:
    from torch import Tensor

    from designkit.randomness import Noise


class PosteriorMean(ValueEstimator):
    """Reward of the most probable completion."""

    def values(
        self, reward: Objective, x_s: Tensor, x_0_probs: Tensor, temperature: float, noise: Noise
    ) -> Tensor:
        """See ``ValueEstimator.values``; temperature and noise do not matter."""
        return reward.values(x_0_probs.argmax(-1))
