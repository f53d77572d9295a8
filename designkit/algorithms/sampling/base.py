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
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Literal, Self

from pydantic import Field

from designkit.algorithms.sampling._advance import advance
from designkit.algorithms.sampling._guess import shaped
from designkit.algorithms.sampling._parts import (
    Children,
    Designs,
    Request,
    Resample,
    Select,
    Tilt,
    Value,
    without_nan,
)
from designkit.algorithms.values.base import Objective, States
from designkit.diffusion.base import Decoding, X0Function, certainty, predict_distinct
from designkit.errors import Interrupted, UsageError
from designkit.settings import Settings

if TYPE_CHECKING:
    from torch import Tensor

    from designkit.diffusion.base import DiffusionProcess
    from designkit.models.base import DiffusionModel
    from designkit.randomness import Noise

__all__ = ["Children", "Designs", "Request", "Sampler", "Select", "Tilt", "Value", "without_nan"]

DEFAULT_STEPS = 128


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
    def keeps_law(self) -> bool:
        """Whether designs follow the law of the model, as far as there are steps enough."""
        usual = all(getattr(self, name) == Sampler.model_fields[name].default for name in _LAW)
        return usual and not self.needs_reward

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

    @property
    def needs_gradient(self) -> bool:
        """Whether the method cannot run with a reward that is not differentiable."""
        return False

    @property
    def references(self) -> tuple[str, ...]:
        """The models of the registry that the method asks for, besides the prior."""
        return ()

    @abstractmethod
    def calls_per_design(self, length: int, letters: int = 4) -> tuple[int, int]:
        """Most denoiser rows and reward rows of one design of L positions and K letters."""

    def network_rows(self, length: int, letters: int = 4) -> int:
        """Most rows of a value network of one design of L positions and K letters."""
        return 0

    def within(self, length: int, rewards: int, letters: int = 4) -> Sampler:
        """The method as it is, or with fewer steps, so that a design takes few reward rows.

        Args:
            length: letters of a design that are to be found.
            rewards: reward rows of one design at most.
            letters: size of the alphabet, K.

        Raises:
            UsageError: a single step takes more.
        """
        return self.largest(self.steps_for(length), rewards, length, letters, "steps")

    def largest(self, most: int, rewards: int, length: int, letters: int, setting: str) -> Sampler:
        """The method with a setting at the largest value, up to ``most``, that keeps to a budget.

        Raises:
            UsageError: the value 1 does not.
        """
        low, high = 0, most
        while low < high:
            middle = (low + high + 1) // 2
            fitted = self.model_copy(update={setting: middle})
            if fitted.calls_per_design(length, letters)[1] <= rewards:
                low = middle
            else:
                high = middle - 1
        if low == 0:
            needed = self.model_copy(update={setting: 1}).calls_per_design(length, letters)[1]
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
                f"steps {self.steps} is more than the {length} letters to be found; use fewer, "
                "or decoding=grid"
            )
        return self.steps

    def guess(self, model: DiffusionModel, x_t: Tensor, t: Tensor) -> Tensor:
        """The guess before temperature and top-p, as in ``predict``; the model's own."""
        return model.predict_x_0(x_t, t)

    def predict(self, model: DiffusionModel, x_t: Tensor, t: Tensor) -> Tensor:
        """The guess that the method works with: ``guess`` with temperature and top-p.

        Args:
            model: the prior.
            x_t: (N, L) noisy tokens, or one-hots or probabilities of them (N, L, V).
            t: (N,) times.

        Returns:
            (N, L, K) probabilities of the clean letters.
        """
        probs = self.guess(model, x_t, t)
        if self.denoiser_temperature == self.top_p == 1:
            return probs
        if model.process.reveals and x_t.ndim == 2 and probs.device.type == "cpu":
            hidden = x_t == model.alphabet.mask  # what is known stays as it is
            probs[hidden] = shaped(probs[hidden], self.denoiser_temperature, self.top_p)
            return probs
        return shaped(probs, self.denoiser_temperature, self.top_p)

    def decode(
        self,
        model: DiffusionModel,
        request: Request,
        noise: Noise,
        *,
        candidates: int | Sequence[int] = 1,
        value: Value | None = None,
        needs_guess: bool = True,
        select: Select | None = None,
        resample: Resample | None = None,
        tilt: Tilt | None = None,
        coupled: bool = False,
        predict: X0Function | None = None,
    ) -> Tensor:
        """Decode a batch from noise.

        Args:
            model: the prior.
            request: what is asked for.
            noise: of B rows.
            candidates: children of each state in each step, or in the first, the second, ... step.
            value: what children are worth; not asked when ``select`` is None.
            needs_guess: whether ``value`` needs the model's own guess of each child. If not, the
                denoiser sees only the children that go on.
            select: which children go on; None takes the first of each state.
            resample: asked after every step which states go on; None keeps each in its place. With
                it all states are valued in the first and the last step, whether they change or not.
            tilt: the law that children are drawn from; None for the model's.
            coupled: ``select`` may give one state's place to another's child; all states are then
                valued in every step.
            predict: what guesses; None for ``self.predict`` of the model.

        Returns:
            (B, L) int64 clean tokens.

        Raises:
            Interrupted: the request was to be given up.
        """
        import torch

        rows = torch.arange(len(noise.item), device=noise.item.device)
        predict = predict or partial(self.predict, model)
        given, guard = request.known_of(len(rows)), request.guard
        suited = self.suited(model.process)
        with torch.inference_mode():
            steps, decoding = suited.steps_for(request.free), suited.decoding
            assert decoding is not None
            plan = model.process.plan(request.length, steps, decoding, noise, given)
            x_t = plan.start
            probs = predict_distinct(predict, x_t, plan.times[0])
            chance = torch.zeros_like(rows, dtype=torch.float64)
            for step in range(plan.steps):
                if request.should_stop():
                    raise Interrupted(f"given up before step {step + 1} of {plan.steps}")
                if self.order != "random":
                    plan = plan.reordered(step, certainty(probs, self.order))
                # Time alone may change the guess; weights need a value of every state at both ends.
                is_end = resample is not None and step in (0, plan.steps - 1)
                everyone = coupled or is_end or model.time_conditioned or plan.always
                if not (everyone or plan.most[step] or resample):
                    continue
                here = States(x_t, probs, rows, step, plan, noise.at(step), predict, chance)
                if not everyone:
                    here = here.select(plan.changing(step).nonzero().squeeze(1))
                if len(here.rows):
                    width = candidates if isinstance(candidates, int) else candidates[step]
                    there, parents = advance(
                        model.process, here, width, value, needs_guess, select, tilt, guard
                    )
                    if everyone:
                        x_t, probs, chance = there.tokens, there.x_0_probs, there.log_chance
                    else:
                        x_t[here.rows], probs[here.rows] = there.tokens, there.x_0_probs
                        chance[here.rows] = there.log_chance
                    if coupled:  # a child takes its parent's order of decoding along
                        plan = plan.rows(parents)
                if resample is not None:
                    order = resample(step)
                    x_t, probs, plan = x_t[order], probs[order], plan.rows(order)
                    chance = chance[order]
            return x_t


_LAW = ("order", "denoiser_temperature", "top_p")
