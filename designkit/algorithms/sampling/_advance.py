"""One step of the decode loop."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from designkit.algorithms.sampling._parts import Children, Select, Tilt, Value
from designkit.algorithms.values.base import States
from designkit.diffusion.base import predict_distinct
from designkit.distinct import distinct_rows

if TYPE_CHECKING:
    from torch import Tensor

    from designkit.algorithms.sampling._constrained_draw import Guard
    from designkit.diffusion.base import DiffusionProcess, Transition


def advance(
    process: DiffusionProcess,
    here: States,
    candidates: int,
    value: Value | None,
    needs_guess: bool,
    select: Select | None,
    tilt: Tilt | None,
    guard: Guard | None,
) -> tuple[States, Tensor]:
    """Propose, value, select: the states that follow A states, and the parent (A,) of each."""
    import torch

    step, plan, predict = here.step, here.plan, here.predict
    last, time = step == plan.steps - 1, plan.times[step + 1]
    law = process.transition(here.tokens, here.x_0_probs, plan, step)
    proposal = law if tilt is None else tilt(here, law)
    if guard is not None:
        proposal = guard.transition(here, proposal)
    letters = proposal.draw(here.noise, candidates)
    children = proposal.write(here.tokens, letters)  # (A, M, L)
    count = len(here.rows)
    # What equal children are worth, and what the model makes of them, is found once.
    first, place = _distinct(letters, proposal.open)
    flat, parent = children.flatten(0, 1)[first], first // candidates
    kept = torch.arange(count, device=flat.device) * candidates
    guesses, chance = None, here.log_chance[parent]
    if last:
        guesses = process.certain(flat)
    elif needs_guess or candidates == 1:
        guesses = predict_distinct(predict, flat, time)
    if select is not None and value is not None:
        states = States(
            tokens=flat,
            x_0_probs=_known(process, here, proposal, letters, first)
            if guesses is None
            else guesses,
            rows=here.rows[parent],
            step=step + 1,
            plan=plan.rows(parent),
            noise=here.noise.repeat(candidates).rows(first),
            predict=predict,
            log_chance=chance,
        )
        log_prob = (law if guard is None else guard.floored(law)).log_prob(letters)
        log_ratio = torch.zeros_like(log_prob)
        if proposal is not law:
            log_ratio = log_prob - proposal.log_prob(letters)
        if guard is not None:
            states = guard.judge(states)
            gain = states.log_chance - chance
            # A state that cannot be completed has no child that can, and no weight to lose.
            gain = gain.where(~chance.isneginf(), 0.0)
            log_ratio, chance = log_ratio + gain[place].view_as(log_ratio), states.log_chance
        values = value(states).where(~chance.isneginf(), -float("inf"))
        values = values[place].view(count, candidates)
        kept = select(
            Children(children, values, log_ratio, log_prob, here.rows, step, last, here.noise)
        )
    own = place[kept]
    chosen = flat[own]
    probs = predict_distinct(predict, chosen, time) if guesses is None else guesses[own]
    there = replace(here, tokens=chosen, x_0_probs=probs, step=step + 1, log_chance=chance[own])
    return there, kept // candidates


def _known(
    process: DiffusionProcess, here: States, law: Transition, letters: Tensor, first: Tensor
) -> Tensor:
    """The parents' guesses (N, L, K) for children ``first`` (N,), with what was written in them.

    Args:
        process: of the states.
        here: the A parents.
        law: of the step.
        letters: (A, M, P), of all children.
        first: (N,) int64 in 0..A*M-1.
    """
    parent = first // letters.shape[1]
    written = letters.flatten(0, 1)[first].where(law.open[parent], -1)
    return process.known(here.x_0_probs[parent], law.positions[parent], written)


def _distinct(letters: Tensor, is_open: Tensor) -> tuple[Tensor, Tensor]:
    """The first of the children of a parent that are equal, as in ``distinct_rows``.

    Args:
        letters: (A, M, P).
        is_open: (A, P) bool, which of them are written.
    """
    import torch

    rows, candidates, _ = letters.shape
    number = torch.arange(rows * candidates, device=letters.device)
    if candidates == 1:
        return number, number
    written = letters.where(is_open[:, None], 0).flatten(0, 1)
    return distinct_rows(torch.cat([number[:, None] // candidates, written], dim=1))
