"""Noise schedules: alpha(t), the share of signal left at time t, from 1 at t = 0 to 0 at t = 1."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Schedule:
    """alpha and its inverse, elementwise on tensors of times or of signal shares in [0, 1]."""

    alpha: Callable[[Tensor], Tensor]
    time_of: Callable[[Tensor], Tensor]
    nelbo_weight: Callable[[Tensor], Tensor]


def _cosine_alpha(t: Tensor) -> Tensor:
    return 1 - (math.pi / 2 * (1 - t)).cos()


# nelbo_weight is -alpha'(t) / (1 - alpha(t)) (Sahoo et al. 2024, "Simple and effective masked
# diffusion language models", eq. 10).
SCHEDULES = {
    "linear": Schedule(
        alpha=lambda t: 1 - t,
        time_of=lambda alpha: 1 - alpha,
        nelbo_weight=lambda t: 1 / t,
    ),
    "quadratic": Schedule(
        alpha=lambda t: 1 - t.square(),
        time_of=lambda alpha: (1 - alpha).sqrt(),
        nelbo_weight=lambda t: 2 / t,
    ),
    "cosine": Schedule(
        alpha=_cosine_alpha,
        time_of=lambda alpha: 1 - (1 - alpha).acos() * 2 / math.pi,
        nelbo_weight=lambda t: math.pi / 2 * (math.pi / 2 * (1 - t)).tan(),
    ),
}
