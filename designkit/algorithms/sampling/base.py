"""The decode loop: propose children of the current states, value them, select.

Every inference-time method is a choice of these three parts. The loop keeps the promises that make
them comparable and cheap:

* the forward pass that valued a child is the proposal pass of the next step, never computed twice;
* states that did not change in a step are not sent to the denoiser again;
* equal children are sent once, and the reward engine scores each distinct sequence once;
* all candidates of all rows go through the denoiser together.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from pydantic import Field

from designkit.algorithms.values.base import Objective
from designkit.diffusion.base import Decoding
from designkit.errors import Interrupted, UsageError
from designkit.settings import Settings

if TYPE_CHECKING:
    from torch import Tensor

    from designkit.models.base import DiffusionModel
    from designkit.randomness import Noise

DEFAULT_STEPS = 128

Value = Callable[["Tensor", "Tensor", "Noise"], "Tensor"]
"""Noisy tokens (N, L), guesses (N, L, K) and the noise of the N states to values (N,)."""

Select = Callable[["Tensor", int, "Tensor"], "Tensor"]
"""Values (A, M) of the children, the step, and the A rows of the batch that changed in it, to the
child that each of these rows keeps, (A,) int64."""


Resample = Callable[[int], "Tensor"]
"""The step to the state that goes on in each place, (B,) int64."""


@dataclass(frozen=True)
class Request:
    """Designs of one length that are decoded together.

    Attributes:
        length: letters of each design, L.
        should_stop: asked before every step; True gives the batch up with ``Interrupted``.
    """

    length: int
    should_stop: Callable[[], bool] = lambda: False


@dataclass(frozen=True)
class Designs:
    """Finished designs.

    Attributes:
        tokens: (B, L) int64, no mask left.
        columns: (B,) float64 each, what else the method says of a design.
    """

    tokens: Tensor
    columns: Mapping[str, Tensor] = field(default_factory=dict)


class Sampler(Settings):
    """Base of the samplers; its fields are the settings of every method.

    Attributes:
        steps: denoising steps, which is the number of denoiser calls. At most the length with
            ``blocks``, where steps = length draws one position at a time and is exact for the
            learned conditionals; fewer steps draw several positions independently and bias the
            designs away from the model. By default the length, at most 128.
        decoding: ``blocks`` reveals a random order of positions in equal blocks; ``grid`` reveals
            each position at its own random time, as published.
    """

    steps: int | None = Field(default=None, ge=1)
    decoding: Decoding = "blocks"

    @property
    def needs_reward(self) -> bool:
        """Whether the method cannot run without a reward."""
        return True

    @property
    def population(self) -> int:
        """Designs that are decoded together because they depend on each other; 1: none do."""
        return 1

    @abstractmethod
    def sample(
        self, model: DiffusionModel, reward: Objective | None, request: Request, noise: Noise
    ) -> Designs:
        """Draw a design for each row of ``noise``.

        Args:
            model: the prior.
            reward: what to raise; None only where ``needs_reward`` is False.
            request: what is asked for.
            noise: of B designs, whole populations; a design depends on its population's rows
                alone.
        """

    @abstractmethod
    def calls_per_design(self, length: int) -> tuple[int, int]:
        """Most denoiser rows and reward rows that one design may take, for ``--dry-run``."""

    def describe(self) -> str:
        """The settings in words, for messages."""
        steps = self.steps or f"as many as letters, at most {DEFAULT_STEPS}"
        fields = {**self.model_dump(), "steps": steps}
        return ", ".join(f"{name} {value}" for name, value in fields.items())

    def steps_for(self, length: int) -> int:
        """Number of steps for designs of a length.

        Raises:
            UsageError: more blocks than positions.
        """
        if self.steps is None:
            return min(length, DEFAULT_STEPS)
        if self.decoding == "blocks" and self.steps > length:
            raise UsageError(
                f"steps {self.steps} is more than the length {length}; use fewer, or decoding=grid"
            )
        return self.steps

    def decode(
        self,
        model: DiffusionModel,
        request: Request,
        noise: Noise,
        *,
        candidates: int = 1,
        value: Value | None = None,
        select: Select | None = None,
        resample: Resample | None = None,
    ) -> Tensor:
        """Decode a batch from noise.

        Args:
            model: the prior.
            request: what is asked for.
            noise: of B rows.
            candidates: children of each state in each step.
            value: what children are worth; not asked when ``select`` is None.
            select: which child goes on; None takes the first.
            resample: asked after every step which states go on; None keeps each in its place. With
                it all states are valued in the first and the last step, whether they change or not.

        Returns:
            (B, L) int64 clean tokens.

        Raises:
            Interrupted: the request was to be given up.
        """
        import torch

        length = request.length
        with torch.inference_mode():
            plan = model.process.plan(length, self.steps_for(length), self.decoding, noise)
            x_t = plan.start
            probs = _predict_distinct(model, x_t, plan.times[0])
            for step in range(plan.steps):
                if request.should_stop():
                    raise Interrupted(f"given up before step {step + 1} of {plan.steps}")
                changing = (plan.step_of == step).any(1)
                # Time alone may change the guess; weights need a value of every state at both ends.
                is_end = resample is not None and step in (0, plan.steps - 1)
                if model.time_conditioned or is_end:
                    changing = torch.ones_like(changing)
                active = changing.nonzero().squeeze(1)
                if len(active):
                    rows = plan.rows(active)
                    children = model.process.propose(
                        x_t[active], probs[active], rows, step, noise.rows(active), candidates
                    )  # (A, M, L)
                    flat = children.flatten(0, 1)
                    if step == plan.steps - 1:
                        child_probs = model.process.certain(flat)
                    else:
                        child_probs = _predict_distinct(model, flat, plan.times[step + 1])
                    kept = torch.arange(len(active), device=x_t.device) * candidates
                    if select is not None and value is not None:
                        own = noise.rows(active).at(step).repeat(candidates)
                        values = value(flat, child_probs, own).view(len(active), candidates)
                        kept = kept + select(values, step, active)
                    x_t[active], probs[active] = flat[kept], child_probs[kept]
                if resample is not None:  # a state takes its order of decoding along
                    order = resample(step)
                    x_t, probs, plan = x_t[order], probs[order], plan.rows(order)
            return x_t


def without_nan(values: Tensor) -> Tensor:
    """Values with NaN, "no score", as -inf: ``argmax`` and ``max`` would rank NaN first."""
    return values.where(~values.isnan(), -float("inf"))


def _predict_distinct(model: DiffusionModel, x_t: Tensor, time: Tensor) -> Tensor:
    """``predict_x_0`` of (N, L) states at one time, each distinct state computed once."""
    import torch

    distinct, place = torch.unique(x_t, dim=0, return_inverse=True)
    times = time.to(torch.float32).expand(len(distinct))
    return model.predict_x_0(distinct, times)[place]
