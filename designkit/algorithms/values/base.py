"""The contract of a value estimator: what a half-decoded sequence is worth, in units of the reward.

The soft value is v(x_s) = temperature * log E[exp(r(x_0) / temperature) | x_s] under the model;
estimators approximate it (reward-guided decoding: Li et al. 2024, arXiv 2408.08252).
"""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, Protocol

from designkit import plugins
from designkit.settings import Layer, Settings, validate

if TYPE_CHECKING:
    from torch import Tensor


class Objective(Protocol):
    """The reward as a sampler sees it: ``RewardEngine`` is one."""

    def values(self, tokens: Tensor) -> Tensor:
        """Rewards (N,) float64 of clean tokens (N, L); -inf where there is no score."""
        ...


class ValueEstimator(Settings):
    """Base of the value estimators."""

    @abstractmethod
    def values(
        self, reward: Objective, x_s: Tensor, x_0_probs: Tensor, temperature: float
    ) -> Tensor:
        """Estimated values.

        Args:
            reward: of clean sequences.
            x_s: (N, L) noisy tokens.
            x_0_probs: (N, L, K) the model's guess of the clean letters, given x_s.
            temperature: of the soft value; 0 is the limit of greedy decoding.

        Returns:
            (N,) float64.
        """


def estimator(name: str) -> ValueEstimator:
    """The value estimator of a name, with its default settings.

    Raises:
        UsageError: there is none.
    """
    found: ValueEstimator = validate(plugins.find("designkit.values", name), Layer("value"))
    return found
