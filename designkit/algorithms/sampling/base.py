"""The decode loop: propose children of the current states, value them, select.

Every inference-time method is a choice of these three parts. The loop keeps the promises that make
them comparable and cheap:

* the forward pass that valued a child is the proposal pass of the next step, never computed twice;
* states that did not change in a step are not sent to the denoiser again;
* equal children are sent once, and the reward engine scores each distinct sequence once;
* all candidates of all rows go through the denoiser together;
* where a value needs no guess of the children, only the children that go on are sent.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Literal, Self

from pydantic import Field

from designkit.algorithms.sampling._guess import shaped
from designkit.algorithms.values.base import LoadModel, Objective, States
from designkit.diffusion.base import Decoding, Transition, X0Function
from designkit.errors import Interrupted, UsageError
from designkit.settings import Settings

if TYPE_CHECKING:
    from torch import Tensor

    from designkit.diffusion.base import DiffusionProcess
    from designkit.models.base import DiffusionModel
    from designkit.randomness import Noise

DEFAULT_STEPS = 128

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
        log_ratio: (A, M) float64, log of the model's probability of the step over the proposal's.
        rows: (A,) int64, the designs of the batch that the parents may become.
        step: that made them.
        last: whether they are finished.
        noise: of the A parents, at this step.
    """

    tokens: Tensor
    values: Tensor
    log_ratio: Tensor
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
        given: (L,) int64 letters that every design has, -1 where one is to be found; None for none.
    """

    length: int
    should_stop: Callable[[], bool] = lambda: False
    load_model: LoadModel = _no_models
    given: Tensor | None = None

    @property
    def free(self) -> int:
        """Positions that are to be found."""
        return self.length if self.given is None else int((self.given < 0).sum())


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

    Only the defaults of ``order``, ``denoiser_temperature`` and ``top_p``, and as many steps as
    positions, keep the law of the model, which all guided methods tilt; other choices put another
    law in its place.

    Attributes:
        steps: denoising steps, which is the number of denoiser calls. At most the length with
            ``blocks``, where steps = length draws one position at a time and is exact for the
            learned conditionals; fewer steps draw several positions independently and bias the
            designs away from the model. By default the length, at most 128.
        decoding: ``blocks`` reveals a random order of positions in equal blocks; ``grid`` reveals
            each position at its own random time, as published, or revises all positions where
            noise is no mask. By default the process decides.
        order: which positions a step reveals: ``random`` ones, those with the highest
            ``confidence`` (the largest probability of a letter), or with the largest ``margin``
            between the two most probable letters.
        denoiser_temperature: the denoiser's probabilities are raised to the power of its inverse;
            below 1 designs are likelier and more alike.
        top_p: letters outside the smallest set of at least this probability are not drawn.
    """

    steps: int | None = Field(default=None, ge=1)
    decoding: Decoding | None = None
    order: Literal["random", "confidence", "margin"] = "random"
    denoiser_temperature: float = Field(default=1.0, gt=0)
    top_p: float = Field(default=1.0, gt=0, le=1)

    @property
    def needs_reward(self) -> bool:
        """Whether the method cannot run without a reward."""
        return True

    @property
    def needs_condition(self) -> bool:
        """Whether the method needs a model that is bound to a class."""
        return False

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

    def within(self, length: int, rewards: int) -> Sampler:
        """The method as it is, or with fewer steps, so that a design takes few reward rows.

        Args:
            length: letters of a design.
            rewards: reward rows of one design at most.

        Raises:
            UsageError: a single step takes more.
        """
        return self.largest(self.steps_for(length), rewards, length, "steps")

    def largest(self, most: int, rewards: int, length: int, setting: str) -> Sampler:
        """The method with a setting at the largest value, up to ``most``, that keeps to a budget.

        Raises:
            UsageError: the value 1 does not.
        """
        low, high = 0, most
        while low < high:
            middle = (low + high + 1) // 2
            fitted = self.model_copy(update={setting: middle})
            if fitted.calls_per_design(length)[1] <= rewards:
                low = middle
            else:
                high = middle - 1
        if low == 0:
            needed = self.model_copy(update={setting: 1}).calls_per_design(length)[1]
            raise UsageError(
                f"a budget of {rewards} rewards a design is too small: {setting}=1 takes {needed}; "
                "raise --max-evals, or draw fewer designs"
            )
        return self.model_copy(update={setting: low})

    def describe(self) -> str:
        """The settings in words, for messages."""
        steps = self.steps or f"as many as letters, at most {DEFAULT_STEPS}"
        usual = {name: Sampler.model_fields[name].default for name in _LAW}
        fields = {**self.model_dump(), "steps": steps}
        shown = {name: value for name, value in fields.items() if usual.get(name) != value}
        return ", ".join(f"{name} {value}" for name, value in shown.items())

    def suited(self, process: DiffusionProcess) -> Self:
        """The settings with the decoding written out; see ``DiffusionProcess.decoding_for``."""
        decoding = process.decoding_for(self.decoding, ordered=self.order != "random")
        return self.model_copy(update={"decoding": decoding})

    def steps_for(self, length: int) -> int:
        """Number of steps for designs with so many letters to find.

        Raises:
            UsageError: more blocks than positions.
        """
        if self.steps is None:
            return max(1, min(length, DEFAULT_STEPS))
        if self.decoding == "blocks" and self.steps > length:
            raise UsageError(
                f"steps {self.steps} is more than the length {length}; use fewer, or decoding=grid"
            )
        return self.steps

    def guess(self, model: DiffusionModel, x_t: Tensor, t: Tensor) -> Tensor:
        """The guess before temperature and top-p, as in ``predict``; the model's own."""
        return model.predict_x_0(x_t, t)

    def predict(self, model: DiffusionModel, x_t: Tensor, t: Tensor) -> Tensor:
        """The guess that the method works with: ``guess`` with temperature and top-p.

        Args:
            model: the prior.
            x_t: (N, L) noisy tokens.
            t: (N,) times.

        Returns:
            (N, L, K) probabilities of the clean letters.
        """
        probs = self.guess(model, x_t, t)
        return shaped(probs, self.denoiser_temperature, self.top_p)

    def decode(
        self,
        model: DiffusionModel,
        request: Request,
        noise: Noise,
        *,
        candidates: int = 1,
        value: Value | None = None,
        needs_guess: bool = True,
        select: Select | None = None,
        resample: Resample | None = None,
        tilt: Tilt | None = None,
        coupled: bool = False,
    ) -> Tensor:
        """Decode a batch from noise.

        Args:
            model: the prior.
            request: what is asked for.
            noise: of B rows.
            candidates: children of each state in each step.
            value: what children are worth; not asked when ``select`` is None.
            needs_guess: whether ``value`` needs the model's own guess of each child. If not, the
                denoiser sees only the children that go on.
            select: which children go on; None takes the first of each state.
            resample: asked after every step which states go on; None keeps each in its place. With
                it all states are valued in the first and the last step, whether they change or not.
            tilt: the law that children are drawn from; None for the model's.
            coupled: ``select`` may give one state's place to another's child; all states are then
                valued in every step.

        Returns:
            (B, L) int64 clean tokens.

        Raises:
            Interrupted: the request was to be given up.
        """
        import torch

        rows = torch.arange(len(noise.item), device=noise.item.device)
        predict: X0Function = partial(self.predict, model)
        given = None if request.given is None else request.given.expand(len(rows), -1)
        suited = self.suited(model.process)
        with torch.inference_mode():
            steps, decoding = suited.steps_for(request.free), suited.decoding
            assert decoding is not None
            plan = model.process.plan(request.length, steps, decoding, noise, given)
            x_t = plan.start
            probs = _predict_distinct(predict, x_t, plan.times[0])
            for step in range(plan.steps):
                if request.should_stop():
                    raise Interrupted(f"given up before step {step + 1} of {plan.steps}")
                if self.order != "random":
                    plan = plan.reordered(step, _priority(probs, self.order))
                # Time alone may change the guess; weights need a value of every state at both ends.
                is_end = resample is not None and step in (0, plan.steps - 1)
                everyone = coupled or is_end or model.time_conditioned or plan.always
                here = States(x_t, probs, rows, step, plan, noise.at(step), predict)
                if not everyone:
                    here = here.select(plan.changing(step).nonzero().squeeze(1))
                if len(here.rows):
                    there, parents = _advance(
                        model.process, here, candidates, value, needs_guess, select, tilt
                    )
                    if everyone:
                        x_t, probs = there.tokens, there.x_0_probs
                    else:
                        x_t[here.rows], probs[here.rows] = there.tokens, there.x_0_probs
                    if coupled:  # a child takes its parent's order of decoding along
                        plan = plan.rows(parents)
                if resample is not None:
                    order = resample(step)
                    x_t, probs, plan = x_t[order], probs[order], plan.rows(order)
            return x_t


def _advance(
    process: DiffusionProcess,
    here: States,
    candidates: int,
    value: Value | None,
    needs_guess: bool,
    select: Select | None,
    tilt: Tilt | None,
) -> tuple[States, Tensor]:
    """Propose, value, select: the states that follow A states, and the parent (A,) of each."""
    import torch

    step, plan, predict = here.step, here.plan, here.predict
    last, time = step == plan.steps - 1, plan.times[step + 1]
    law = process.transition(here.tokens, here.x_0_probs, plan, step)
    proposal = law if tilt is None else tilt(here, law)
    letters = proposal.draw(here.noise, candidates)
    children = proposal.write(here.tokens, letters)  # (A, M, L)
    flat, count = children.flatten(0, 1), len(here.rows)
    kept = torch.arange(count, device=flat.device) * candidates
    guesses = None
    if last:
        guesses = process.certain(flat)
    elif needs_guess or candidates == 1:
        guesses = _predict_distinct(predict, flat, time)
    if select is not None and value is not None:
        parent = torch.arange(count, device=flat.device).repeat_interleave(candidates)
        states = States(
            tokens=flat,
            x_0_probs=process.known(here.x_0_probs[parent], flat) if guesses is None else guesses,
            rows=here.rows[parent],
            step=step + 1,
            plan=plan.rows(parent),
            noise=here.noise.repeat(candidates),
            predict=predict,
        )
        log_ratio = torch.zeros(count, candidates, dtype=torch.float64, device=flat.device)
        if tilt is not None:
            log_ratio = law.log_prob(letters) - proposal.log_prob(letters)
        values = value(states).view(count, candidates)
        kept = select(Children(children, values, log_ratio, here.rows, step, last, here.noise))
    chosen = flat[kept]
    probs = _predict_distinct(predict, chosen, time) if guesses is None else guesses[kept]
    return replace(here, tokens=chosen, x_0_probs=probs, step=step + 1), kept // candidates


_LAW = ("order", "denoiser_temperature", "top_p")


def without_nan(values: Tensor) -> Tensor:
    """Values with NaN, "no score", as -inf: ``argmax`` and ``max`` would rank NaN first."""
    return values.where(~values.isnan(), -float("inf"))


def _priority(probs: Tensor, order: str) -> Tensor:
    """How sure a guess (N, L, K) is of each position, (N, L)."""
    if order == "confidence" or probs.shape[-1] == 1:
        return probs.amax(-1)
    first, second = probs.topk(2, dim=-1).values.unbind(-1)
    return first - second


def _predict_distinct(predict: X0Function, x_t: Tensor, time: Tensor) -> Tensor:
    """Guesses of (N, L) states at one time, each distinct state computed once."""
    import torch

    distinct, place = torch.unique(x_t, dim=0, return_inverse=True)
    times = time.to(torch.float32).expand(len(distinct))
    return predict(distinct, times)[place]
