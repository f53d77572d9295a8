"""What the checks of a reward share: the case under test, and how one ends."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from designkit.alphabet import Alphabet
from designkit.rewards.base import Reward

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

RELATIVE = 1e-6
"""Values of one sequence may differ by this share of the largest: networks in single precision."""


@dataclass(frozen=True)
class Finding:
    """What one check found.

    Attributes:
        check: its name.
        outcome: ``ok``, ``failed`` or ``skipped``.
        detail: what was seen; if it failed, what to do; if it was skipped, why.
    """

    check: str
    outcome: Literal["ok", "failed", "skipped"]
    detail: str


class Failed(Exception):  # noqa: N818 - an outcome
    """The reward does not keep what is checked; the message says what to do."""


class Skipped(Exception):  # noqa: N818 - an outcome
    """There is nothing to check; the message says why."""


@dataclass
class Case:
    """A bound reward under test, and what is known of it so far.

    Attributes:
        reward: bound to ``alphabet``.
        alphabet: of the sequences.
        sequences: at least one.
        values: (N, outputs), once they were scored.
        passed: names of the checks that found nothing wrong.
    """

    reward: Reward
    alphabet: Alphabet
    sequences: list[str]
    values: NDArray[np.float64]
    passed: set[str]

    @property
    def stable(self) -> bool:
        """Whether the value of a sequence is its own, whatever it is scored with."""
        return {"repeat", "order"} <= self.passed and not self.reward.info.coupled

    def first(self, sequence: str, symbols: int) -> str:
        """The first symbols of a sequence."""
        return self.alphabet.separator.join(self.alphabet.split(sequence)[:symbols])

    def homopolymers(self) -> list[str]:
        """Sequences of one and the same letter, as long as the first of ``sequences``."""
        length = len(self.alphabet.split(self.sequences[0]))
        letters = self.alphabet.letters[:40]
        return [self.alphabet.separator.join([letter] * length) for letter in letters]

    def same(self, found: NDArray[np.float64], expected: NDArray[np.float64]) -> bool:
        """Whether two arrays of values say the same, NaN included."""
        import numpy as np

        scale = np.nanmax(np.abs(self.values), initial=0.0)
        return np.allclose(found, expected, rtol=RELATIVE, atol=RELATIVE * scale, equal_nan=True)


def describe(problem: BaseException) -> str:
    """An exception in one line."""
    return " ".join(f"{type(problem).__name__}: {problem}".split())


def short(sequence: str) -> str:
    """A sequence in a message."""
    return repr(sequence if len(sequence) <= 20 else f"{sequence[:17]}...")
