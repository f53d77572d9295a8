"""The longest run of one letter, such as AAAAAA, which is hard to synthesise and to read."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydantic import Field

from designkit.errors import RewardError
from designkit.rewards._lengths import tokens_by_length
from designkit.rewards._words import CommaSeparated
from designkit.rewards.base import Output, Reward, RewardInfo, Scores
from designkit.sequence_stats import run_lengths
from designkit.settings import Settings

if TYPE_CHECKING:
    from designkit.alphabet import Alphabet


class HomopolymerSettings(Settings):
    """Which runs count.

    Args:
        letters: runs of these letters only, separated by commas: ``A,T``; all by default.
        minimum: shortest run of which the letters count into the share.
    """

    letters: CommaSeparated = ()
    minimum: int = Field(default=4, ge=1)


class Homopolymer(Reward):
    """Length of the longest run of one letter, and the share of positions in long runs.

    ``share`` is the number of positions that lie in runs of at least ``minimum`` letters, over the
    length. Where none of ``letters`` occurs both are 0.
    """

    template = RewardInfo(
        name="homopolymer",
        outputs=(
            Output("homopolymer", unit="letters", direction="minimize"),
            Output("share", unit="fraction", direction="minimize", range=(0, 1)),
        ),
        citation="Erlich and Zielinski 2017, Science 355:950, limits of synthesis and sequencing",
    )
    settings_type = HomopolymerSettings
    settings: HomopolymerSettings

    def __init__(self, **parameters: Any):
        super().__init__(**parameters)
        self._alphabet: Alphabet | None = None

    def bind(self, alphabet: Alphabet) -> None:
        """Check that the letters are in the alphabet."""
        super().bind(alphabet)
        unknown = [letter for letter in self.settings.letters if letter not in alphabet.index]
        if unknown:
            raise RewardError(
                f"reward 'homopolymer': {unknown[0]!r} is not in the {alphabet.name} alphabet "
                f"({alphabet.describe()}); letters are separated by commas"
            )
        self._alphabet = alphabet

    def score(self, sequences: list[str]) -> Scores:
        """(N, 2) longest run and share of positions in runs; an empty sequence has neither."""
        import numpy as np

        alphabet = self._alphabet
        if alphabet is None:
            raise RewardError("reward 'homopolymer': bind an alphabet before scoring")
        counted = np.array(
            [c in (self.settings.letters or alphabet.letters) for c in alphabet.letters]
        )
        values = np.full((len(sequences), 2), np.nan)
        errors: list[str | None] = [None] * len(sequences)
        for rows, tokens in tokens_by_length(alphabet, sequences):
            if tokens.shape[1] == 0:
                for row in rows:
                    errors[row] = "empty sequence"
                continue
            runs = run_lengths(tokens) * counted[tokens]
            values[rows, 0] = runs.max(axis=1)
            values[rows, 1] = (runs >= self.settings.minimum).mean(axis=1)
        return Scores(values, errors)
