"""Draws that satisfy hard constraints.

A step of masked diffusion draws some letters from the factorised guess pi of all masked ones. Under
a constraint C it draws them from

    q(x_s | x_t) = p_pi(x_s | x_t) P_pi(C | x_s) / P_pi(C | x_t),

the law of the revealed letters if all masked letters were drawn from pi until C held: no letter is
revealed that leaves no way out. For forbidden words C is a finite automaton, and both probabilities
are sums over its states, position by position (for automata as constraints of generation: Zhang et
al. 2023, arXiv 2304.07438). A step that reveals one position draws from the law of its letter, a
sum over all letters before and after it; a step that reveals several draws whole sequences and
keeps its own positions. Where the guess were the law of the model, designs would follow the model
restricted to C. It is not, and weights correct that: a path of steps has the weight
prod p(x_s | x_t) / q(x_s | x_t) under the restricted law.

Under uniform noise letters may change again, and only the last step draws what stays. In the others
the guess of each clean letter is replaced by its law under C, P_pi(x_0^l | C), and the law of the
step follows from that. Weights grow by P_pi(C | x_s) / P_pi(C | x_t) there too.

Shares of letters, such as GC, are no automaton of few states: states that cannot be completed are
given no weight, and finished designs that are outside the bounds are to be drawn again.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from designkit.algorithms.sampling._automaton_scan import LEAST_WEIGHT, Scan
from designkit.diffusion.base import Revision, Transition

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from designkit.algorithms.values.base import States
    from designkit.constraints import Constraints
    from designkit.diffusion.base import Plan
    from designkit.randomness import Noise


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
        automaton = constraints.automaton
        self._scan = Scan(automaton, constraints.frames, device) if automaton is not None else None

    def judge(self, states: States) -> States:
        """States with their own ``log_chance``, and a guess of allowed letters alone.

        The chance is that of undecided letters, drawn from the guess, to satisfy letters and words;
        -inf where a share of letters can no longer come to lie within its bounds.
        """
        unknown = self._unknown(states)
        chance = self.log_total(states.tokens, states.x_0_probs, unknown)
        chance = chance.where(self.may_hold(states.tokens, unknown), -float("inf"))

        def predict(x_t: Tensor, t: Tensor) -> Tensor:
            return self._restricted(states.predict(x_t, t), x_t, t, states.plan)

        probs = self._restricted(states.x_0_probs, states.tokens, states.time, states.plan)
        return replace(states, x_0_probs=probs, predict=predict, log_chance=chance)

    def _unknown(self, states: States) -> Tensor:
        """(N, L) bool, the positions whose letters are not decided: all that may change again."""
        if states.plan.step_of is None:
            return states.plan.free & (states.time > 0).view(-1, 1)
        return states.tokens >= self._size

    def _restricted(self, probs: Tensor, tokens: Tensor, time: Tensor, plan: Plan) -> Tensor:
        """A guess (N, L, K) of states (N, L) without letters that are not allowed."""
        is_guessed = (time > 0).view(-1, 1) if plan.step_of is None else tokens >= self._size
        weights = probs.clamp(min=LEAST_WEIGHT) * self._allowed
        return (weights / weights.sum(-1, keepdim=True)).where(is_guessed[..., None], probs)

    def transition(self, here: States, law: Transition) -> Transition:
        """A step's law, conditioned on the constraints.

        Args:
            here: A states.
            law: of the step, the model's or a tilted one.

        Returns:
            Of letters that stay, the conditional law itself. Of letters that may change again, what
            follows from the law of each clean letter under the constraints.
        """
        if law.positions.shape[1] == 0:
            return law
        unknown = self._unknown(here)
        if isinstance(law, Revision) and here.step + 1 < here.plan.steps:
            return law.of_guess(self._letters(here.tokens, law.guess, unknown, law.positions))
        if self._scan is None:
            weights = law.probs.double().clamp(min=LEAST_WEIGHT) * self._allowed[law.positions]
            return replace(law, probs=weights / weights.sum(-1, keepdim=True))
        index = law.positions[..., None].expand(-1, -1, self._size)
        guess, told = here.x_0_probs.double(), law.open[..., None]
        guess = guess.scatter(1, index, law.probs.double().where(told, guess.gather(1, index)))
        # The law of a row with one letter to write is simple, whatever the others write.
        writes_one = law.open.sum(1) <= 1
        parts = [
            (rows, kind(law, here.tokens, guess, unknown, rows))
            for kind, rows in (
                (self._of_one, writes_one.nonzero().squeeze(1)),
                (self._of_several, (~writes_one).nonzero().squeeze(1)),
            )
            if len(rows)
        ]
        if len(parts) == 1:
            return parts[0][1]
        return Rows(law.positions, law.probs, law.open, tuple(parts))

    def _of_one(
        self, law: Transition, tokens: Tensor, guess: Tensor, unknown: Tensor, rows: Tensor
    ) -> Transition:
        """The law of rows (n,) that write one letter."""
        positions = law.positions[rows]
        probs = self._letters(tokens[rows], guess[rows], unknown[rows], positions)
        return Transition(positions, probs, law.open[rows])

    def _of_several(
        self, law: Transition, tokens: Tensor, guess: Tensor, unknown: Tensor, rows: Tensor
    ) -> Transition:
        """The law of rows (n,) that write several letters."""
        positions, probs, is_open = law.positions[rows], law.probs[rows], law.open[rows]
        known = tokens[rows], guess[rows], unknown[rows]
        return ConstrainedTransition(positions, probs, is_open, self, *known)

    def floored(self, law: Transition) -> Transition:
        """A law as the guard counts it: letters without a probability have a very small one."""
        return replace(law, probs=law.probs.double().clamp(min=LEAST_WEIGHT))

    def draw(
        self, tokens: Tensor, guess: Tensor, unknown: Tensor, noise: Noise, candidates: int
    ) -> Tensor:
        """Whole sequences (A, M, L) of independent letters, drawn until letters and words hold.

        Args:
            tokens: (A, L), what is known.
            guess: (A, L, K) of the rest.
            unknown: (A, L) bool, what the guess is of.
            noise: of the A rows.
            candidates: M.
        """
        import torch

        positions = torch.arange(tokens.shape[1], device=tokens.device).expand(tokens.shape)
        weights = guess.double().clamp(min=LEAST_WEIGHT) * self._allowed
        law = Transition(positions, weights, unknown)
        if self._scan is not None:
            law = ConstrainedTransition(positions, weights, unknown, self, tokens, weights, unknown)
        return law.write(tokens, law.draw(noise, candidates))

    def _letters(self, tokens: Tensor, guess: Tensor, unknown: Tensor, positions: Tensor) -> Tensor:
        """Law (A, P, K) of each letter, all others being drawn from the guess until C holds.

        Args:
            tokens: (A, L), what is known.
            guess: (A, L, K) of the rest.
            unknown: (A, L) bool, what the guess is of.
            positions: (A, P), whose letters.
        """
        import torch

        index = positions[..., None].expand(-1, -1, self._size)
        guess = guess.double()
        own = guess.gather(1, index)
        if self._scan is None:
            weights = own.clamp(min=LEAST_WEIGHT) * self._allowed[positions]
        else:
            weights = torch.cat(
                [
                    self._scan.letters(some, positions[rows])
                    for rows, some in self._weights(tokens, guess, unknown)
                ]
            )
        total = weights.sum(-1, keepdim=True)
        # Of a state that cannot be completed no letter is better than another.
        return (weights / total).where(total > 0, own)

    def may_hold(self, tokens: Tensor, unknown: Tensor | None = None) -> Tensor:
        """(N,) bool, whether shares of letters can still come to lie within their bounds.

        Args:
            tokens: (N, L), may hold masks.
            unknown: (N, L) bool, positions that are not decided; None for the masked ones.
        """
        import torch

        possible = torch.ones_like(tokens[:, 0], dtype=torch.bool)
        length = self.constraints.length
        unknown = tokens >= self._size if unknown is None else unknown
        for share in self.constraints.shares:
            counted = torch.zeros(self._size + 1, dtype=torch.bool, device=tokens.device)
            counted[list(share.tokens)] = True
            inside, allowed = counted[tokens] & ~unknown, self._allowed
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
        if self._scan is not None:
            state = torch.zeros_like(tokens[:, 0])
            for place, frame in enumerate(self._scan.frames):
                state = self._scan.tables[frame][state, tokens[:, place]]
            good &= state < self._scan.dead
        return good

    def log_total(self, tokens: Tensor, probs: Tensor, unknown: Tensor) -> Tensor:
        """Log of the weight (N,) of all sequences that satisfy letters and words.

        Args:
            tokens: (N, L), what is known.
            probs: (N, L, K) the guess of the rest.
            unknown: (N, L) bool, what the guess is of.
        """
        import torch

        totals = []
        for _, weights in self._weights(tokens, probs, unknown):
            if self._scan is None:
                totals.append(weights.sum(1).log().sum(0))
            else:
                totals.append(self._scan.log_total(weights))
        return torch.cat(totals)

    def _weights(
        self, tokens: Tensor, probs: Tensor, unknown: Tensor
    ) -> Iterator[tuple[slice, Tensor]]:
        """Rows, some at a time, and the weights (L, K, n) of their letters.

        The guess of allowed letters where a position is unknown, one-hot where it is known.
        """
        import torch

        count, length = tokens.shape
        number = torch.arange(self._size, device=tokens.device)
        most = count if self._scan is None else self._scan.rows
        for first in range(0, count, most):
            rows = slice(first, first + most)
            one_hot = (tokens[rows, :, None] == number).to(probs.dtype)
            weights = probs[rows].clamp(min=LEAST_WEIGHT).where(unknown[rows, :, None], one_hot)
            weights = weights.mul_(self._allowed).flatten(1).T.contiguous()
            yield rows, weights.view(length, self._size, -1).double()


@dataclass(frozen=True)
class Rows(Transition):
    """A step's law that is another one for other rows.

    Attributes:
        parts: rows (n,), and their law of as many positions.
    """

    parts: tuple[tuple[Tensor, Transition], ...]

    def draw(self, noise: Noise, candidates: int, purpose: str = "token") -> Tensor:
        """See ``Transition.draw``."""
        count, places = self.positions.shape
        letters = self.positions.new_empty(count, candidates, places)
        for rows, law in self.parts:
            letters[rows] = law.draw(noise.rows(rows), candidates, purpose)
        return letters

    def log_prob(self, letters: Tensor) -> Tensor:
        """See ``Transition.log_prob``."""
        import torch

        found = torch.empty(letters.shape[:2], dtype=torch.float64, device=letters.device)
        for rows, law in self.parts:
            found[rows] = law.log_prob(letters[rows])
        return found


@dataclass(frozen=True)
class ConstrainedTransition(Transition):
    """A step's law of several positions, conditioned on an automaton that reads all positions.

    Attributes:
        guard: holds the automaton.
        tokens: (A, L), what is known.
        guess: (A, L, K) float64 of the rest.
        unknown: (A, L) bool, what the guess is of.
    """

    guard: Guard
    tokens: Tensor
    guess: Tensor
    unknown: Tensor

    def draw(self, noise: Noise, candidates: int, purpose: str = "token") -> Tensor:
        """Whole sequences that satisfy the constraints; the step keeps its own positions."""
        import torch

        length = self.tokens.shape[1]
        uniform = noise.uniform(purpose, length, candidates)  # (A, M, L)
        sequences = torch.cat(
            [
                self._sequences(weights, uniform[rows].permute(2, 1, 0))
                for rows, weights in self.guard._weights(self.tokens, self.guess, self.unknown)
            ]
        )
        return sequences.gather(-1, self.positions[:, None].expand(-1, candidates, -1))

    def _sequences(self, weights: Tensor, uniform: Tensor) -> Tensor:
        """Sequences (n, M, L) of rows whose letters weigh (L, K, n), by numbers (L, M, n)."""
        import torch

        scan = self.guard._scan
        assert scan is not None
        sums, size = scan.ahead(weights), weights.shape[1]
        flat, across = scan.tables.flatten(1), scan.tables.transpose(1, 2).contiguous()
        state = uniform.new_zeros(uniform.shape[1:], dtype=torch.int64)  # (M, n)
        letters = []
        for place, frame in enumerate(scan.frames):
            following = across[frame].index_select(1, state.flatten()).view(-1, state.shape[1])
            ways = sums[place + 1].gather(0, following).view(size, *state.shape)
            upto = ways.mul_(weights[place][:, None]).cumsum(0)  # inversion, see ``categorical``
            # Only a state that breaks the constraints already has no way to go on.
            letter = (upto <= uniform[place] * upto[-1]).sum(0).clamp(max=size - 1)
            state = flat[frame].take(state * size + letter)
            letters.append(letter)
        return torch.stack(letters).permute(2, 1, 0)

    def log_prob(self, letters: Tensor) -> Tensor:
        """Log-probability of the letters (A, M, P) of each candidate, (A, M) float64."""
        candidates = letters.shape[1]
        drawn = self.write(self.tokens, letters).flatten(0, 1)
        shown = self.write(self.unknown, (~self.open)[:, None].expand_as(letters))
        guess = self.guess.repeat_interleave(candidates, 0)
        rest = self.guard.log_total(drawn, guess, shown.flatten(0, 1))
        every = self.guard.log_total(self.tokens, self.guess, self.unknown)
        own = Transition.log_prob(self.guard.floored(self), letters)
        return own + rest.view(-1, candidates) - every[:, None]
