"""From what a reward measures to how much it is wanted.

Shapes (sigmoid, step, ...) read the value in its own unit and give a desirability between 0 and 1;
whether they rise or fall is written down, so the direction of the output must agree. All others
keep the order of the values, and the direction makes higher better.
"""

from __future__ import annotations

import math
import re
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Self

from pydantic import Field, model_validator

from designkit.settings import Settings

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor

_LOGIT_95 = math.log(19)  # a sigmoid is 0.05 at its lower and 0.95 at its upper end
_MOST_POINTS = 1001
Trend = Literal["keeps", "rises", "falls", "window"]


class Transform(Settings, ABC):
    """Base of all transforms.

    Attributes:
        coupled: whether the result for one value depends on the others.
        trend: ``keeps`` the order that the output's direction gives; ``rises`` or ``falls`` with
            the value whatever the direction; ``window``: neither.
    """

    coupled: ClassVar[bool] = False

    @property
    def trend(self) -> Trend:
        """See the class."""
        return "keeps"

    @property
    def needs_reference(self) -> bool:
        """Whether ``fitted`` must be called before ``apply``."""
        return False

    def fitted(self, reference: NDArray[np.float64]) -> Transform:
        """The transform with what it takes from reference values (n,): those of the prior."""
        return self

    @abstractmethod
    def apply(self, values: Tensor, sign: int) -> Tensor:
        """Values (N,) in their own unit to (N,) where higher is better; NaN stays NaN; autograd.

        Args:
            values: float64 for scores; the floats of the caller for relaxed ones.
            sign: 1 where more is better, -1 where less is; shapes do not use it.
        """


class Linear(Transform):
    """``scale * value + offset``; the direction is kept, so the scale is above 0."""

    name: Literal["linear"] = "linear"
    scale: float = Field(default=1.0, gt=0)
    offset: float = 0.0

    def apply(self, values: Tensor, sign: int) -> Tensor:
        """See ``Transform``."""
        return sign * (self.scale * values + self.offset)


class ZScore(Transform):
    """``(value - mean) / std``, of the prior's designs where they are not given."""

    name: Literal["zscore"] = "zscore"
    mean: float | None = None
    std: float | None = Field(default=None, gt=0)

    @property
    def needs_reference(self) -> bool:
        """See ``Transform``."""
        return self.mean is None or self.std is None

    def fitted(self, reference: NDArray[np.float64]) -> Transform:
        """Take the mean and the sample standard deviation that are not given."""
        mean = float(reference.mean()) if self.mean is None else self.mean
        std = float(reference.std(ddof=1)) if self.std is None else self.std
        if not std > 0:
            raise ValueError("zscore: all reference values are equal")
        return ZScore(mean=mean, std=std)

    def apply(self, values: Tensor, sign: int) -> Tensor:
        """See ``Transform``."""
        assert self.mean is not None
        assert self.std is not None
        return sign * (values - self.mean) / self.std


class _Shape(Transform):
    """A shape over an interval of the value."""

    low: float
    high: float

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if not self.low < self.high:
            raise ValueError(f"low={self.low:g} must be below high={self.high:g}")
        return self


class Sigmoid(_Shape):
    """Rises from 0 to 1: 0.05 at ``low``, 0.95 at ``high``."""

    name: Literal["sigmoid"] = "sigmoid"

    @property
    def trend(self) -> Trend:
        """See ``Transform``."""
        return "rises"

    def apply(self, values: Tensor, sign: int) -> Tensor:
        """See ``Transform``."""
        middle, width = (self.low + self.high) / 2, self.high - self.low
        return ((values - middle) * (2 * _LOGIT_95 / width)).sigmoid()


class ReverseSigmoid(_Shape):
    """Falls from 1 to 0: 0.95 at ``low``, 0.05 at ``high``."""

    name: Literal["reverse_sigmoid"] = "reverse_sigmoid"

    @property
    def trend(self) -> Trend:
        """See ``Transform``."""
        return "falls"

    def apply(self, values: Tensor, sign: int) -> Tensor:
        """See ``Transform``."""
        middle, width = (self.low + self.high) / 2, self.high - self.low
        return ((middle - values) * (2 * _LOGIT_95 / width)).sigmoid()


class DoubleSigmoid(_Shape):
    """1 inside a window, 0 outside, 1/2 at its ends; ``width`` is how far an edge reaches.

    An edge goes from 0.05 to 0.95 over ``width``, a fifth of the window when not given.
    """

    name: Literal["double_sigmoid"] = "double_sigmoid"
    width: float | None = Field(default=None, gt=0)

    @property
    def trend(self) -> Trend:
        """See ``Transform``."""
        return "window"

    def apply(self, values: Tensor, sign: int) -> Tensor:
        """See ``Transform``."""
        slope = 2 * _LOGIT_95 / (self.width or (self.high - self.low) / 5)
        return ((values - self.low) * slope).sigmoid() * ((self.high - values) * slope).sigmoid()


class Step(Transform):
    """1 from ``low`` to ``high``, both included, and 0 outside; either may be left out."""

    name: Literal["step"] = "step"
    low: float | None = None
    high: float | None = None

    @model_validator(mode="after")
    def _bounded(self) -> Self:
        if self.low is None and self.high is None:
            raise ValueError("step needs low, high or both")
        if self.low is not None and self.high is not None and self.low > self.high:
            raise ValueError(f"low={self.low:g} is above high={self.high:g}")
        return self

    @property
    def trend(self) -> Trend:
        """See ``Transform``."""
        if self.low is not None and self.high is not None:
            return "window"
        return "falls" if self.low is None else "rises"

    def apply(self, values: Tensor, sign: int) -> Tensor:
        """See ``Transform``."""
        inside = values * 0 + 1
        if self.low is not None:
            inside = inside.masked_fill(values < self.low, 0)
        return inside if self.high is None else inside.masked_fill(values > self.high, 0)


class Clip(Transform):
    """The value, no lower than ``low`` and no higher than ``high``; either may be left out."""

    name: Literal["clip"] = "clip"
    low: float | None = None
    high: float | None = None

    @model_validator(mode="after")
    def _bounded(self) -> Self:
        if self.low is None and self.high is None:
            raise ValueError("clip needs low, high or both")
        if self.low is not None and self.high is not None and self.low > self.high:
            raise ValueError(f"low={self.low:g} is above high={self.high:g}")
        return self

    def apply(self, values: Tensor, sign: int) -> Tensor:
        """See ``Transform``."""
        return sign * values.clamp(self.low, self.high)


class Log(Transform):
    """``log(value + offset)``, natural; no score where that is not above 0."""

    name: Literal["log"] = "log"
    offset: float = 0.0

    def apply(self, values: Tensor, sign: int) -> Tensor:
        """See ``Transform``."""
        shifted = values + self.offset
        result: Tensor = sign * shifted.log()
        return result.masked_fill(shifted <= 0, math.nan)


class Rank(Transform):
    """Rank in the population, 0 for the worst to 1 for the best; equal values share their mean."""

    name: Literal["rank"] = "rank"
    coupled: ClassVar[bool] = True

    def apply(self, values: Tensor, sign: int) -> Tensor:
        """See ``Transform``; a population of one has the rank 1."""
        known = ~values.isnan()
        ordered, place = (sign * values[known]).unique(return_inverse=True)
        count = place.bincount(minlength=len(ordered)).to(values)
        middle = count.cumsum(0) - (count + 1) / 2  # mean place of equal values, from 0
        ranks = values.clone()
        ranks[known] = middle[place] / max(1, int(known.sum()) - 1) if known.sum() > 1 else 1.0
        return ranks


class Quantile(Transform):
    """Share of the prior's designs that are no better: calibrated, without a unit (InfAlign).

    Between two reference values the share is interpolated. ``shape`` is what is maximised then:
    the share ``u`` itself (the win rate), ``best_of_n``: ``exp(tau u)``, or ``worst_of_n``:
    ``-exp(-tau u)`` (Balashankar et al. 2024, arXiv 2412.19792).
    """

    name: Literal["quantile"] = "quantile"
    points: tuple[float, ...] | None = None
    shape: Literal["identity", "best_of_n", "worst_of_n"] = "identity"
    tau: float = Field(default=10.0, gt=0, le=100)

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.points is not None and (
            len(self.points) < 2 or list(self.points) != sorted(self.points)
        ):
            raise ValueError("points must be at least two values in ascending order")
        return self

    @property
    def needs_reference(self) -> bool:
        """See ``Transform``."""
        return self.points is None

    def fitted(self, reference: NDArray[np.float64]) -> Transform:
        """Take the reference values, or as many of their quantiles as are worth keeping."""
        import numpy as np

        points = np.sort(reference)
        if len(points) > _MOST_POINTS:
            points = np.quantile(points, np.linspace(0, 1, _MOST_POINTS))
        return self.model_copy(update={"points": tuple(points.tolist())})

    def apply(self, values: Tensor, sign: int) -> Tensor:
        """See ``Transform``."""
        assert self.points is not None
        share = _share_below(values, values.new_tensor(self.points))
        share = share if sign == 1 else 1 - share
        if self.shape == "identity":
            return share
        if self.shape == "best_of_n":
            return (self.tau * share).exp()
        return -(-self.tau * share).exp()


def _share_below(values: Tensor, points: Tensor) -> Tensor:
    """Interpolated place of values (N,) among ascending points (n,), 0 to 1; equal points: middle.

    Args:
        values: NaN stays NaN.
        points: at least two.
    """
    import torch

    clean = values.nan_to_num()
    low = torch.searchsorted(points, clean.detach(), right=False)
    high = torch.searchsorted(points, clean.detach(), right=True)
    left, right = (low - 1).clamp(min=0), low.clamp(max=len(points) - 1)
    gap = points[right] - points[left]
    between = left + (clean - points[left]) / gap.clamp(min=torch.finfo(values.dtype).tiny)
    place = torch.where(high > low, (low + high - 1).to(values) / 2 + 0 * clean, between)
    place = torch.where((low == 0) & (high == 0), 0 * clean, place)
    place = torch.where(low == len(points), 0 * clean + len(points) - 1, place)
    return torch.where(values.isnan(), values, place / (len(points) - 1))


AnyTransform = Annotated[
    Linear
    | ZScore
    | Sigmoid
    | ReverseSigmoid
    | DoubleSigmoid
    | Step
    | Clip
    | Log
    | Rank
    | Quantile,
    Field(discriminator="name"),
]
_WRITTEN = re.compile(r"(\w+)(?:\((.*)\))?")


def parse_transform(written: Any) -> Any:
    """``sigmoid(low=0,high=1)`` as the mapping that makes it; anything else as it is.

    Raises:
        ValueError: text of another form.
    """
    if isinstance(written, Mapping) or not isinstance(written, str):
        return written
    match = _WRITTEN.fullmatch(written.strip())
    pairs = [part.partition("=") for part in (match[2] or "").split(",") if part] if match else []
    if match is None or not all(separator for _, separator, _ in pairs):
        raise ValueError(f"must be written NAME or NAME(key=value,...), not {written!r}")
    if len({key.strip() for key, _, _ in pairs}) < len(pairs):
        raise ValueError(f"a key is given twice in {written!r}")
    return {"name": match[1]} | {key.strip(): value.strip() for key, _, value in pairs}
