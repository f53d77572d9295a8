"""Completions of half-decoded sequences, and what their rewards say together."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING

from designkit.algorithms.values.base import States, Values

if TYPE_CHECKING:
    from torch import Tensor

    from designkit.diffusion.base import DiffusionProcess


def descend(process: DiffusionProcess, states: States, width: int, purpose: str) -> States:
    """The states after one more step, each ``width`` times, one after another.

    Args:
        process: of the states.
        states: N, not finished.
        width: children of each.
        purpose: of the noise, so that the steps that are tried are not those that are taken.
    """
    import torch

    from designkit.diffusion.base import predict_distinct

    first = torch.arange(len(states.tokens), device=states.tokens.device)
    parents = states.select(first.repeat_interleave(width))
    noise, step = states.noise.repeat(width), states.step
    law = process.transition(parents.tokens, parents.x_0_probs, parents.plan, step)
    tokens = law.write(parents.tokens, law.draw(noise, 1, f"{purpose} {step}"))[:, 0]
    there = replace(parents, tokens=tokens, step=step + 1, noise=noise)
    if there.finished:
        return replace(there, x_0_probs=process.certain(tokens))
    return replace(there, x_0_probs=predict_distinct(states.predict, tokens, there.time))


def roll_out(
    process: DiffusionProcess, states: States, completions: int, steps: int | None = None
) -> Tensor:
    """Clean sequences that the sampler's own further steps make of states.

    Args:
        process: of the states.
        states: N, not finished.
        completions: k, of each state.
        steps: most steps to take; None for all that are left.

    Returns:
        (N * k, L) int64, the completions of a state one after another.
    """
    ahead = replace(states, plan=states.plan.rest(states.step, steps), step=0)
    while not ahead.finished:
        ahead = descend(process, ahead, 1 if ahead.step else completions, "roll-out")
    return ahead.tokens


def soft_mean(drawn: Tensor, rewards: Tensor, temperature: float) -> Values:
    """The soft mean of k completions' rewards, and the best completion.

    Args:
        drawn: (k, N, L) clean tokens.
        rewards: (k, N) float64.
        temperature: of the mean; 0 takes the largest.
    """
    best, place = rewards.where(~rewards.isnan(), -math.inf).max(0)
    decoded = drawn.gather(0, place[None, :, None].expand(1, -1, drawn.shape[2]))[0]
    if temperature == 0:
        return Values(best, decoded, best)
    soft = (rewards / temperature).logsumexp(0) - math.log(len(rewards))
    return Values(temperature * soft, decoded, best)
