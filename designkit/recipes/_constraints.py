"""Hard constraints of a run: compiled for every length, kept to by samplers, checked at the end."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from designkit.errors import BudgetExhausted, UsageError

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from designkit.algorithms.sampling._constrained_draw import Guard
    from designkit.alphabet import Alphabet
    from designkit.constraints import Constraints, ConstraintSettings
    from designkit.randomness import Noise

MOST_ATTEMPTS = 100
"""How often a design, or a whole population, is drawn anew before it is given up."""


class RunConstraints:
    """Constraints of designs of any length.

    Args:
        settings: as they were written.
        alphabet: of the designs.

    Attributes:
        alphabet: of the designs.
        reason: what was wrong with a design that was given up.
        given_up_after: the attempts it had, in words.
    """

    def __init__(self, settings: ConstraintSettings, alphabet: Alphabet):
        self._settings = settings
        self.alphabet = alphabet
        self._compiled: dict[tuple[int, str | None], Constraints | None] = {}
        self._guards: dict[int, Guard] = {}
        self.reason = ""
        self.given_up_after = f"all {MOST_ATTEMPTS} attempts"

    def of(self, length: int, root: str | None = None) -> Constraints | None:
        """Constraints of designs of one length; None where there are none.

        Args:
            length: L.
            root: the sequence that they descend from, whose letters are kept in place of those of
                the template; None for none.

        Raises:
            UsageError: they do not fit the length, or no design satisfies them.
        """
        parent = root if self._settings.kept(length) is not None else None
        if (length, parent) not in self._compiled:
            found = self._settings.compile(self.alphabet, length, parent)
            self._compiled[length, parent] = found
        return self._compiled[length, parent]

    @property
    def keeps_places(self) -> bool:
        """Whether some constraint speaks of positions."""
        own = self._settings
        return any(part is not None for part in (own.template, own.fix, own.design, own.coding))

    def violations(self, sequence: str, root: str | None = None) -> list[str]:
        """What is wrong with a finished design, in words; arguments are those of ``of``."""
        constraints = self.of(len(self.alphabet.split(sequence)), root)
        return [] if constraints is None else constraints.violations(sequence)

    def free(self, length: int, root: str | None = None) -> int:
        """Letters of a design that are to be found; arguments are those of ``of``."""
        constraints = self.of(length, root)
        return length if constraints is None else constraints.free

    def changeable(self, length: int, root: str | None = None) -> Tensor | None:
        """Positions (L,) bool that may change, the same for all roots; None for all."""
        import torch

        constraints = self.of(length, root)
        if constraints is None:
            return None
        return torch.tensor([token is None for token in constraints.fixed])

    def guard(self, length: int, device: torch.device, root: str | None = None) -> Guard | None:
        """What samplers keep to.

        Args:
            length: of the designs.
            device: theirs.
            root: any sequence that designs descend from. The letters that these keep differ from
                root to root: samplers are given them, and the guard leaves them open.
        """
        from designkit.algorithms.sampling._constrained_draw import Guard

        constraints = self.of(length, root)
        if constraints is None:
            return None
        if length not in self._guards:
            if root is not None:
                anything = frozenset(range(self.alphabet.size))
                kept = self._settings.kept(length) or frozenset()
                allowed = enumerate(constraints.allowed)
                opened = tuple(anything if place in kept else some for place, some in allowed)
                constraints = replace(constraints, allowed=opened)
            self._guards[length] = Guard(constraints, device)
        return self._guards[length]

    def describe(self, length: int, root: str | None = None) -> str:
        """What is asked of designs, for messages; empty where there is nothing."""
        constraints = self.of(length, root)
        if constraints is None:
            return ""
        words = self._settings.describe(self.alphabet)
        told = f"constraints: {constraints.free} of {length} positions free"
        own = self._settings
        told += f"; forbidden: {words}" if words else ""
        told += f"; no stop codon in frame in {own.coding}" if own.coding is not None else ""
        return told + (f"; GC {', '.join(own.gc)}" if own.gc else "")

    def draw(
        self,
        noise: Noise,
        population: int,
        draw: Callable[[Noise, Tensor, int], Sequence[str]],
    ) -> list[str | None]:
        """Designs that satisfy the constraints, drawn anew while they do not.

        Whether a design is drawn again depends on itself and its population alone. How often is
        limited: a constraint may be out of reach of the model. A budget that ends while designs
        are drawn again ends these alone; those that satisfy the constraints are there.

        Args:
            noise: of the B designs, whole populations.
            population: designs that depend on each other and are drawn anew together.
            draw: from noise, the numbers (N,) of rows among the B and that of the attempt, the
                first being 0, to the designs of these rows.

        Returns:
            (B,) designs; None for those that were given up.

        Raises:
            BudgetExhausted: in the first attempt.
        """
        import torch

        found: list[str | None] = [None] * len(noise.item)
        rows = torch.arange(len(found))
        for attempt in range(MOST_ATTEMPTS):
            again = set()
            anew = noise.rows(rows.to(noise.item.device)).anew(attempt)
            try:
                drawn = draw(anew, rows, attempt)
            except BudgetExhausted:
                if attempt == 0:
                    raise
                self.given_up_after = "the attempts that --max-evals allows"
                return found
            for row, sequence in zip(rows.tolist(), drawn, strict=True):
                wrong = self.violations(sequence)
                if wrong:
                    self.reason = wrong[0]
                    again.add(row // population)
                found[row] = None if wrong else sequence
            if not again:
                return found
            rows = torch.tensor(
                [group * population + one for group in sorted(again) for one in range(population)]
            )
        return found


def template_length(
    settings: ConstraintSettings, alphabet: Alphabet, length: int | None
) -> int | None:
    """The length that was asked for, or that of the template; None where neither was given.

    Raises:
        UsageError: they differ.
    """
    own = settings.template_length(alphabet)
    if own is not None and length is not None and own != length:
        raise UsageError(f"--length {length}, but --template has {own} letters")
    return length if own is None else own
