"""How much of a sequence lies in stretches of low complexity: runs, repeats, few letters."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from pydantic import Field

from designkit.errors import RewardError
from designkit.rewards._lengths import tokens_by_length
from designkit.rewards._windows import covered_letters, window_entropies
from designkit.rewards.base import Output, Reward, RewardInfo, Scores
from designkit.settings import Settings

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from designkit.alphabet import Alphabet

_FEW_LETTERS = 6  # alphabets up to this size are read as words of three letters
_SEG_ENTROPY = 2.2 / math.log2(12)  # SEG's 2.2 bits in 12 residues
_PRINSEQ_ENTROPY = 0.7
_ROUNDING = 1e-9


class LowComplexitySettings(Settings):
    """What a window is, and when its complexity is low; the defaults depend on the alphabet.

    Args:
        window: letters; 64 in DNA and RNA, 12 elsewhere. Shorter sequences are one window.
        word: letters that are counted together; 3 in DNA and RNA, 1 elsewhere.
        entropy: highest relative entropy of a window of low complexity, 0 to 1; 0.7 in DNA and RNA,
            0.614 elsewhere: 2.2 bits in 12 residues.
    """

    window: int | None = Field(default=None, ge=2)
    word: int | None = Field(default=None, ge=1, le=3)
    entropy: float | None = Field(default=None, ge=0, le=1)


class LowComplexity(Reward):
    """Share of letters that lie in a window of low complexity.

    A window of n overlapping words has the entropy ``-sum p log2(p)`` of their frequencies p,
    relative to the largest one possible, ``log2(min(n, words of the alphabet))``. With the
    defaults these are the first windows of SEG in proteins, and the entropy filter of PRINSEQ in
    DNA and RNA, where words of three letters see repeats as DUST does.
    """

    template = RewardInfo(
        name="low_complexity",
        outputs=(Output("low_complexity", unit="fraction", direction="minimize", range=(0, 1)),),
        citation=(
            "Wootton and Federhen 1993, Comput Chem 17:149 (SEG); "
            "Schmieder and Edwards 2011, Bioinformatics 27:863 (PRINSEQ)"
        ),
    )
    settings_type = LowComplexitySettings
    settings: LowComplexitySettings

    def __init__(self, **parameters: Any):
        super().__init__(**parameters)
        self._alphabet: Alphabet | None = None

    def bind(self, alphabet: Alphabet) -> None:
        """Take the defaults for this alphabet.

        Raises:
            RewardError: a window with room for only one word.
        """
        super().bind(alphabet)
        few, settings = alphabet.size <= _FEW_LETTERS, self.settings
        entropy = _PRINSEQ_ENTROPY if few else _SEG_ENTROPY
        self._window = settings.window or (64 if few else 12)
        self._word = settings.word or (3 if few else 1)
        self._entropy = entropy if settings.entropy is None else settings.entropy
        if self._window <= self._word:
            raise RewardError(
                f"reward 'low_complexity': window={self._window} must be longer than "
                f"word={self._word}"
            )
        self._alphabet = alphabet

    def score(self, sequences: list[str]) -> Scores:
        """(N, 1); a sequence with fewer than two words has no score."""
        import numpy as np

        if self._alphabet is None:
            raise RewardError("reward 'low_complexity': bind an alphabet before scoring")
        values = np.full((len(sequences), 1), np.nan)
        errors: list[str | None] = [None] * len(sequences)
        for rows, tokens in tokens_by_length(self._alphabet, sequences):
            length = tokens.shape[1]
            if length <= self._word:
                for row in rows:
                    errors[row] = f"shorter than two words of {self._word} (length {length})"
                continue
            width = min(self._window, length)
            low = self._low_windows(tokens, width)
            values[rows, 0] = covered_letters(low, width).mean(axis=1)
        return Scores(values, errors)

    def _low_windows(self, tokens: NDArray[np.int64], width: int) -> NDArray[np.bool_]:
        """Which windows of (n, L) tokens have low complexity: (n, L - width + 1)."""
        import numpy as np

        assert self._alphabet is not None
        size, word = self._alphabet.size, self._word
        codes = np.zeros((len(tokens), tokens.shape[1] - word + 1), dtype=np.int64)
        for offset in range(word):
            codes = codes * size + tokens[:, offset : offset + codes.shape[1]]
        inside = width - word + 1
        largest = math.log2(min(inside, size**word))
        return window_entropies(codes, inside) <= self._entropy * largest + _ROUNDING
