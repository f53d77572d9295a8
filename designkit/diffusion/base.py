"""The contract of a noise process: how sequences are corrupted, and what that fixes of the reverse.

Time runs from 0 (clean) to 1 (noise). A process owns no network; a denoiser's guess of the clean
sequence comes in as ``x_0_probs``.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import TYPE_CHECKING, ClassVar, Literal, Protocol

from designkit.diffusion._schedules import SCHEDULES, Schedule
from designkit.diffusion._transition import Revision, Transition, categorical
from designkit.distinct import distinct_rows
from designkit.errors import UsageError
from designkit.settings import Settings

if TYPE_CHECKING:
    from torch import Tensor

    from designkit.randomness import Noise

__all__ = [
    "Decoding",
    "DiffusionProcess",
    "LogitsFunction",
    "Plan",
    "Revision",
    "Transition",
    "X0Function",
    "categorical",
    "certainty",
    "predict_distinct",
    "softmax",
]

_VECTOR = 64
"""A multiple of the numbers that one instruction of any processor works on."""

_FEW_LETTERS = 8

Decoding = Literal["blocks", "grid"]


class LogitsFunction(Protocol):
    """What a loss needs of a denoiser."""

    def __call__(self, x_t: Tensor, t: Tensor, valid: Tensor | None = None) -> Tensor:
        """Logits (B, L, K) of noisy one-hots (B, L, V) at times (B,)."""
        ...


X0Function = Callable[["Tensor", "Tensor"], "Tensor"]
"""Noisy tokens (N, L) and times (N,) to probabilities of the clean letters (N, L, K)."""


@dataclass(frozen=True)
class Plan:
    """What each step of a decoding run may change; drawn before the first step.

    Attributes:
        start: (B, L) tokens at t = 1.
        step_of: (B, L) int64, the step in 0..steps-1 at which a position is decided, -1 for
            positions that are given; None where every free position may change in every step.
        times: (steps + 1,) float64, from 1 down to 0, of the states between the steps; or
            (steps + 1, B), of each row.
        free: (B, L) bool, False at positions that are given.
        most: for each step, the most positions that it may change in any row.
        always: whether every row changes in every step.
    """

    start: Tensor
    step_of: Tensor | None
    times: Tensor
    free: Tensor
    most: tuple[int, ...]
    always: bool

    @property
    def steps(self) -> int:
        """Number of denoising steps."""
        return len(self.most)

    def rows(self, index: Tensor) -> Plan:
        """The plan of some rows."""
        step_of = None if self.step_of is None else self.step_of[index]
        times = self.times if self.times.ndim == 1 else self.times[:, index]
        start, free = self.start[index], self.free[index]
        return replace(self, start=start, step_of=step_of, times=times, free=free)

    def changing(self, step: int) -> Tensor:
        """(B,) bool, the rows that a step may change."""
        return self.free.any(1) if self.step_of is None else (self.step_of == step).any(1)

    def reordered(self, step: int, priority: Tensor) -> Plan:
        """The plan in which a step decides the undecided positions of highest priority.

        How many positions each row decides in each step stays.

        Args:
            step: the next one.
            priority: (B, L), finite.
        """
        if self.step_of is None:
            return self
        undecided = self.step_of >= step
        order = priority.where(undecided, -float("inf")).argsort(
            dim=1, descending=True, stable=True
        )
        # Both sorts put what is decided last.
        steps = self.step_of.where(undecided, self.steps).sort(1).values
        step_of = self.step_of.scatter(1, order, steps).where(undecided, self.step_of)
        return replace(self, step_of=step_of)

    def counted_from(self, steps: Tensor) -> Plan:
        """The plan of rows that are at different steps, in which each row's own step is step 0.

        It is as long as before: a row that has taken all its steps stays as it is.

        Args:
            steps: (B,), the next one of each row.
        """
        import torch

        ahead = torch.arange(self.steps + 1, device=steps.device)[:, None] + steps
        step_of = None if self.step_of is None else self.step_of - steps[:, None]
        most = (max(self.most),) * self.steps
        times = self.times[ahead.clamp(max=self.steps)]
        return replace(self, step_of=step_of, times=times, most=most, always=False)

    def rest(self, step: int, steps: int | None = None) -> Plan:
        """What is left of the plan as a plan of its own, in which nothing decided changes.

        Args:
            step: its first.
            steps: of the plan; neighbouring steps become one where there are more. None for all.
        """
        left = self.steps - step
        steps = left if steps is None else min(steps, left)
        borders = [step - (-block * left // steps) for block in range(steps + 1)]
        step_of = self.step_of
        if step_of is not None:
            later = (step_of - step) * steps // max(1, left)
            step_of = later.where(step_of >= step, -1)
        length = self.start.shape[1]
        most = tuple(min(length, sum(self.most[a:b])) for a, b in pairwise(borders))
        return replace(self, step_of=step_of, times=self.times[borders], most=most)


class DiffusionProcess(Settings):
    """Base of the noise processes; its fields are what a model card stores.

    Attributes:
        size: number of letters K.
        schedule: noise schedule.
        decodings: ways of decoding; the first is the default.
        needs_time: whether a denoiser has to know the time.
        reveals: whether what a step decides of a position is certain from then on.
    """

    size: int
    schedule: str

    decodings: ClassVar[tuple[Decoding, ...]]
    needs_time: ClassVar[bool]
    reveals: ClassVar[bool]

    @property
    @abstractmethod
    def states(self) -> int:
        """Number of tokens V that a noisy sequence may hold."""

    def decoding_for(self, asked: Decoding | None, *, ordered: bool) -> Decoding:
        """The decoding that was asked for, by default the first.

        Args:
            asked: None for the default.
            ordered: whether an order of positions was asked for.

        Raises:
            UsageError: the process has no such decoding, or no order of positions.
        """
        refused = [] if asked in (None, *self.decodings) else [f"decoding={asked}"]
        if ordered and "blocks" not in self.decodings:
            refused.append("order")
        if refused:
            raise UsageError(
                f"{' and '.join(refused)}: with {type(self).__name__.lower()} noise every step may "
                f"change every position; leave it out (decoding={self.decodings[0]})"
            )
        return asked or self.decodings[0]

    @property
    def _schedule(self) -> Schedule:
        return SCHEDULES[self.schedule]

    def alpha(self, t: Tensor) -> Tensor:
        """Share of signal left at times ``t``, same shape, in [0, 1].

        The probability of a position to show its letter because noise has left it alone.
        """
        return self._schedule.alpha(t)

    def time_of(self, alpha: Tensor) -> Tensor:
        """Times at which shares ``alpha`` of the signal are left, same shape."""
        return self._schedule.time_of(alpha)

    @abstractmethod
    def corrupt(self, x_0: Tensor, t: Tensor, noise: Noise) -> Tensor:
        """Noisy tokens x_t ~ q(x_t | x_0), (B, L) int64, at times ``t`` (B,)."""

    @abstractmethod
    def x_0_probs(self, logits: Tensor, x_t: Tensor, t: Tensor) -> Tensor:
        """The denoiser's guess p(x_0 | x_t) of each position, (B, L, K), at times (B,).

        Args:
            logits: (B, L, K).
            x_t: (B, L) tokens, or (B, L, V) one-hots or probabilities of them, in which the guess
                then has derivatives.
            t: (B,).
        """

    def certain(self, x_0: Tensor) -> Tensor:
        """The guess (B, L, K) that clean tokens (B, L) leave: one-hots."""
        import torch.nn.functional as functional

        return functional.one_hot(x_0, self.size).float()

    @abstractmethod
    def posterior(self, x_t: Tensor, x_0_probs: Tensor, s: Tensor, t: Tensor) -> Tensor:
        """q(x_s | x_t, x_0 ~ x_0_probs) of each position, (B, L, V), for times s < t of (B,)."""

    @abstractmethod
    def loss(
        self, denoiser: LogitsFunction, x_0: Tensor, noise: Noise, valid: Tensor | None = None
    ) -> Tensor:
        """One-sample estimate of the NELBO of each sequence, (B,), in nats.

        Args:
            denoiser: the network that is trained.
            x_0: (B, L) clean tokens.
            noise: of the B rows.
            valid: (B, L) bool, False at padding.
        """

    @abstractmethod
    def log_likelihood(
        self, predict_x_0: X0Function, x_0: Tensor, draws: int
    ) -> tuple[Tensor, Tensor]:
        """Estimated lower bound of log p(x_0) in nats, and its standard error, both (B,)."""

    @abstractmethod
    def known(self, x_0_probs: Tensor, positions: Tensor, letters: Tensor) -> Tensor:
        """A guess made before letters were written, with what they say for certain.

        Args:
            x_0_probs: (N, L, K).
            positions: (N, P) int64, those of a row all different.
            letters: (N, P) int64, written there; -1 where none is.
        """

    @abstractmethod
    def plan(
        self,
        length: int,
        steps: int,
        decoding: Decoding,
        noise: Noise,
        given: Tensor | None = None,
    ) -> Plan:
        """Draw what each of ``steps`` denoising steps may change, for each row of ``noise``.

        Args:
            length: L.
            steps: number of steps.
            decoding: how positions are spread over them.
            noise: of B rows.
            given: (B, L) int64 letters that are never changed, -1 where a letter is to be found.
        """

    @abstractmethod
    def transition(self, x_t: Tensor, x_0_probs: Tensor, plan: Plan, step: int) -> Transition:
        """The law p(x_s | x_t) of a step.

        Args:
            x_t: (A, L) noisy tokens.
            x_0_probs: (A, L, K) the model's guess.
            plan: of these rows.
            step: 0 to steps - 1.
        """


def softmax(logits: Tensor) -> Tensor:
    """Probabilities over the last axis, which is a slow one where it is short.

    The other axes are then put side by side and filled up to whole vectors, of which all are
    computed alike: what a row gets does not depend on the number of rows.
    """
    if logits.shape[-1] > _FEW_LETTERS:
        return logits.softmax(-1)
    flat = logits.flatten(0, -2)
    count, size = flat.shape
    columns = flat.new_zeros(size, -(-count // _VECTOR) * _VECTOR)
    columns[:, :count] = flat.T
    return columns.softmax(0)[:, :count].T.reshape(logits.shape).contiguous()


def predict_distinct(predict: X0Function, x_t: Tensor, time: Tensor) -> Tensor:
    """Guesses (N, L, K) of (N, L) states, each distinct state computed once.

    Args:
        predict: noisy tokens and times to probabilities.
        x_t: (N, L) noisy tokens.
        time: of all of them, or (N,), float64.
    """
    import torch

    if time.ndim:
        timed = torch.cat([x_t, time.view(torch.int64)[:, None]], dim=1)
        first, place = distinct_rows(timed)
    else:
        first, place = distinct_rows(x_t)
    times = time.to(torch.float32).expand(len(x_t))
    if len(first) == len(x_t):
        return predict(x_t, times)
    return predict(x_t[first], times[first])[place]


def certainty(probs: Tensor, order: str) -> Tensor:
    """How sure a guess (N, L, K) is of each position, (N, L)."""
    if order == "confidence" or probs.shape[-1] == 1:
        return probs.amax(-1)
    first, second = probs.topk(2, dim=-1).values.unbind(-1)
    return first - second
