"""How often forbidden words occur in a sequence, such as restriction sites or poly-A signals."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from designkit.errors import RewardError
from designkit.rewards._lengths import tokens_by_length
from designkit.rewards._words import CommaSeparated, WordCounter
from designkit.rewards.base import Output, Reward, RewardInfo, Scores
from designkit.settings import Settings

if TYPE_CHECKING:
    from torch import Tensor

    from designkit.alphabet import Alphabet


class ForbiddenSettings(Settings):
    """Which words; ``words``, ``file`` or both.

    Args:
        words: separated by commas: ``GAATTC,AAAAAA``. DNA and RNA words may hold IUPAC codes.
        file: one word per line; empty lines and those that begin with ``#`` are passed over.
        strand: ``forward``, or ``both`` for words that must not lie on the other strand either.
    """

    words: CommaSeparated = ()
    file: Path | None = None
    strand: Literal["forward", "both"] = "forward"


class Forbidden(Reward):
    """Number of places at which one of the words begins, summed over the words.

    Overlapping occurrences all count: ``AAAA`` holds ``AAA`` twice. The relaxed score is the
    expected number of occurrences if the letters are independent.
    """

    template = RewardInfo(
        name="forbidden",
        outputs=(Output("forbidden", unit="occurrences", direction="minimize"),),
        differentiable=True,
        citation="IUPAC codes: Cornish-Bowden 1985, Nucleic Acids Res 13:3021",
    )
    settings_type = ForbiddenSettings
    settings: ForbiddenSettings

    def __init__(self, **parameters: Any):
        super().__init__(**parameters)
        self._words = [*self.settings.words, *_read_words(self.settings.file)]
        if not self._words:
            raise RewardError("reward 'forbidden' needs words: forbidden?words=GAATTC,AAAAAA")
        self._alphabet: Alphabet | None = None
        self._counter: WordCounter | None = None

    def bind(self, alphabet: Alphabet) -> None:
        """Read the words in the letters of the alphabet."""
        super().bind(alphabet)
        self._alphabet = alphabet
        both = self.settings.strand == "both"
        self._counter = WordCounter(self._words, alphabet, both_strands=both, name="forbidden")

    def score(self, sequences: list[str]) -> Scores:
        """(N, 1) occurrences; a sequence shorter than all words has none."""
        import numpy as np

        alphabet, counter = self._bound()
        values = np.zeros((len(sequences), 1))
        for rows, tokens in tokens_by_length(alphabet, sequences):
            values[rows, 0] = counter.count(tokens)
        return Scores(values, [None] * len(sequences))

    def score_relaxed(self, probs: Tensor, valid: Tensor | None = None) -> Tensor:
        """Expected occurrences, (B, L, K) to (B,)."""
        return self._bound()[1].expect(probs, valid)

    def _bound(self) -> tuple[Alphabet, WordCounter]:
        if self._alphabet is None or self._counter is None:
            raise RewardError("reward 'forbidden': bind an alphabet before scoring")
        return self._alphabet, self._counter


def _read_words(path: Path | None) -> list[str]:
    if path is None:
        return []
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as problem:
        reason = problem.strerror if isinstance(problem, OSError) else "not a text file"
        raise RewardError(f"word file {path}: {reason}") from problem
    words = [line.strip() for line in text.splitlines()]
    words = [word for word in words if word and not word.startswith("#")]
    if not words:
        raise RewardError(f"word file {path}: no words in it")
    return words
