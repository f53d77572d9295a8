"""Temperatures that are measured: from the rewards of designs that the prior draws unguided."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from designkit.errors import UsageError
from designkit.settings import Settings

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from designkit.rewards import RewardEngine

M = TypeVar("M", bound=Settings)
"""A sampler or a refiner."""

SHARE_OF_SPREAD = 1 / 5
_HALVINGS = 60


def is_measured(method: Settings) -> bool:
    """Whether the method's temperature has to be measured before it can run."""
    return getattr(method, "temperature", 0) in (None, "auto")


def with_temperature(method: M, engine: RewardEngine | None, effective_share: float) -> M:
    """The method with a number as its temperature.

    Where none was given it is a fifth of the reward's standard deviation over the reference;
    ``auto`` is the one at which the reference has an effective size of ``effective_share``.

    Raises:
        UsageError: all rewards of the reference are the same.
    """
    import numpy as np

    if engine is None or not is_measured(method):
        return method
    rewards = engine.reference_rewards()
    largest = float(np.abs(rewards).max()) or 1.0  # whose square may be too large a number
    spread = largest * float(np.std(rewards / largest, ddof=1))
    if not spread > 0:
        raise UsageError("the reward is the same for all designs of the prior: give --alpha")
    wanted = spread * SHARE_OF_SPREAD
    if getattr(method, "temperature", 0) == "auto":
        wanted = effective_temperature(rewards, effective_share)
    return method.model_copy(update={"temperature": float(f"{wanted:.3g}")})


def effective_temperature(rewards: NDArray[np.float64], share: float) -> float:
    """The temperature at which weights exp(reward / temperature) have a given effective size.

    The effective size (sum w)^2 / sum w^2 of N rewards grows with the temperature, from the number
    of rewards that share the highest to N (Kong 1992, Tech. Rep. 348, University of Chicago).

    Args:
        rewards: (N,), not all the same.
        share: of N, in (0, 1).

    Returns:
        The temperature, found by bisection of its logarithm; at least a millionth of the rewards'
        range where ties keep the effective size above the share.
    """
    import numpy as np

    below = rewards - rewards.max()
    reach = -below.min()
    low, high = np.log(reach) + np.log(1e-6), np.log(reach) + np.log(1e6)
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        weights = np.exp(below / np.exp(middle))
        if weights.sum() ** 2 / np.square(weights).sum() < share * len(rewards):
            low = middle
        else:
            high = middle
    return float(np.exp(high))
