"""How similar a sequence is to a target: the score of their best alignment, and their identity."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self

from pydantic import model_validator

from designkit.errors import RewardError
from designkit.rewards.base import Output, Reward, RewardInfo, Scores
from designkit.settings import Settings

if TYPE_CHECKING:
    from designkit.alphabet import Alphabet

_MATCH, _MISMATCH = 5.0, -4.0
_GAP_OPEN, _GAP_EXTEND = -10.0, -0.5


class SimilaritySettings(Settings):
    """The target, and which parts are to be alike.

    Args:
        target: a sequence.
        file: FASTA or table with one sequence, instead of ``target``.
        mode: ``global``: all of both; ``local``: any part of one to any part of the other.
    """

    target: str | None = None
    file: Path | None = None
    mode: Literal["global", "local"] = "global"

    @model_validator(mode="after")
    def _one_target(self) -> Self:
        if (self.target is None) == (self.file is None):
            raise ValueError("needs target=SEQUENCE or file=FASTA, one of them")
        return self


class Similarity(Reward):
    """``max(0, s(x, target)) / s(target, target)``, 1 for the target itself; and their identity.

    s is the best alignment's score with the matrices and gap costs of EMBOSS: BLOSUM62 in
    proteins, elsewhere 5 for equal and -4 for other letters; the first letter of a gap costs 10,
    each further one 0.5, also at the ends. Identity is the share of the columns of one best
    alignment, gaps included, in which both have the same letter. In ``local`` mode a sequence that
    holds the target has 1.
    """

    template = RewardInfo(
        name="similarity",
        outputs=(
            Output("similarity", unit="fraction", range=(0, 1)),
            Output("identity", unit="fraction", range=(0, 1)),
        ),
        citation=(
            "Needleman and Wunsch 1970, J Mol Biol 48:443; Smith and Waterman 1981, 147:195; "
            "Henikoff and Henikoff 1992, PNAS 89:10915 (BLOSUM62)"
        ),
    )
    settings_type = SimilaritySettings
    settings: SimilaritySettings

    def __init__(self, **parameters: Any):
        super().__init__(**parameters)
        self._aligner: Any = None

    def bind(self, alphabet: Alphabet) -> None:
        """Choose the letters' scores, and check the target.

        Raises:
            RewardError: no target, several, or one with other letters.
        """
        from Bio.Align import PairwiseAligner, substitution_matrices

        super().bind(alphabet)
        target = self._target()
        if not alphabet.split(target):
            raise RewardError("reward 'similarity': the target is empty")
        found = alphabet.find_invalid(target)
        if found is not None:
            raise RewardError(
                f"reward 'similarity': target: {found[1]!r} at position {found[0]} is not in the "
                f"{alphabet.name} alphabet ({alphabet.describe()})"
            )
        aligner: Any = PairwiseAligner()  # type: ignore[no-untyped-call]
        aligner.mode = self.settings.mode
        if alphabet.name == "protein":
            matrix = substitution_matrices.load("BLOSUM62")  # type: ignore[no-untyped-call]
            aligner.substitution_matrix = matrix
        else:
            aligner.match_score, aligner.mismatch_score = _MATCH, _MISMATCH
        aligner.open_gap_score, aligner.extend_gap_score = _GAP_OPEN, _GAP_EXTEND
        self._alphabet, self._aligner = alphabet, aligner
        self._letters = self._one_letter_each(target)
        self._best = float(aligner.score(self._letters, self._letters))

    def score(self, sequences: list[str]) -> Scores:
        """(N, 2) similarity and identity; an empty sequence has neither."""
        import numpy as np

        if self._aligner is None:
            raise RewardError("reward 'similarity': bind an alphabet before scoring")
        values = np.full((len(sequences), 2), np.nan)
        for row, sequence in enumerate(sequences):
            if sequence:
                values[row] = self._compare(self._one_letter_each(sequence))
        return Scores(values, [None if sequence else "empty sequence" for sequence in sequences])

    def _compare(self, letters: str) -> tuple[float, float]:
        alignments = self._aligner.align(self._letters, letters)
        if alignments.score <= 0 and self.settings.mode == "local":
            return 0.0, 0.0  # nothing is alike, so there is no alignment
        alignment = alignments[0]
        identical = 0
        for (start, end), (other, other_end) in zip(*alignment.aligned, strict=True):
            pairs = zip(self._letters[start:end], letters[other:other_end], strict=True)
            identical += sum(one == two for one, two in pairs)
        steps = abs(alignment.coordinates[:, 1:] - alignment.coordinates[:, :-1])
        columns = int(steps.max(axis=0).sum())
        return max(0.0, alignments.score) / self._best, identical / columns

    def _target(self) -> str:
        if self.settings.target is not None:
            return self.settings.target
        from designkit.io.sequences import read_table

        sequences = read_table(str(self.settings.file))["sequence"].tolist()
        if len(sequences) != 1:
            raise RewardError(
                f"reward 'similarity': {self.settings.file} holds {len(sequences)} sequences; "
                "one is the target: give it as target=SEQUENCE or in a file of its own"
            )
        return str(sequences[0])

    def _one_letter_each(self, sequence: str) -> str:
        """The sequence with one character for each symbol."""
        if not self._alphabet.separator:
            return sequence
        return "".join(chr(self._alphabet.index[symbol]) for symbol in sequence.split())
