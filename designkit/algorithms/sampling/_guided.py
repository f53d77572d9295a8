"""What the samplers that follow a value at a temperature share."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Literal, Protocol, Self

from pydantic import AfterValidator, Field

from designkit.algorithms.sampling._parts import Resample
from designkit.algorithms.sampling.base import Children, Request, Sampler, Tilt, without_nan
from designkit.algorithms.values.base import (
    DEFAULT_VALUE,
    Objective,
    States,
    ValueEstimator,
    ValueName,
    estimator,
)

if TYPE_CHECKING:
    from torch import Tensor

    from designkit.diffusion.base import DiffusionProcess, X0Function
    from designkit.models.base import DiffusionModel
    from designkit.randomness import Noise

LOWEST_TEMPERATURE = 1e-100
"""Above 0: rewards over a lower one may be infinite, and infinite weights compare nothing."""


def _computable(temperature: float) -> float:
    if 0 < temperature < LOWEST_TEMPERATURE:
        raise ValueError(f"must be at least {LOWEST_TEMPERATURE:g}, not {temperature}")
    return temperature


Temperature = Annotated[float, Field(ge=0), AfterValidator(_computable)] | Literal["auto"]
"""alpha in units of the reward, 0 for greedy; ``auto`` is measured before sampling."""

PositiveTemperature = Annotated[float, Field(gt=0), AfterValidator(_computable)] | Literal["auto"]
"""alpha of methods that cannot be greedy."""


class GuidedSampler(Sampler):
    """Settings of the methods that value half-decoded designs.

    Attributes:
        temperature: alpha of the target p(x) exp(r(x) / alpha), in units of the reward; ``auto``
            measures one. Where it is not given, methods that need one above 0 take a fifth of the
            reward's standard deviation under the model.
        tempering: how many times as high the temperature is at first.
        annealing: how it falls to its value: ``geometric``, ``linear`` or ``cosine``.
        annealed: the share of the steps after which it has its value.
        value: name of the value estimator, or its ``name`` and settings.
        proposal: a model to draw children from in place of the prior, such as one fine-tuned for
            the reward; the weights of children put the prior's law back. One more denoiser row for
            each state and step.
    """

    temperature: Temperature | None = None
    tempering: float = Field(default=1.0, ge=1)
    annealing: Literal["geometric", "linear", "cosine"] = "geometric"
    annealed: float = Field(default=0.5, gt=0, le=1)
    value: ValueName = DEFAULT_VALUE
    proposal: str | None = None

    @property
    def references(self) -> tuple[str, ...]:
        """The proposal."""
        return () if self.proposal is None else (self.proposal,)

    @property
    def needs_gradient(self) -> bool:
        """Whether the value does."""
        return self.estimator().needs_gradient

    @property
    def children(self) -> int:
        """Children of each state in each step, M."""
        return 1

    @property
    def alpha(self) -> float:
        """The temperature, known by now."""
        assert isinstance(self.temperature, float | int)
        return self.temperature

    def estimator(self) -> ValueEstimator:
        """The value estimator that ``value`` names."""
        return estimator(self.value)

    def suited(self, process: DiffusionProcess) -> Self:
        """See ``Sampler.suited``; the settings of the value are written out too."""
        suited = super().suited(process)
        name = self.value if isinstance(self.value, str) else self.value.get("name")
        greedy = self.temperature == 0 and self.children > 1
        value = self.estimator().suited(process, greedy=greedy)
        fields = value.model_dump(exclude_unset=True)
        return suited.model_copy(update={"value": {"name": name or DEFAULT_VALUE, **fields}})

    def valuer(
        self,
        model: DiffusionModel,
        reward: Objective,
        request: Request,
        best: Recorder | None = None,
    ) -> Valuer:
        """What values the states of a run; ``best`` is told of what is scored on the way."""
        value = self.suited(model.process).estimator().prepared(model, request.load_model)
        return Valuer(value, reward, self.alpha, best)

    def tilt(self, model: DiffusionModel, request: Request, value: Valuer) -> Tilt | None:
        """The law that children are drawn from; None for the model's.

        Args:
            model: the prior.
            request: what is asked for.
            value: of the run.
        """
        if self.proposal is None:
            return None
        from functools import partial

        from designkit.algorithms.sampling._tilts import loaded_proposal, proposal_tilt

        # Every letter that the prior may write must be possible here.
        whole = self.model_copy(update={"top_p": 1.0})
        other = loaded_proposal(model, self.proposal, request.length, request.load_model)
        return proposal_tilt(partial(whole.predict, other), model.process)

    def follow(
        self,
        model: DiffusionModel,
        reward: Objective,
        request: Request,
        noise: Noise,
        select: Callable[[Children, float], Tensor] | None,
        *,
        best: Recorder | None = None,
        resample: Resample | None = None,
        coupled: bool = False,
        predict: X0Function | None = None,
    ) -> Tensor:
        """Decode designs, the estimator's values deciding which children go on.

        Args:
            model: the prior.
            reward: what to raise.
            request: what is asked for.
            noise: of B rows.
            select: from the children of A states and the step's temperature to those that go on,
                (A,) int64; None: among one there is nothing to choose.
            best: told of the clean sequences that are scored on the way.
            resample: see ``Sampler.decode``.
            coupled: see ``Sampler.decode``.
            predict: see ``Sampler.decode``.

        Returns:
            (B, L) int64 clean tokens.
        """
        value = self.valuer(model, reward, request, best)
        steps = self.steps_for(request.free)

        def chosen(children: Children) -> Tensor:
            assert select is not None
            return select(children, self.temperature_at(children.step, steps))

        return self.decode(
            model,
            request,
            noise,
            candidates=self.children,
            value=value,
            needs_guess=select is not None and value.needs_guess,
            select=chosen if select is not None else None,
            resample=resample,
            tilt=self.tilt(model, request, value),
            coupled=coupled,
            predict=predict,
        )

    def temperature_at(self, step: int, steps: int) -> float:
        """Temperature of a step: ``tempering`` times as high at first, then its value."""
        done = min(1.0, (step + 1) / (self.annealed * steps))
        if self.annealing == "geometric":
            factor = float(self.tempering ** (1 - done))
        else:
            left = 1 - done if self.annealing == "linear" else (1 + math.cos(math.pi * done)) / 2
            factor = 1 + (self.tempering - 1) * left
        return self.alpha * factor

    def calls_per_design(self, length: int, letters: int = 4) -> tuple[int, int]:
        """One denoiser row at the start, then one a child and step but the last; a value of each.

        Equal children are one: in blocks there are no more than ways to fill a block. One more row
        a step with a proposal, of the other model.
        """
        steps, value, children = self.steps_for(length), self.estimator(), self.children
        if self.decoding == "blocks":
            children = min(children, letters ** -(-length // steps))
        denoiser = 1 + (children if value.needs_guess else 1) * (steps - 1)
        denoiser += steps if self.proposal else 0
        denoiser += children * sum(value.denoiser_rows(left) for left in range(steps))
        rewards = (steps - 1) * value.reward_rows + value.final_reward_rows
        return denoiser, children * rewards

    def network_rows(self, length: int, letters: int = 4) -> int:
        """One for each unfinished state that another value would ask the reward about."""
        if not self.estimator().reads_states:
            return 0
        scored = self.model_copy(update={"value": DEFAULT_VALUE})
        own = self.calls_per_design(length, letters)[1]
        return scored.calls_per_design(length, letters)[1] - own


class Recorder(Protocol):
    """What is told of scored sequences."""

    def add(self, rows: Tensor, tokens: Tensor, rewards: Tensor) -> None:
        """Note N clean sequences (N, L), scored for designs ``rows`` (N,), and their rewards."""
        ...


class Valuer:
    """Values states of a batch.

    Args:
        value: the estimator, prepared.
        reward: of clean sequences.
        temperature: of the soft value.
        best: told of the clean sequences that are scored on the way.

    Attributes:
        estimator: the estimator.
        reward: of clean sequences.
        needs_guess: whether children need the model's own guess.
    """

    def __init__(
        self,
        value: ValueEstimator,
        reward: Objective,
        temperature: float,
        best: Recorder | None = None,
    ):
        self.estimator = value
        self.reward = reward
        self._temperature = temperature
        self._best = best
        self.needs_guess = value.needs_guess

    def __call__(self, states: States) -> Tensor:
        """Values (N,) of states."""
        found = self.estimator.values(self.reward, states, self._temperature)
        if self._best is not None and found.decoded is not None and found.rewards is not None:
            self._best.add(states.rows, found.decoded, found.rewards)
        return found.values


class BestDecoded:
    """The best clean sequence that was scored for each of B designs.

    Args:
        like: (B,) int64 on the device of the designs.
        request: its constraints hold for the sequences that are kept.
    """

    def __init__(self, like: Tensor, request: Request):
        import torch

        self._guard = request.guard
        self._tokens = like.new_zeros(len(like), request.length)
        self._rewards = torch.full(like.shape, -math.inf, dtype=torch.float64, device=like.device)

    def add(self, rows: Tensor, tokens: Tensor, rewards: Tensor) -> None:
        """Note N scored sequences.

        Args:
            rows: (N,) the design that each was scored for.
            tokens: (N, L).
            rewards: (N,); NaN or -inf for "no score".
        """
        import torch

        count = len(rows)
        rewards = without_nan(rewards)
        if self._guard is not None:
            rewards = rewards.where(self._guard.holds(tokens), -math.inf)
        highest = self._rewards.scatter_reduce(0, rows, rewards, "amax")
        is_best = (rewards == highest[rows]) & (rewards > self._rewards[rows])
        place = torch.arange(count, device=rows.device).where(is_best, count)
        first = torch.full_like(self._tokens[:, 0], count).scatter_reduce(0, rows, place, "amin")
        better = (first < count)[:, None]
        self._tokens = tokens[first.clamp(max=count - 1)].where(better, self._tokens)
        self._rewards = highest

    def instead_of(self, tokens: Tensor) -> Tensor:
        """The best sequences (B, L); of designs for which none has a score, ``tokens``."""
        return self._tokens.where(~self._rewards.isneginf()[:, None], tokens)


def choose(values: Tensor, log_ratio: Tensor, temperature: float, noise: Noise) -> Tensor:
    """A column of each row in proportion to exp(value / temperature + log_ratio).

    Args:
        values: (B, M) float64; -inf or NaN for "no score".
        log_ratio: (B, M) float64.
        temperature: 0 takes the highest value.
        noise: of the B rows.

    Returns:
        (B,) int64; any column where none of a row has a score.
    """
    from designkit.diffusion.base import categorical

    values = without_nan(values)
    best = values.argmax(1)
    # Of children that the model never draws none is likelier than another.
    log_ratio = log_ratio.where(~log_ratio.isneginf().all(1, keepdim=True), 0.0)
    if temperature == 0:
        return best
    logs = (values - values.gather(1, best[:, None])) / temperature + log_ratio
    # -inf minus -inf: no child of the row has a score, all are as good.
    logs = logs.nan_to_num(nan=0.0, neginf=-float("inf"), posinf=float("inf"))
    weights = (logs - logs.amax(1, keepdim=True)).exp().nan_to_num(1.0)
    return categorical(weights, noise.uniform("select"))
