"""Protein rewards that are a sum or a mean over the residues: fixed tables, looked up by letter."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

from designkit.alphabet import PROTEIN
from designkit.errors import RewardError
from designkit.rewards._lengths import tokens_by_length
from designkit.rewards.base import Reward, Scores

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor

    from designkit.alphabet import Alphabet


@dataclass(frozen=True)
class ResidueValues:
    """What each residue adds.

    Args:
        each: value of a letter anywhere.
        first: what a letter adds to it at the start of the chain; 0 where it is not named.
        last: what a letter adds to it at the end of the chain; 0 where it is not named.
    """

    each: Mapping[str, float]
    first: Mapping[str, float] = field(default_factory=dict)
    last: Mapping[str, float] = field(default_factory=dict)


class ResidueReward(Reward):
    """Sum over the residues of a value for each letter, or their mean; linear, so relaxed exactly.

    Until ``bind`` the letters are those of ``designkit.alphabet.PROTEIN``.

    Attributes:
        mean: divide by the number of residues.
    """

    mean: ClassVar[bool] = False

    def __init__(self, **parameters: Any):
        super().__init__(**parameters)
        self._values = self.residue_values()
        self._lay_out(PROTEIN)

    @abstractmethod
    def residue_values(self) -> ResidueValues:
        """The tables; called once, when the settings are known."""

    def bind(self, alphabet: Alphabet) -> None:
        """Lay the tables out in the order of the alphabet's tokens."""
        super().bind(alphabet)
        self._lay_out(alphabet)

    def score(self, sequences: list[str]) -> Scores:
        """(N, 1); an empty sequence has no score."""
        import numpy as np

        values = np.full((len(sequences), 1), np.nan)
        for rows, tokens in tokens_by_length(self._alphabet, sequences):
            if tokens.shape[1]:
                each = self._each[tokens]
                ends = self._first[tokens[:, 0]] + self._last[tokens[:, -1]]
                values[rows, 0] = each.mean(axis=1) if self.mean else each.sum(axis=1) + ends
        return Scores(values, [None if sequence else "empty sequence" for sequence in sequences])

    def score_relaxed(self, probs: Tensor, valid: Tensor | None = None) -> Tensor:
        """Expected value, (B, L, K) to (B,); positions that exist come before those that do not."""
        import torch

        each, first, last = (
            torch.from_numpy(table).to(probs) for table in (self._each, self._first, self._last)
        )
        if valid is None:
            valid = probs.new_ones(probs.shape[:2], dtype=torch.bool)
        total = ((probs @ each) * valid).sum(1)
        if self.mean:
            return total / valid.sum(1)
        end = probs[torch.arange(len(probs), device=probs.device), valid.sum(1) - 1]
        return total + probs[:, 0] @ first + end @ last

    def _lay_out(self, alphabet: Alphabet) -> None:
        unknown = [letter for letter in alphabet.letters if letter not in self._values.each]
        if unknown:
            raise RewardError(
                f"reward {self.info.name!r} has no value for the letter {unknown[0]!r}; "
                f"it knows the {PROTEIN.size} amino acids"
            )
        self._alphabet = alphabet
        self._each = _array(self._values.each, alphabet)
        self._first = _array(self._values.first, alphabet)
        self._last = _array(self._values.last, alphabet)


def _array(table: Mapping[str, float], alphabet: Alphabet) -> NDArray[np.float64]:
    import numpy as np

    return np.array([table.get(letter, 0.0) for letter in alphabet.letters])
