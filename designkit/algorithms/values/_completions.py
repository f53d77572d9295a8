"""Completions of half-decoded sequences, and what their rewards say together."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from designkit.algorithms.values.base import States, Values

if TYPE_CHECKING:
    from torch import Tensor

    from designkit.diffusion.base import DiffusionProcess


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
    import torch

    from designkit.diffusion.base import predict_distinct

    first = torch.arange(len(states.tokens), device=states.tokens.device)
    rows = first.repeat_interleave(completions)
    noise = states.noise.repeat(completions)
    plan = states.plan.rest(states.step, steps).rows(rows)
    x_t, probs = states.tokens[rows], states.x_0_probs[rows]
    for step in range(plan.steps):
        if step:
            probs = predict_distinct(states.predict, x_t, plan.times[step])
        law = process.transition(x_t, probs, plan, step)
        x_t = law.write(x_t, law.draw(noise, 1, f"roll-out {step}"))[:, 0]
    return x_t


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
