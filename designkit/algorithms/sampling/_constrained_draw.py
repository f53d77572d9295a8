"""Draws that satisfy hard constraints.

A step of masked diffusion draws some letters from the factorised guess pi of all masked ones. Under
a constraint C it draws them from

    q(x_s | x_t) = p_pi(x_s | x_t) P_pi(C | x_s) / P_pi(C | x_t),

the law of the revealed letters if all masked letters were drawn from pi until C held: no letter is
revealed that leaves no way out. For forbidden words C is a finite automaton, and both probabilities
are sums over its states, position by position (the forward-backward algorithm; for automata as
constraints of generation: Zhang et al. 2023, arXiv 2304.07438). Where the guess were the law of the
model, designs would follow the model restricted to C. It is not, and weights correct that: a path
of steps has the weight prod p(x_s | x_t) / q(x_s | x_t) under the restricted law.

Shares of letters, such as GC, are no automaton of few states: states that cannot be completed are
given no weight, and finished designs that are outside the bounds are to be drawn again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from designkit.diffusion.base import Transition, categorical

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from designkit.algorithms.values.base import States
    from designkit.constraints import Constraints
    from designkit.randomness import Noise

_LEAST_WEIGHT = 1e-20
"""Of an allowed letter whose probability is 0, or was rounded to it: drawn where nothing else is
left. Weights are the model's own probability over the proposal's, hence right in any case."""

_LEAST_SUM = 1e-280
"""Of the ways on from a state that has any, relative to the state with the most."""


class Guard:
    """The constraints of one length, on a device.

    Args:
        constraints: that every design satisfies.
        device: of the designs.

    Attributes:
        constraints: the same.
        given: (L,) int64 letters of fixed positions, -1 elsewhere; None where none is fixed.
    """

    def __init__(self, constraints: Constraints, device: torch.device | str = "cpu"):
        import torch

        size = constraints.alphabet.size
        self.constraints = constraints
        self._size = size
        self._allowed = torch.tensor(
            [[token in some for token in range(size)] for some in constraints.allowed],
            device=device,
        ).view(constraints.length, size)
        fixed = [-1 if token is None else token for token in constraints.fixed]
        is_fixed = constraints.free < constraints.length
        self.given = torch.tensor(fixed, device=device) if is_fixed else None
        # Dead is one more state, the last.
        automaton = constraints.automaton
        self._states = automaton.states if automaton is not None else 0
        tables = automaton.tables if automaton is not None else ()
        self._next = [
            torch.tensor([*table, [-1] * size], device=device) % (self._states + 1)
            for table in tables
        ]

    def judge(self, states: States) -> States:
        """States with their own ``log_chance``, and a guess of allowed letters alone.

        The chance is that of masked letters drawn from the guess to satisfy letters and words; -inf
        where a share of letters can no longer come to lie within its bounds.
        """
        chance = states.log_chance
        if not _is_revised(states):
            chance = self._sums(self._weights(states.tokens, states.x_0_probs))[0]
            chance = chance.where(self.may_hold(states.tokens), -float("inf"))

        def predict(x_t: Tensor, t: Tensor) -> Tensor:
            return self._restricted(states.predict(x_t, t), x_t)

        probs = self._restricted(states.x_0_probs, states.tokens)
        return replace(states, x_0_probs=probs, predict=predict, log_chance=chance)

    def _restricted(self, probs: Tensor, tokens: Tensor) -> Tensor:
        """A guess (N, L, K) of states (N, L) without letters that are not allowed."""
        unknown = (tokens >= self._size)[..., None]
        weights = probs.clamp(min=_LEAST_WEIGHT) * self._allowed
        return (weights / weights.sum(-1, keepdim=True)).where(unknown, probs)

    def transition(self, here: States, law: Transition) -> Transition:
        """A step's law, conditioned on the constraints.

        Args:
            here: A states.
            law: of the step, the model's or a tilted one.

        Returns:
            A law of letters that are never changed again; otherwise ``law`` itself.
        """
        if _is_revised(replace(here, step=here.step + 1)):
            return law
        index = law.positions[..., None].expand(-1, -1, self._size)
        told = law.open[..., None]
        probs = law.probs.to(here.x_0_probs.dtype).where(told, here.x_0_probs.gather(1, index))
        opened = (here.tokens >= self._size).scatter(
            1, law.positions, law.open | (here.tokens.gather(1, law.positions) >= self._size)
        )
        weights = self._weights(here.tokens, here.x_0_probs.scatter(1, index, probs), opened)
        if not self._states:
            own = weights.gather(1, index)
            return replace(law, probs=own / own.sum(-1, keepdim=True))
        log_total, sums = self._sums(weights)
        return ConstrainedTransition(
            law.positions, law.probs, law.open, self, weights, sums, log_total
        )

    def may_hold(self, tokens: Tensor) -> Tensor:
        """(N,) bool, whether shares of letters can still come to lie within their bounds.

        Args:
            tokens: (N, L), may hold masks.
        """
        import torch

        possible = torch.ones_like(tokens[:, 0], dtype=torch.bool)
        length = self.constraints.length
        unknown = tokens >= self._size
        for share in self.constraints.shares:
            counted = torch.zeros(self._size + 1, dtype=torch.bool, device=tokens.device)
            counted[list(share.tokens)] = True
            inside, allowed = counted[tokens], self._allowed
            must = inside | (unknown & (~allowed | counted[:-1]).all(1))
            may = inside | (unknown & (allowed & counted[:-1]).any(1))
            width = share.window(length)
            least, most = share.counts(length)
            fewest, greatest = (
                torch.nn.functional.pad(some.long().cumsum(1), (1, 0)) for some in (must, may)
            )
            fewest = fewest[:, width:] - fewest[:, : length - width + 1]
            greatest = greatest[:, width:] - greatest[:, : length - width + 1]
            possible &= ((fewest <= most) & (greatest >= least)).all(1)
        return possible

    def holds(self, tokens: Tensor) -> Tensor:
        """(N,) bool, whether clean sequences (N, L) satisfy all constraints."""
        import torch

        places = torch.arange(tokens.shape[1], device=tokens.device)
        good = self._allowed[places, tokens].all(1) & self.may_hold(tokens)
        if self._states:
            state = torch.zeros_like(tokens[:, 0])
            for place, frame in enumerate(self.constraints.frames):
                state = self._next[frame][state, tokens[:, place]]
            good &= state < self._states
        return good

    def _weights(self, tokens: Tensor, probs: Tensor, unknown: Tensor | None = None) -> Tensor:
        """Weights (N, L, K) float64 of letters: the guess of allowed ones, one-hot where known."""
        import torch.nn.functional as functional

        unknown = tokens >= self._size if unknown is None else unknown
        one_hot = functional.one_hot(tokens, self._size + 1)[..., :-1].double()
        guess = probs.double().clamp(min=_LEAST_WEIGHT)
        return guess.where(unknown[..., None], one_hot) * self._allowed

    def _sums(self, weights: Tensor) -> tuple[Tensor, Sequence[Tensor]]:
        """Total weight of the sequences that satisfy letters and words.

        Args:
            weights: (N, L, K) float64 of the letters.

        Returns:
            Its log (N,), and before each position and at the end (N, S + 1), up to a factor of the
            row: the weight of all ways to go on from each state.
        """
        import torch

        if not self._states:
            return weights.sum(-1).log().sum(1), ()
        rows, length, _ = weights.shape
        ahead = weights.new_ones(rows, self._states + 1)
        ahead[:, -1] = 0
        sums, scales = [ahead], []
        flat = [table.flatten() for table in self._next]
        for place in reversed(range(length)):
            following = ahead.index_select(1, flat[self.constraints.frames[place]])
            ahead = (following.view(rows, -1, self._size) * weights[:, None, place]).sum(-1)
            scale = ahead.amax(1, keepdim=True)
            scales.append(scale)
            ahead = ahead / scale.clamp(min=_LEAST_SUM)
            ahead = ahead.clamp(min=_LEAST_SUM).where(ahead > 0, 0.0)
            sums.append(ahead)
        return torch.cat([*scales, ahead[:, :1]], 1).log().sum(1), sums[::-1]


def _is_revised(states: States) -> bool:
    """Whether letters that states show may still change."""
    return states.plan.step_of is None and not states.finished


@dataclass(frozen=True)
class ConstrainedTransition(Transition):
    """A step's law, conditioned on an automaton that reads all positions.

    Attributes:
        guard: holds the automaton.
        weights: (A, L, K) float64 of the letters of all positions.
        sums: L + 1 of (A, S + 1), the weight of the ways to go on from each state.
        log_total: (A,) log of the weight of all sequences.
    """

    guard: Guard
    weights: Tensor
    sums: Sequence[Tensor]
    log_total: Tensor

    def draw(self, noise: Noise, candidates: int, purpose: str = "token") -> Tensor:
        """Whole sequences that satisfy the constraints; the step keeps its own positions."""
        import torch

        rows, length, size = self.weights.shape
        uniform = noise.uniform(purpose, length, candidates)  # (A, M, L)
        state = uniform.new_zeros(rows, candidates, dtype=torch.int64)
        letters = []
        for place, frame in enumerate(self.guard.constraints.frames):
            following = self.guard._next[frame][state]  # (A, M, K)
            ahead = self.sums[place + 1].gather(1, following.flatten(1)).view(following.shape)
            letter = categorical(ahead * self.weights[:, None, place], uniform[..., place])
            # Only a state that breaks the constraints already has no way to go on.
            letter = letter.clamp(max=size - 1)
            state = following.gather(-1, letter[..., None]).squeeze(-1)
            letters.append(letter)
        index = self.positions[:, None].expand(-1, candidates, -1)
        return torch.stack(letters, -1).gather(-1, index)

    def log_prob(self, letters: Tensor) -> Tensor:
        """Log-probability of the letters (A, M, P) of each candidate, (A, M) float64."""
        import torch.nn.functional as functional

        candidates, size = letters.shape[1], self.weights.shape[-1]
        index = self.positions[..., None].expand(-1, -1, size)
        own = self.weights.gather(1, index)[:, None]
        taken = own * functional.one_hot(letters, size)  # (A, M, P, K)
        taken = taken.where(self.open[:, None, :, None], own)
        weights = self.weights[:, None].repeat(1, candidates, 1, 1)
        weights = weights.scatter(2, index[:, None].expand(-1, candidates, -1, -1), taken)
        log_total = self.guard._sums(weights.flatten(0, 1))[0].view(-1, candidates)
        return log_total - self.log_total[:, None]
