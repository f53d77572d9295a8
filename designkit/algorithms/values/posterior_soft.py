"""Posterior soft: the reward of the model's guess itself, letter probabilities instead of letters.

The reward's relaxed score of p(x_0 | x_s), position by position (Chung et al. 2023, arXiv
2209.14687, "diffusion posterior sampling", for discrete letters). One reward row a state; only for
differentiable rewards; exact for rewards that are sums over positions and small differences of
value, biased otherwise. Bounds are not seen until a sequence is finished: what has no mask left is
worth its reward.
"""

from __future__ import annotations

from designkit.algorithms.values.base import Objective, States, ValueEstimator, Values


class PosteriorSoft(ValueEstimator):
    """Relaxed reward of the guess."""

    @property
    def needs_gradient(self) -> bool:
        """Rewards that are not differentiable have no relaxed score."""
        return True

    @property
    def completes(self) -> bool:
        """No."""
        return False

    def values(self, reward: Objective, states: States, temperature: float) -> Values:
        """See ``ValueEstimator.values``; the temperature does not matter."""
        import torch

        probs = states.x_0_probs
        finished = (probs.amax(-1) == 1).all(1)
        values = torch.zeros(len(probs), dtype=torch.float64, device=probs.device)
        if finished.any():
            values[finished] = reward.values(probs[finished].argmax(-1))
        if not finished.all():
            values[~finished] = reward.score_relaxed(probs[~finished]).double()
        return Values(values)
