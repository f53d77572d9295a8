"""Diversity: how far a sequence is from the others of its population."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from designkit.rewards._edit_distances import as_characters, check_installed, to_others
from designkit.rewards.base import Output, Reward, RewardInfo, Scores

if TYPE_CHECKING:
    from designkit.alphabet import Alphabet


class Diversity(Reward):
    """Mean over the other sequences y of Levenshtein(x, y) / max(len x, len y), 0 to 1.

    ``nearest`` is the smallest of these shares. The population is a set: copies count once and
    have the value of their original.
    """

    template = RewardInfo(
        name="diversity",
        outputs=(
            Output("diversity", unit="fraction", range=(0, 1)),
            Output("nearest", unit="fraction", range=(0, 1)),
        ),
        coupled=True,
        citation="Levenshtein 1966, Sov Phys Dokl 10:707",
    )

    def __init__(self, **parameters: Any):
        super().__init__(**parameters)
        check_installed("diversity")
        self._alphabet: Alphabet | None = None

    def bind(self, alphabet: Alphabet) -> None:
        """Note how sequences are written."""
        super().bind(alphabet)
        self._alphabet = alphabet

    def score(self, sequences: list[str]) -> Scores:
        """(N, 2) mean distance to the others and distance to the nearest."""
        import numpy as np

        place = {sequence: row for row, sequence in enumerate(sorted(set(sequences)))}
        if len(place) < 2:
            values = np.full((len(sequences), 2), np.nan)
            return Scores(values, ["a population of one has no diversity"] * len(sequences))
        # The order of addition, hence of rounding, does not depend on the order of the sequences.
        mean, nearest = to_others(as_characters(list(place), self._alphabet))
        rows = [place[sequence] for sequence in sequences]
        return Scores(np.stack([mean, nearest], axis=1)[rows], [None] * len(sequences))
