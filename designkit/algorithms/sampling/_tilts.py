"""Laws that children are drawn from in place of the model's own.

A tilt changes the letters' probabilities only: which positions a step decides, and how many, stays
as the process has it. What it changes is paid for by ``Children.log_ratio`` where a method weighs
its children, so that the target stays the same whatever the tilt is.

The soft-optimal policy of masked diffusion is pi(v) exp((v(x^{l<-v}) - v(x)) / temperature) at each
position l, x^{l<-v} being the state with v put in (one position a step). The tilts here differ in
how they come by the change of value v(x^{l<-v}) - v(x):

* ``guess``: the value is taken for r(pi), the relaxed reward of the model's guess, and only row l
  of it changes, from pi_l to the letter: sum_k (1[k = v] - pi_lk) dr / dpi_lk to first order.
* ``straight_through``: the same, with the derivative at the most probable letters, which is where
  predictors were trained.
* ``denoiser``: the value is r(pi(x_t)) as a function of the noisy one-hots x_t, so that what the
  letter says of the other positions counts: dv / dx_lv - dv / dx_lm, m being the token there now.
  Its part at l itself is that of ``guess`` (a position is carried over in the share that it is
  unmasked), the rest goes through the network. One more denoiser row, forward and backward.
* ``learned``: the same derivative of a value network, of which the temperature is part.

A number that is added to all letters of a position drops out.

The first two are of letters of the clean sequence, the others of letters of the next state. Where
letters stay once they are drawn that is the same. Under uniform noise it is not: a step mostly
keeps letters that a later one may change, so the first two tilt the guess, and the law of the step
follows from that.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch

from designkit.algorithms.sampling.base import Tilt, without_nan
from designkit.diffusion.base import predict_distinct
from designkit.distinct import distinct_rows, first_equal
from designkit.errors import UsageError

if TYPE_CHECKING:
    from torch import Tensor

    from designkit.algorithms.values.base import Objective, States
    from designkit.diffusion.base import DiffusionProcess, Transition, X0Function
    from designkit.models.base import DiffusionModel

Heat = Callable[[int], float]
"""The step to its temperature."""

Changes = Callable[["States"], "Tensor"]
"""N states to the change of their value by each letter at each position, (N, L, K)."""

RelaxedValues = Callable[["Tensor", "Tensor"], "Tensor"]
"""Noisy one-hots or probabilities (N, L, V) at times (N,) to values (N,); autograd."""

_ROWS = 256
"""States whose derivatives are taken at once: what bounds the memory of the backward pass."""


def gradient_tilt(changes: Changes, heat: Heat, scale: float, *, of_clean: bool = False) -> Tilt:
    """The law times exp(scale * change / temperature), equal states computed once.

    Args:
        changes: see there; whatever has no derivative is taken for no change.
        heat: temperature of each step.
        scale: guidance scale.
        of_clean: whether the changes are those of letters of the clean sequence: they then tilt
            the guess that the law follows from.
    """

    def tilt(here: States, law: Transition) -> Transition:
        if law.positions.shape[1] == 0:
            return law
        first, place = distinct_rows(here.tokens)
        parts = [changes(here.select(part)) for part in first.split(_ROWS)]
        found = torch.cat(parts).double().nan_to_num(0.0)[place]
        index = law.positions[..., None].expand(-1, -1, found.shape[-1])
        factors = _log_factors(found.gather(1, index), heat(here.step), scale)
        return law.tilted_guess(factors) if of_clean else law.tilted(factors)

    return tilt


def guess_changes(reward: Objective, *, hard: bool) -> Changes:
    """``guess``, or with ``hard`` ``straight_through``, see the top of this file."""

    def changes(states: States) -> Tensor:
        import torch.nn.functional as functional

        probs = states.x_0_probs
        at = functional.one_hot(probs.argmax(-1), probs.shape[-1]).to(probs) if hard else probs
        slope = _derivative(reward.score_relaxed, at)
        return slope - (at * slope).sum(-1, keepdim=True)

    return changes


def denoiser_changes(reward: Objective, process: DiffusionProcess) -> Changes:
    """``denoiser``, see the top of this file."""

    def changes(states: States) -> Tensor:
        times = _times(states)
        return _state_changes(
            lambda x_t: reward.score_relaxed(states.predict(x_t, times)), states, process
        )

    return changes


def learned_changes(values: RelaxedValues, process: DiffusionProcess) -> Changes:
    """``learned``, see the top of this file."""

    def changes(states: States) -> Tensor:
        times = _times(states)
        return _state_changes(lambda x_t: values(x_t, times), states, process)

    return changes


def _times(states: States) -> Tensor:
    return states.time.float().expand(len(states.tokens)).clone()


def _state_changes(
    value: Callable[[Tensor], Tensor], states: States, process: DiffusionProcess
) -> Tensor:
    """First-order change (N, L, K) of a value of the noisy state by another token."""
    import torch.nn.functional as functional

    x_t = functional.one_hot(states.tokens, process.states).float()
    slope = _derivative(value, x_t)
    return slope[..., : process.size] - slope.gather(-1, states.tokens[..., None])


def _derivative(function: Callable[[Tensor], Tensor], at: Tensor) -> Tensor:
    """The derivative of each row's value by its own row of ``at``; 0 where there is none."""
    with torch.inference_mode(False), torch.enable_grad():
        point = at.clone().requires_grad_()
        total = function(point).sum()  # not the mean: a row's derivative is its own
        if not total.requires_grad:
            return torch.zeros_like(at)
        return torch.autograd.grad(total, point)[0]


def exact_tilt(
    value: Callable[[States], Tensor],
    process: DiffusionProcess,
    heat: Heat,
    scale: float,
    *,
    needs_guess: bool,
) -> Tilt:
    """The law times exp(scale * v(x^{l<-v}) / temperature), every letter tried at every position.

    A letter without a score counts as the worst of its position; where the state is finished, it is
    not drawn.

    Args:
        value: of states.
        process: of the model.
        heat: temperature of each step; 0 leaves the best letters.
        scale: guidance scale.
        needs_guess: whether ``value`` needs the model's guess of what it values.
    """

    def tilt(here: States, law: Transition) -> Transition:
        # Where a step writes one letter, what is tried is the next state itself.
        writes_one = (law.open.sum(1) == 1)[:, None]
        factors = torch.zeros_like(law.probs, dtype=torch.float64)
        for step, group in ((here.step + 1, writes_one), (here.step, ~writes_one)):
            rows, places = (law.open & group).nonzero(as_tuple=True)
            if len(rows):
                values = tried(here, law, rows, places, step)
                factors[rows, places] = _log_factors(values, heat(here.step), scale)
        return law.tilted(factors)

    def tried(here: States, law: Transition, rows: Tensor, places: Tensor, step: int) -> Tensor:
        """Values (n, K) of the letters at places (n,) of rows (n,), as states of a step."""
        size, finished = process.size, step == here.plan.steps
        letters = torch.arange(size, device=rows.device).repeat(len(rows))
        parent = rows.repeat_interleave(size)
        position = law.positions[rows, places].repeat_interleave(size)
        tokens = here.tokens[parent].scatter(1, position[:, None], letters[:, None])
        if finished:
            guess = process.certain(tokens)
        elif needs_guess:
            guess = predict_distinct(here.predict, tokens, here.plan.times[step])
        else:
            guess = process.known(here.x_0_probs[parent], position[:, None], letters[:, None])
        width = law.positions.shape[1] * size
        number = (rows * width + places * size)[:, None] + torch.arange(size, device=rows.device)
        states = replace(
            here,
            tokens=tokens,
            x_0_probs=guess,
            rows=here.rows[parent],
            step=step,
            plan=here.plan.rows(parent),
            noise=here.noise.repeat(width).rows(number.flatten()),
            log_chance=here.log_chance[parent],
        )
        values = without_nan(value(states)).view(-1, size)
        if not finished:
            lowest = values.masked_fill(values.isneginf(), torch.inf).amin(1, keepdim=True)
            values = values.where(~values.isneginf(), lowest)
            values = values.masked_fill(lowest.isinf(), 0.0)
        return values

    return tilt


def _log_factors(values: Tensor, temperature: float, scale: float) -> Tensor:
    """Logs (A, P, K) of what values multiply; temperature 0 leaves the best of each position."""
    best = values.amax(-1, keepdim=True)
    if temperature == 0:
        return torch.zeros_like(values).masked_fill(values < best, -torch.inf)
    # -inf minus -inf: no letter has a score, all are as good.
    return (scale / temperature * (values - best)).nan_to_num(0.0, neginf=-torch.inf)


def chained(first: Tilt | None, second: Tilt) -> Tilt:
    """The first tilt, where there is one, and then the second."""
    if first is None:
        return second
    return lambda here, law: second(here, first(here, law))


def proposal_tilt(predict: X0Function, process: DiffusionProcess) -> Tilt:
    """The law of another model, of letters that the first may write: others have no weight.

    Args:
        predict: the other model's guess.
        process: of both.
    """

    def tilt(here: States, law: Transition) -> Transition:
        guess = predict_distinct(predict, here.tokens, here.time)
        theirs = process.transition(here.tokens, guess, here.plan, here.step)
        weights = theirs.probs.where(law.probs > 0, 0.0)
        total = weights.sum(-1, keepdim=True)
        return replace(theirs, probs=(weights / total).where(total > 0, law.probs))

    return tilt


def loaded_proposal(model: DiffusionModel, reference: str, length: int, load: Any) -> Any:
    """The model of a reference, if it can take steps in the place of ``model``.

    Args:
        model: whose designs are drawn.
        reference: of the registry.
        length: letters of the designs.
        load: gives the model of a reference.

    Raises:
        UsageError: it has other letters, another noise process, or was not trained on the length.
    """
    found = load(reference)
    reason = ""
    if not hasattr(found, "predict_x_0"):
        reason = "it is not a prior"
    elif found.alphabet.letters != model.alphabet.letters:
        reason = f"its letters are {found.alphabet.name}, those of the prior {model.alphabet.name}"
    elif found.process != model.process:
        reason = f"its noise is {found.process!r}, that of the prior {model.process!r}"
    elif not found.length_law.minimum <= length <= found.length_law.maximum:
        law = found.length_law
        reason = f"it writes {law.minimum} to {law.maximum} letters, not {length}"
    if reason:
        raise UsageError(f"proposal {reference}: {reason}")
    return found


class RememberedGuesses:
    """Guesses of states; those of the call before are not computed again.

    Args:
        predict: noisy tokens (N, L) and times (N,) to guesses (N, L, K).
    """

    def __init__(self, predict: X0Function):
        self._predict = predict
        self._known: tuple[Tensor, Tensor, Tensor] | None = None

    def __call__(self, x_t: Tensor, t: Tensor) -> Tensor:
        """Guesses of states, all at one time."""
        if x_t.ndim == 3:
            return self._predict(x_t, t)
        if self._known is None or not torch.equal(self._known[1], t[:1]):
            probs = self._predict(x_t, t)
        else:
            tokens, _, guesses = self._known
            found = first_equal(torch.cat([tokens, x_t]))[len(tokens) :]
            new = found >= len(tokens)
            probs = guesses[found.where(~new, 0)]
            if bool(new.any()):
                probs[new] = self._predict(x_t[new], t[new])
        self._known = x_t, t[:1], probs
        return probs
