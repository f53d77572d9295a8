"""Roll-outs: decode designs, and keep what the models said of every step."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch

from designkit.algorithms.finetuning._trajectories import LEAST_LOG_PROB, Trajectories
from designkit.diffusion.base import predict_distinct

if TYPE_CHECKING:
    from torch import Tensor

    from designkit.algorithms.values.base import Objective
    from designkit.diffusion.base import Decoding, Transition
    from designkit.models.base import DiffusionModel
    from designkit.randomness import Noise


@dataclass(frozen=True)
class Rollout:
    """Designs that a model has drawn.

    Attributes:
        x_0: (N, L) int64 clean tokens.
        log_prob: (N, steps) float64, what the model gave the letters of each step.
        other_log_prob: the same of another model, where one was asked.
        divergence: (N, steps) float64, KL from the law of the step's letters to the other model's,
            in nats; where one was asked. Its sum is the KL of the paths on average.
        trajectories: of the designs; None where noise does not reveal letters for good.
    """

    x_0: Tensor
    log_prob: Tensor
    other_log_prob: Tensor | None
    divergence: Tensor | None
    trajectories: Trajectories | None

    @property
    def log_ratio(self) -> Tensor:
        """(N,) float64, log of the model's probability of the paths over the other one's."""
        assert self.other_log_prob is not None
        return (self.log_prob - self.other_log_prob).sum(1)

    def seen_from_other(self) -> Rollout:
        """The same designs, the other model's probabilities first; no divergence."""
        assert self.other_log_prob is not None
        return replace(
            self, log_prob=self.other_log_prob, other_log_prob=self.log_prob, divergence=None
        )


@torch.no_grad()
def roll_out(
    model: DiffusionModel,
    length: int,
    steps: int,
    decoding: Decoding,
    noise: Noise,
    other: DiffusionModel | None = None,
    until: int | None = None,
) -> Rollout:
    """Draw a design for each row of ``noise``: those of the ancestral sampler.

    Args:
        model: draws.
        length: L of all designs.
        steps: number of denoising steps, which is that of the calls of each model.
        decoding: how positions are spread over them.
        noise: of N rows.
        other: asked too what it gives the letters that are drawn.
        until: stop before this step, leaving the rest masked; None goes to the end.
    """
    process = model.process
    plan = process.plan(length, steps, decoding, noise)
    x_t = plan.start
    log_prob = torch.zeros(len(x_t), steps, dtype=torch.float64, device=x_t.device)
    other_log_prob, divergence = torch.zeros_like(log_prob), torch.zeros_like(log_prob)
    for step in range(plan.steps if until is None else until):
        rows = plan.changing(step).nonzero().squeeze(1)
        if not len(rows):
            continue
        here, own, time = x_t[rows], plan.rows(rows), plan.times[step]
        law = process.transition(here, predict_distinct(model.predict_x_0, here, time), own, step)
        letters = law.draw(noise.rows(rows).at(step), 1)
        log_prob[rows, step] = law.log_prob(letters).squeeze(1)
        if other is not None:
            guess = predict_distinct(other.predict_x_0, here, time)
            theirs = process.transition(here, guess, own, step)
            found = theirs.log_prob(letters).squeeze(1)
            other_log_prob[rows, step] = found.clamp(min=LEAST_LOG_PROB * length)
            divergence[rows, step] = _divergence(law, theirs)
        x_t[rows] = law.write(here, letters)[:, 0]
    trajectories = None
    if process.reveals:
        assert plan.step_of is not None
        trajectories = Trajectories(x_t, plan.step_of, plan.times, process.states - 1)
    asked = other is not None
    return Rollout(
        x_t,
        log_prob,
        other_log_prob if asked else None,
        divergence if asked else None,
        trajectories,
    )


def _divergence(law: Transition, other: Transition) -> Tensor:
    """KL from the law of a step to another one, (A,) float64."""
    ours, theirs = law.probs.double(), other.probs.double()
    logs = ours.log().clamp(min=LEAST_LOG_PROB) - theirs.log().clamp(min=LEAST_LOG_PROB)
    return (ours * logs).sum(-1).where(law.open, 0.0).sum(1)


def mixed_roll_out(
    model: DiffusionModel,
    pretrained: DiffusionModel,
    share: float,
    length: int,
    steps: int,
    decoding: Decoding,
    noise: Noise,
) -> Rollout:
    """Designs of which the pretrained model draws the first, and both models judge all.

    Args:
        model: draws the others.
        pretrained: the frozen model.
        share: of designs that the pretrained model draws, rounded down.
        length: L.
        steps: of the roll-outs.
        decoding: of the roll-outs.
        noise: of N rows.

    Returns:
        The designs, ``log_prob`` being that of ``model``.
    """
    count = len(noise.item)
    number = int(share * count)
    every = torch.arange(count, device=noise.item.device)
    parts = []
    if number:
        drawn = roll_out(pretrained, length, steps, decoding, noise.rows(every[:number]), model)
        parts.append(drawn.seen_from_other())
    if number < count:
        own = noise.rows(every[number:])
        parts.append(roll_out(model, length, steps, decoding, own, pretrained))
    return parts[0] if len(parts) == 1 else _joined(parts)


def _joined(parts: list[Rollout]) -> Rollout:
    others = [part.other_log_prob for part in parts if part.other_log_prob is not None]
    paths = [part.trajectories for part in parts if part.trajectories is not None]
    joined = None
    if paths:
        step_of = torch.cat([one.step_of for one in paths])
        joined = replace(paths[0], x_0=torch.cat([one.x_0 for one in paths]), step_of=step_of)
    return Rollout(
        torch.cat([part.x_0 for part in parts]),
        torch.cat([part.log_prob for part in parts]),
        torch.cat(others),
        None,
        joined,
    )


def rewards_of(reward: Objective, x_0: Tensor) -> Tensor:
    """Rewards (N,) float64 of designs, -inf and NaN counting as the lowest of the others.

    All are 0 where none has a score.
    """
    values = reward.values(x_0).to(torch.float64)
    known = values.isfinite()
    lowest = values.where(known, float("inf")).amin()
    return values.where(known, lowest.where(lowest.isfinite(), 0.0))
