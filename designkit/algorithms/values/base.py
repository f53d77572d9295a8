"""The contract of a value estimator: what a half-decoded sequence is worth, in units of the reward.

The soft value is v(x_s) = temperature * log E[exp(r(x_0) / temperature) | x_s] under the model;
estimators approximate it (reward-guided decoding: Li et al. 2024, arXiv 2408.08252).
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated, Any, Protocol

from pydantic import AfterValidator

from designkit import plugins
from designkit.errors import DesignkitError
from designkit.settings import Layer, Settings, validate

if TYPE_CHECKING:
    from torch import Tensor

    from designkit.diffusion.base import DiffusionProcess, Plan, X0Function
    from designkit.models.base import DiffusionModel
    from designkit.randomness import Noise

DEFAULT_VALUE = "posterior_mean"

LoadModel = Callable[[str], Any]
"""A reference of the registry to the model itself."""


class Objective(Protocol):
    """The reward as a sampler sees it: ``RewardEngine`` is one."""

    def values(self, tokens: Tensor) -> Tensor:
        """Rewards (N,) float64 of clean tokens (N, L); -inf where there is no score."""
        ...

    def score_relaxed(self, probs: Tensor, valid: Tensor | None = None) -> Tensor:
        """Rewards (N,) of letter probabilities (N, L, K); refused where there is no such score."""
        ...


class Objectives(Objective, Protocol):
    """A reward that tells the several objectives that it is made of: ``RewardEngine`` is one."""

    def judged(self, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """Rewards (N,), as ``values``, and the objectives (N, O), higher is better; float64."""
        ...


@dataclass(frozen=True)
class States:
    """Half-decoded sequences, all at one time.

    Attributes:
        tokens: (N, L) int64, x_t.
        x_0_probs: (N, L, K) a guess of the clean letters: the model's own of these states, or for
            children the one of their parents, with what the children say for certain put in.
        rows: (N,) int64, the design of the batch that each state may become.
        step: the next step to be taken; ``plan.steps`` when there is none.
        plan: of the N states.
        noise: of the N states.
        predict: the guess of noisy tokens at times (N,), as the sampler uses it.
        log_chance: (N,) float64, log of the probability that constraints come to hold, as it has
            entered the weights of the states; 0 without constraints.
    """

    tokens: Tensor
    x_0_probs: Tensor
    rows: Tensor
    step: int
    plan: Plan
    noise: Noise
    predict: X0Function
    log_chance: Tensor

    @property
    def time(self) -> Tensor:
        """The time of the states, float64: without axes, or (N,) where the plan has one of each."""
        return self.plan.times[self.step]

    @property
    def finished(self) -> bool:
        """Whether the states are clean sequences."""
        return self.step == self.plan.steps

    def select(self, index: Tensor) -> States:
        """Some of the states."""
        return replace(
            self,
            tokens=self.tokens[index],
            x_0_probs=self.x_0_probs[index],
            rows=self.rows[index],
            plan=self.plan.rows(index),
            noise=self.noise.rows(index),
            log_chance=self.log_chance[index],
        )


@dataclass(frozen=True)
class Values:
    """What an estimator says of N states.

    Attributes:
        values: (N,) float64, estimated soft values; NaN or -inf for "no score".
        decoded: (N, L) int64 clean sequences that were scored on the way, one of each state.
        rewards: (N,) float64, theirs.
    """

    values: Tensor
    decoded: Tensor | None = None
    rewards: Tensor | None = None


class ValueEstimator(Settings):
    """Base of the value estimators."""

    @property
    def needs_guess(self) -> bool:
        """Whether children need the model's own guess to be valued.

        If not, the denoiser is asked for the chosen child alone.
        """
        return True

    @property
    def reward_rows(self) -> int:
        """Reward rows that one unfinished state takes at most."""
        return 1

    @property
    def final_reward_rows(self) -> int:
        """Reward rows that one finished state takes at most."""
        return self.reward_rows

    @property
    def needs_gradient(self) -> bool:
        """Whether the reward has to be differentiable."""
        return False

    @property
    def completes(self) -> bool:
        """Whether clean sequences are scored on the way: ``Values.decoded``."""
        return True

    @property
    def reads_states(self) -> bool:
        """Whether a network of its own is asked about each unfinished state."""
        return False

    def denoiser_rows(self, steps: int) -> int:
        """Denoiser rows of one state at most, besides its own guess.

        Args:
            steps: that are still to be taken.
        """
        return 0

    def suited(self, process: DiffusionProcess, *, greedy: bool) -> ValueEstimator:
        """The settings with defaults written out that depend on what they are used for.

        Args:
            process: of the prior.
            greedy: whether the best of several children is kept.
        """
        return self

    def prepared(self, model: DiffusionModel, load_model: LoadModel) -> ValueEstimator:
        """The estimator with what it needs of a registry, ready to value designs of ``model``."""
        return self

    @abstractmethod
    def values(self, reward: Objective, states: States, temperature: float) -> Values:
        """Estimated values.

        Args:
            reward: of clean sequences.
            states: to be valued.
            temperature: of the soft value; 0 is the limit of greedy decoding.
        """


def estimator(value: str | Mapping[str, Any]) -> ValueEstimator:
    """The value estimator of a name, or of a mapping with its ``name`` and settings.

    Raises:
        UsageError: there is none of that name.
        ConfigurationError: settings that it does not have.
    """
    fields = {"name": value} if isinstance(value, str) else dict(value)
    plugin = plugins.find("designkit.values", str(fields.pop("name", DEFAULT_VALUE)))
    found: ValueEstimator = validate(plugin, Layer("value", fields), "value")
    return found


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
