"""Hard constraints of a run: compiled for every length, kept to by samplers, checked at the end."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from designkit.errors import UsageError

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
    """

    def __init__(self, settings: ConstraintSettings, alphabet: Alphabet):
        self._settings = settings
        self.alphabet = alphabet
        self._compiled: dict[int, Constraints | None] = {}
        self._guards: dict[int, Guard] = {}
        self.reason = ""

    def of(self, length: int) -> Constraints | None:
        """Constraints of designs of one length; None where there are none.

        Raises:
            UsageError: they do not fit the length, or no design satisfies them.
        """
        if length not in self._compiled:
            self._compiled[length] = self._settings.compile(self.alphabet, length)
        return self._compiled[length]

    def free(self, length: int) -> int:
        """Letters of a design that are to be found."""
        constraints = self.of(length)
        return length if constraints is None else constraints.free

    def guard(self, length: int, device: torch.device) -> Guard | None:
        """What samplers keep to."""
        from designkit.algorithms.sampling._constrained_draw import Guard

        constraints = self.of(length)
        if constraints is None:
            return None
        if length not in self._guards:
            self._guards[length] = Guard(constraints, device)
        return self._guards[length]

    def describe(self, length: int) -> str:
        """What is asked of designs of a length, for messages; empty where there is nothing."""
        constraints = self.of(length)
        if constraints is None:
            return ""
        words = self._settings.describe(self.alphabet)
        told = f"constraints: {constraints.free} of {length} positions free"
        return told + (f"; forbidden: {words}" if words else "")

    def draw(
        self,
        noise: Noise,
        population: int,
        draw: Callable[[Noise, Tensor], Sequence[str]],
    ) -> list[str | None]:
        """Designs that satisfy the constraints, drawn anew while they do not.

        Whether a design is drawn again depends on itself and its population alone. How often is
        limited: a constraint may be out of reach of the model.

        Args:
            noise: of the B designs, whole populations.
            population: designs that depend on each other and are drawn anew together.
            draw: from noise and the numbers (N,) of rows among the B to their designs.

        Returns:
            (B,) designs; None for those that were given up.
        """
        import torch

        found: list[str | None] = [None] * len(noise.item)
        rows = torch.arange(len(found))
        for attempt in range(MOST_ATTEMPTS):
            again = set()
            anew = noise.rows(rows.to(noise.item.device)).anew(attempt)
            for row, sequence in zip(rows.tolist(), draw(anew, rows), strict=True):
                constraints = self.of(len(self.alphabet.split(sequence)))
                wrong = [] if constraints is None else constraints.violations(sequence)
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
