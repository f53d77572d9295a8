"""How often forbidden words occur in a sequence, such as restriction sites or poly-A signals."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from designkit.errors import RewardError
from designkit.rewards._words import CommaSeparated, WordReward
from designkit.rewards.base import Output, RewardInfo
from designkit.settings import Settings


class ForbiddenSettings(Settings):
    """Which words; ``words``, ``file`` or both.

    Args:
        words: separated by commas: ``GAATTC,AAAAAA``. IUPAC codes may be used.
        file: one word per line; empty lines and those that begin with ``#`` are passed over.
        strand: ``forward``, or ``both`` for words that must not lie on the other strand either.
    """

    words: CommaSeparated = ()
    file: Path | None = None
    strand: Literal["forward", "both"] = "forward"


class Forbidden(WordReward):
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
        self.both_strands = self.settings.strand == "both"
        self.words = [*self.settings.words, *_read_words(self.settings.file)]
        if not self.words:
            raise RewardError("reward 'forbidden' needs words: forbidden?words=GAATTC,AAAAAA")


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
