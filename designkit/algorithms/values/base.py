"""The contract of a value estimator: what a half-decoded sequence is worth, in units of the reward.

The soft value is v(x_s) = temperature * log E[exp(r(x_0) / temperature) | x_s] under the model;
estimators approximate it (reward-guided decoding: Li et al. 2024, arXiv 2408.08252).
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, Protocol

from pydantic import AfterValidator

from designkit import plugins
from designkit.errors import DesignkitError
from designkit.settings import Layer, Settings, validate

if TYPE_CHECKING:
    from torch import Tensor

    from designkit.randomness import Noise


class Objective(Protocol):
    """The reward as a sampler sees it: ``RewardEngine`` is one."""

    def values(self, tokens: Tensor) -> Tensor:
        """Rewards (N,) float64 of clean tokens (N, L); -inf where there is no score."""
        ...

    def score_relaxed(self, probs: Tensor, valid: Tensor | None = None) -> Tensor:
        """Rewards (N,) of letter probabilities (N, L, K); refused where there is no such score."""
        ...


class ValueEstimator(Settings):
    """Base of the value estimators."""

    @property
    def reward_rows(self) -> int:
        """Reward rows that one state takes at most."""
        return 1

    @abstractmethod
    def values(
        self, reward: Objective, x_s: Tensor, x_0_probs: Tensor, temperature: float, noise: Noise
    ) -> Tensor:
        """Estimated values.

        Args:
            reward: of clean sequences.
            x_s: (N, L) noisy tokens.
            x_0_probs: (N, L, K) the model's guess of the clean letters, given x_s.
            temperature: of the soft value; 0 is the limit of greedy decoding.
            noise: of the N states.

        Returns:
            (N,) float64.
        """


def estimator(value: str | Mapping[str, Any]) -> ValueEstimator:
    """The value estimator of a name, or of a mapping with its ``name`` and settings.

    Raises:
        UsageError: there is none of that name.
        ConfigurationError: settings that it does not have.
    """
    fields = {"name": value} if isinstance(value, str) else dict(value)
    plugin = plugins.find("designkit.values", str(fields.pop("name", "posterior_mean")))
    found: ValueEstimator = validate(plugin, Layer("value", fields), "value")
    return found


def reward_rows(value: str | Mapping[str, Any]) -> int:
    """Reward rows that an estimator takes for one state at most."""
    return estimator(value).reward_rows


def checked_value(value: Any) -> Any:
    """``value`` as it is, if it makes an estimator; for validators of settings.

    Raises:
        ValueError: it makes none.
    """
    if isinstance(value, str | dict):
        try:
            estimator(value)
        except DesignkitError as problem:
            raise ValueError(str(problem)) from problem
    return value


ValueName = Annotated[str | dict[str, Any], AfterValidator(checked_value)]
"""A setting that names a value estimator, alone or with its settings."""
