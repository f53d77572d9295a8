"""The contract of a noise process: how sequences are corrupted, and what that fixes of the reverse.

Time runs from 0 (clean) to 1 (noise). A process owns no network; a denoiser's guess of the clean
sequence comes in as ``x_0_probs``.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol

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
        step_of: (B, L) int64, the step in 0..steps-1 at which a position is decided.
        times: (steps + 1,) float64, from 1 down to 0, of the states between the steps.
    """

    start: Tensor
    step_of: Tensor
    times: Tensor

    @property
    def steps(self) -> int:
        """Number of denoising steps."""
        return len(self.times) - 1

    def rows(self, index: Tensor) -> Plan:
        """The plan of some rows."""
        return Plan(self.start[index], self.step_of[index], self.times)


class DiffusionProcess(Settings):
    """Base of the noise processes; its fields are what a model card stores.

    Attributes:
        size: number of letters K.
    """

    size: int

    @property
    @abstractmethod
    def states(self) -> int:
        """Number of tokens V that a noisy sequence may hold."""

    @abstractmethod
    def alpha(self, t: Tensor) -> Tensor:
        """Share of signal left at times ``t``, same shape, in [0, 1]."""

    @abstractmethod
    def corrupt(self, x_0: Tensor, t: Tensor, noise: Noise) -> Tensor:
        """Noisy tokens x_t ~ q(x_t | x_0), (B, L) int64, at times ``t`` (B,)."""

    @abstractmethod
    def x_0_probs(self, logits: Tensor, x_t: Tensor, t: Tensor) -> Tensor:
        """The denoiser's guess p(x_0 | x_t) of each position, (B, L, K), at times (B,)."""

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
    def plan(self, length: int, steps: int, decoding: Decoding, noise: Noise) -> Plan:
        """Draw what each of ``steps`` denoising steps may change, for each row of ``noise``."""

    @abstractmethod
    def propose(
        self, x_t: Tensor, x_0_probs: Tensor, plan: Plan, step: int, noise: Noise, candidates: int
    ) -> Tensor:
        """Children x_s ~ p(x_s | x_t) of every row, (B, candidates, L) int64."""


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
