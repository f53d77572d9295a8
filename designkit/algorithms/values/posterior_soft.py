"""Posterior soft: the reward of the model's guess itself, letter probabilities instead of letters.

The reward's relaxed score of p(x_0 | x_s), position by position (Chung et al. 2023, arXiv
2209.14687, "diffusion posterior sampling", for discrete letters). One reward row a state; only for
differentiable rewards; exact for rewards that are sums over positions and small differences of
value, biased otherwise. Bounds are not seen until a sequence is finished: what has no mask left is
worth its reward.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from designkit.algorithms.values.base import Objective, ValueEstimator

if TYPE_CHECKING:
    from torch import Tensor

    from designkit.randomness import Noise


class PosteriorSoft(ValueEstimator):
    """Relaxed reward of the guess."""

    def values(
        self, reward: Objective, x_s: Tensor, x_0_probs: Tensor, temperature: float, noise: Noise
    ) -> Tensor:
        """See ``ValueEstimator.values``; temperature and noise do not matter."""
        import torch

        finished = (x_0_probs.amax(-1) == 1).all(1)
        values = torch.zeros(len(x_s), dtype=torch.float64, device=x_s.device)
        if finished.any():
            values[finished] = reward.values(x_0_probs[finished].argmax(-1))
        if not finished.all():
            values[~finished] = reward.score_relaxed(x_0_probs[~finished]).double()
        return values
