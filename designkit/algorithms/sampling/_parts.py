"""What the parts of the decode loop hand to each other."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from designkit.algorithms.values.base import LoadModel, States
from designkit.diffusion.base import Transition
from designkit.errors import UsageError

if TYPE_CHECKING:
    from torch import Tensor

    from designkit.algorithms.sampling._constrained_draw import Guard
    from designkit.randomness import Noise

Tilt = Callable[[States, Transition], Transition]
"""The states of a step and the model's law of it to the law that children are drawn from."""

Value = Callable[[States], "Tensor"]
"""N states to their values (N,) float64."""


@dataclass(frozen=True)
class Children:
    """The children of A states, M each.

    Attributes:
        tokens: (A, M, L) int64.
        values: (A, M) float64; NaN or -inf for "no score".
        log_ratio: (A, M) float64, log of the model's probability of the step over the proposal's;
            under constraints also of their chance to hold after the step over that before.
        log_prob: (A, M) float64, log of the model's probability of the step.
        rows: (A,) int64, the designs of the batch that the parents may become.
        step: that made them.
        last: whether they are finished.
        noise: of the A parents, at this step.
    """

    tokens: Tensor
    values: Tensor
    log_ratio: Tensor
    log_prob: Tensor
    rows: Tensor
    step: int
    last: bool
    noise: Noise


Select = Callable[[Children], "Tensor"]
"""Children to those that go on, (A,) int64 in 0..A*M-1: child m of parent a is a * M + m."""

Resample = Callable[[int], "Tensor"]
"""The step to the state that goes on in each place, (B,) int64."""


def _no_models(reference: str) -> object:
    raise UsageError(f"{reference}: there is no registry to load it from")


@dataclass(frozen=True)
class Request:
    """Designs of one length that are decoded together.

    Attributes:
        length: letters of each design, L.
        should_stop: asked before every step; True gives the batch up with ``Interrupted``.
        load_model: from a reference of the registry to the model, for methods that need others.
        given: (L,) int64 letters that every design has, or (B, L) those of each, -1 where one is to
            be found; None for none. Samplers whose designs come in populations take (L,) alone.
        guard: constraints that every design satisfies; the letters that they fix are given too.
        most_free: most positions to be found that any design may have, where designs have letters
            of their own: steps are counted for so many, and designs with fewer begin late. None
            counts those of the design with the most.
    """

    length: int
    should_stop: Callable[[], bool] = lambda: False
    load_model: LoadModel = _no_models
    given: Tensor | None = None
    guard: Guard | None = None
    most_free: int | None = None

    @property
    def known(self) -> Tensor | None:
        """(L,) or (B, L) letters that are given or fixed by constraints, -1 elsewhere; or None."""
        fixed = None if self.guard is None else self.guard.given
        if self.given is None or fixed is None:
            return fixed if self.given is None else self.given
        return self.given.where(self.given >= 0, fixed)

    @property
    def free(self) -> int:
        """Positions that are to be found, of the design with the most."""
        if self.most_free is not None:
            return self.most_free
        known = self.known
        return self.length if known is None else int((known < 0).sum(-1).max())

    def known_of(self, rows: int) -> Tensor | None:
        """``known`` of each of so many rows, (rows, L).

        Args:
            rows: as many for each design, those of a design one after the other.
        """
        known = self.known
        if known is None or known.ndim == 1:
            return None if known is None else known.expand(rows, -1)
        return known.repeat_interleave(rows // len(known), 0)


@dataclass(frozen=True)
class Designs:
    """Finished designs.

    Attributes:
        tokens: (B, L) int64, no mask left.
        columns: (B,) float64 each, what else the method says of how a design was drawn.
    """

    tokens: Tensor
    columns: Mapping[str, Tensor] = field(default_factory=dict)


def without_nan(values: Tensor) -> Tensor:
    """Values with NaN, "no score", as -inf: ``argmax`` and ``max`` would rank NaN first."""
    return values.where(~values.isnan(), -float("inf"))
