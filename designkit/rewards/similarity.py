"""How similar a sequence is to a target: the score of their best alignment, and their identity."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self

from pydantic import model_validator

from designkit.errors import RewardError
from designkit.rewards._sequence_file import read_records
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
        column: of the sequence, where the file is a table.
        mode: ``global``: both as a whole; ``local``: how much of the target is there, anywhere.
    """

    target: str | None = None
    file: Path | None = None
    column: str = "sequence"
    mode: Literal["global", "local"] = "global"

    @model_validator(mode="after")
    def _one_target(self) -> Self:
        if (self.target is None) == (self.file is None):
            raise ValueError("needs target=SEQUENCE or file=FASTA, one of them")
        return self


class Similarity(Reward):
    """``s(x, target) / max(s(x, x), s(target, target))``: 1 for the target itself, and no other.

    s is the score of the best alignment as EMBOSS needle has it: BLOSUM62 in proteins, elsewhere 5
    for equal and -4 for other letters; the first letter of a gap costs 10, each further one 0.5,
    gaps at the ends nothing. In ``local`` mode (EMBOSS water) it is ``s(x, target) / s(target,
    target)``: 1 for all that holds the target. Identity is the share of the columns of one best
    alignment, gaps included, in which both have the same letter.
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
            self._own = {letter: float(matrix[letter, letter]) for letter in alphabet.letters}
        else:
            aligner.match_score, aligner.mismatch_score = _MATCH, _MISMATCH
            self._own = dict.fromkeys(alphabet.letters, _MATCH)
        aligner.open_gap_score, aligner.extend_gap_score = _GAP_OPEN, _GAP_EXTEND
        if self.settings.mode == "global":
            aligner.end_gap_score = 0.0
        self._alphabet, self._aligner = alphabet, aligner
        self._letters = self._one_letter_each(target)
        self._target_score = self._score_with_itself(target)

    def score(self, sequences: list[str]) -> Scores:
        """(N, 2) similarity and identity; an empty sequence has neither."""
        import numpy as np

        if self._aligner is None:
            raise RewardError("reward 'similarity': bind an alphabet before scoring")
        values = np.full((len(sequences), 2), np.nan)
        for row, sequence in enumerate(sequences):
            if sequence:
                values[row] = self._compare(sequence)
        return Scores(values, [None if sequence else "empty sequence" for sequence in sequences])

    def _compare(self, sequence: str) -> tuple[float, float]:
        letters = self._one_letter_each(sequence)
        alignments = self._aligner.align(self._letters, letters)
        if alignments.score <= 0:
            return 0.0, 0.0  # nothing is alike
        alignment = alignments[0]
        identical = 0
        for (start, end), (other, other_end) in zip(*alignment.aligned, strict=True):
            pairs = zip(self._letters[start:end], letters[other:other_end], strict=True)
            identical += sum(one == two for one, two in pairs)
        steps = abs(alignment.coordinates[:, 1:] - alignment.coordinates[:, :-1])
        largest = self._target_score
        if self.settings.mode == "global":
            largest = max(largest, self._score_with_itself(sequence))
        return alignments.score / largest, identical / int(steps.max(axis=0).sum())

    def _score_with_itself(self, sequence: str) -> float:
        return sum(self._own[symbol] for symbol in self._alphabet.split(sequence))

    def _target(self) -> str:
        if self.settings.target is not None:
            return self.settings.target
        assert self.settings.file is not None
        tables = read_records("similarity", self.settings.file, self.settings.column)
        sequences = [str(sequence) for table in tables for sequence in table["sequence"]]
        if len(sequences) != 1:
            raise RewardError(
                f"reward 'similarity': {self.settings.file} holds {len(sequences)} sequences; "
                "one is the target: give it as target=SEQUENCE or in a file of its own"
            )
        return sequences[0]

    def _one_letter_each(self, sequence: str) -> str:
        """The sequence with one character for each symbol."""
        if not self._alphabet.separator:
            return sequence
        return "".join(chr(self._alphabet.index[symbol]) for symbol in sequence.split())
