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

from designkit.distinct import distinct_rows
from designkit.errors import UsageError
from designkit.settings import Settings

if TYPE_CHECKING:
    from torch import Tensor

    from designkit.randomness import Noise

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


@dataclass(frozen=True)
class Transition:
    """The law of one step: independent letters at the positions that it may change.

    Attributes:
        positions: (A, P) int64.
        probs: (A, P, K) probabilities of the letters there.
        open: (A, P) bool; False for places that only fill the row up.
    """

    positions: Tensor
    probs: Tensor
    open: Tensor

    def draw(self, noise: Noise, candidates: int, purpose: str = "token") -> Tensor:
        """Letters of each candidate, (A, candidates, P) int64.

        Args:
            noise: of the A rows at this step.
            candidates: M.
            purpose: of the noise; for steps that are only tried.
        """
        uniform = noise.uniform(purpose, self.positions, candidates)
        return categorical(self.probs[:, None].expand(-1, candidates, -1, -1), uniform)

    def write(self, x_t: Tensor, letters: Tensor) -> Tensor:
        """States (A, L) with the letters (A, M, P) of each candidate put in, (A, M, L)."""
        candidates = letters.shape[1]
        kept = x_t.gather(1, self.positions)[:, None]
        children = x_t[:, None].repeat(1, candidates, 1)
        index = self.positions[:, None].expand(-1, candidates, -1)
        return children.scatter(2, index, letters.where(self.open[:, None], kept))

    def log_prob(self, letters: Tensor) -> Tensor:
        """Log-probability of the letters (A, M, P) of each candidate, (A, M) float64."""
        logs = self.probs.double().log()[:, None].expand(-1, letters.shape[1], -1, -1)
        taken = logs.gather(-1, letters[..., None]).squeeze(-1)
        return taken.where(self.open[:, None], 0.0).sum(-1)

    def tilted(self, log_factors: Tensor) -> Transition:
        """The law times exp(log_factors), (A, P, K), normalised over the letters."""
        return replace(self, probs=_tilted(self.probs, log_factors))

    def tilted_guess(self, log_factors: Tensor) -> Transition:
        """The law that follows from the guess of clean letters times exp(log_factors), normalised.

        Where letters stay once they are drawn that is the law times the same.
        """
        return self.tilted(log_factors)


@dataclass(frozen=True)
class Revision(Transition):
    """The law of a step after which letters may change again: it follows from a guess.

    Attributes:
        guess: (A, P, K) of the clean letters.
        law: gives ``probs`` of a guess.
        log_factors: (A, P, K) of letters by which the law was tilted; None for none.
    """

    guess: Tensor
    law: Callable[[Tensor], Tensor]
    log_factors: Tensor | None = None

    def tilted(self, log_factors: Tensor) -> Transition:
        """See ``Transition.tilted``; another guess will be tilted in the same way."""
        before = self.log_factors
        every = log_factors if before is None else before + log_factors
        return replace(self, probs=_tilted(self.probs, log_factors), log_factors=every)

    def tilted_guess(self, log_factors: Tensor) -> Transition:
        """See ``Transition.tilted_guess``."""
        return self.of_guess(_tilted(self.guess, log_factors))

    def of_guess(self, guess: Tensor) -> Transition:
        """The law that follows from another guess (A, P, K), tilted as this one is."""
        made = replace(self, guess=guess, probs=self.law(guess), log_factors=None)
        return made if self.log_factors is None else made.tilted(self.log_factors)


def _tilted(probs: Tensor, log_factors: Tensor) -> Tensor:
    """Probabilities (A, P, K) times exp(log_factors), normalised, in float64."""
    factors = (log_factors - log_factors.amax(-1, keepdim=True)).exp()
    weights = probs.double() * factors
    total = weights.sum(-1, keepdim=True)
    # A factor may be negligible for every letter that has a probability.
    return (weights / total).where(total > 0, probs.double())


class DiffusionProcess(Settings):
    """Base of the noise processes; its fields are what a model card stores.

    Attributes:
        size: number of letters K.
        decodings: ways of decoding; the first is the default.
        needs_time: whether a denoiser has to know the time.
        reveals: whether what a step decides of a position is certain from then on.
    """

    size: int

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

    @abstractmethod
    def alpha(self, t: Tensor) -> Tensor:
        """Share of signal left at times ``t``, same shape, in [0, 1]."""

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

    @abstractmethod
    def certain(self, x_0: Tensor) -> Tensor:
        """The guess (B, L, K) that clean tokens (B, L) leave: one-hots."""

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
    def known(self, x_0_probs: Tensor, x_s: Tensor) -> Tensor:
        """A guess (B, L, K) made before x_s (B, L) was drawn, with what x_s says for certain."""

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


def categorical(probs: Tensor, uniform: Tensor) -> Tensor:
    """Tokens by inversion of the cumulative distribution, in float64.

    Args:
        probs: (..., K) non-negative weights, not necessarily normalised, not all zero.
        uniform: (...) numbers in (0, 1).

    Returns:
        (...) int64 tokens in 0..K-1; a token of probability 0 is never returned.
    """
    cumulative = probs.double().cumsum(-1)
    threshold = uniform[..., None] * cumulative[..., -1:]
    return (cumulative <= threshold).sum(-1)


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
