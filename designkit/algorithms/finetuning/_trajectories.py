"""Trajectories of masked diffusion: a clean sequence, and the step in which each letter appears.

The state before step i shows the letters of the steps before it, and masks elsewhere, so that
nothing else of a trajectory need be stored. The plan, which positions each step reveals, is drawn
without a look at the letters: the trained and the pretrained model share it. Two things follow.

* The ratio of what two models say of a trajectory is that of the letters alone: the product over
  the steps of pi(letter | state before the step) of the newly revealed positions.
* Masking is the reverse of decoding for either model. Any clean sequence, wherever it comes from,
  becomes a trajectory by drawing a plan.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch

from designkit.errors import UsageError

if TYPE_CHECKING:
    from torch import Tensor

    from designkit.diffusion.base import Decoding, DiffusionProcess
    from designkit.models.base import DiffusionModel
    from designkit.randomness import Noise

LEAST_LOG_PROB = -100.0
"""Of a letter, in the place of less: differences of logarithms stay finite."""


@dataclass(frozen=True)
class Trajectories:
    """Trajectories of one length and one number of steps.

    Attributes:
        x_0: (N, L) int64 clean tokens, where the trajectories end.
        step_of: (N, L) int64, the step in 0..steps-1 that reveals each position; -1 for positions
            that are given.
        times: (steps + 1,) float64, of the states between the steps, from 1 to 0.
        mask: token of the mask.
    """

    x_0: Tensor
    step_of: Tensor
    times: Tensor
    mask: int

    @property
    def steps(self) -> int:
        """Number of steps."""
        return len(self.times) - 1

    def rows(self, index: Tensor) -> Trajectories:
        """Some of the trajectories."""
        return replace(self, x_0=self.x_0[index], step_of=self.step_of[index])

    def state(self, step: int) -> Tensor:
        """The states before a step, (N, L); after the last step for ``steps``."""
        return self.x_0.where(self.step_of < step, self.mask)

    def revealed(self, step: int) -> Tensor:
        """(N, L) bool, the positions that a step reveals."""
        return self.step_of == step

    def visits(self, steps: Tensor | None = None) -> Visits:
        """The states before some steps of each trajectory.

        Args:
            steps: (N, n) int64; all steps of all trajectories without it.
        """
        if steps is None:
            every = torch.arange(self.steps, device=self.x_0.device)
            steps = every.expand(len(self.x_0), -1)
        number = steps.shape[1]
        step_of = self.step_of.repeat_interleave(number, 0)
        letters = self.x_0.repeat_interleave(number, 0)
        at = steps.reshape(-1, 1)
        return Visits(
            states=letters.where(step_of < at, self.mask),
            letters=letters,
            revealed=step_of == at,
            masked=step_of >= at,
            times=self.times[steps.reshape(-1)].float(),
            number=number,
        )


@dataclass(frozen=True)
class Visits:
    """States that N trajectories pass, n of each, and what comes next; A = N * n.

    Attributes:
        states: (A, L) int64, those of a trajectory one after the other.
        letters: (A, L) int64, of the clean sequences.
        revealed: (A, L) bool, positions that the next step reveals.
        masked: (A, L) bool.
        times: (A,) float32.
        number: n.
    """

    states: Tensor
    letters: Tensor
    revealed: Tensor
    masked: Tensor
    times: Tensor
    number: int

    def log_guess(self, model: DiffusionModel) -> Tensor:
        """Log-probabilities of the letters at masked positions, (A, L, K) float32."""
        logits = model.logits(self.states, self.times)
        return logits.log_softmax(-1).clamp(min=LEAST_LOG_PROB)

    def log_prob(self, log_guess: Tensor) -> Tensor:
        """Log-probability of the letters that the next step reveals, their sum, (N, n) float64."""
        taken = log_guess.gather(-1, self.letters[..., None]).squeeze(-1).double()
        return taken.where(self.revealed, 0.0).sum(1).view(-1, self.number)

    def log_prob_of_rest(self, log_guess: Tensor) -> Tensor:
        """Log-probability of all letters that are still masked, their sum, (N, n) float64."""
        taken = log_guess.gather(-1, self.letters[..., None]).squeeze(-1).double()
        return taken.where(self.masked, 0.0).sum(1).view(-1, self.number)

    def divergence(self, log_guess: Tensor, other: Tensor) -> Tensor:
        """KL from the next step's law under a guess to that under another, (N, n) float64, nats.

        That is the mean of the log-ratio of the step over its letters, and over which of the masked
        positions it reveals, which are so many and otherwise random.
        """
        each = (log_guess.exp() * (log_guess - other)).sum(-1).double()
        total = each.where(self.masked, 0.0).sum(1)
        share = self.revealed.sum(1) / self.masked.sum(1).clamp(min=1)
        return (share * total).view(-1, self.number)


def as_trajectories(
    process: DiffusionProcess, x_0: Tensor, steps: int, decoding: Decoding, noise: Noise
) -> Trajectories:
    """Trajectories to clean sequences (N, L), as either model would have passed them.

    Args:
        process: masked diffusion.
        x_0: (N, L) int64.
        steps: number of steps.
        decoding: how positions are spread over them.
        noise: of the N rows.

    Raises:
        UsageError: see ``check_reveals``.
    """
    mask = check_reveals(process)
    plan = process.plan(x_0.shape[1], steps, decoding, noise)
    assert plan.step_of is not None
    return Trajectories(x_0, plan.step_of, plan.times, mask)


def check_reveals(process: DiffusionProcess) -> int:
    """The token of the mask.

    Raises:
        UsageError: a process whose steps do not reveal letters for good.
    """
    if not process.reveals:
        raise UsageError(
            f"with {type(process).__name__.lower()} noise a letter may change in every step, and "
            "this method needs steps that reveal letters for good, as masked noise has; "
            "use --method rwmle, or a prior of masked noise"
        )
    return process.states - 1


def random_steps(steps: int, number: int, noise: Noise) -> Tensor:
    """Different steps of each trajectory, (N, number) int64, drawn at random.

    Args:
        steps: of a trajectory.
        number: at most ``steps``.
        noise: of the N rows.
    """
    return noise.uniform("steps-to-train", steps).argsort(1)[:, :number]
