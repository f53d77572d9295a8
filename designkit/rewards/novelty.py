"""Novelty: how far a sequence is from the nearest one of a reference set."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from designkit.errors import RewardError
from designkit.rewards._edit_distances import Metric, as_characters, check_installed, nearest
from designkit.rewards._sequence_file import read_records
from designkit.rewards.base import Output, Reward, RewardInfo, Scores, explain_t_u
from designkit.settings import Settings

if TYPE_CHECKING:
    from designkit.alphabet import Alphabet


class NoveltySettings(Settings):
    """The reference set and the distance.

    Args:
        reference: FASTA, CSV, TSV or JSON Lines, gzipped or not.
        column: of its sequences, in a table.
        distance: ``levenshtein`` counts insertions, deletions and substitutions; ``hamming``
            counts differing positions, and sees only references of the same length.
    """

    reference: Path
    column: str = "sequence"
    distance: Metric = "levenshtein"


class Novelty(Reward):
    """min over references y of d(x, y) / max(len x, len y): 0 for a known sequence, at most 1.

    ``edits`` is d to that reference, the shortest of equally near ones.
    """

    template = RewardInfo(
        name="novelty",
        outputs=(Output("novelty", unit="fraction", range=(0, 1)), Output("edits", unit="edits")),
        citation="Levenshtein 1966, Sov Phys Dokl 10:707; Hamming 1950, Bell Syst Tech J 29:147",
    )
    settings_type = NoveltySettings
    settings: NoveltySettings

    def __init__(self, **parameters: Any):
        super().__init__(**parameters)
        check_installed("novelty")
        self._written = self._read()
        self._alphabet: Alphabet | None = None
        self._references: dict[int | None, list[str]] = {}

    def bind(self, alphabet: Alphabet) -> None:
        """Check that the references have the same letters.

        Raises:
            RewardError: one of them has another letter.
        """
        super().bind(alphabet)
        for sequence in self._written:
            found = alphabet.find_invalid(sequence)
            if found is not None:
                shown = sequence if len(sequence) <= 30 else f"{sequence[:30]}..."
                raise RewardError(
                    f"reward 'novelty': {self.settings.reference}: {found[1]!r} at position "
                    f"{found[0]} of {shown} is not in the {alphabet.name} alphabet "
                    f"({alphabet.describe()}){_advice(found[1], alphabet)}"
                )
        self._alphabet = alphabet
        self._references = {}
        by_length = self.settings.distance == "hamming"
        for sequence in as_characters(self._written, alphabet):
            length = len(sequence) if by_length else None
            self._references.setdefault(length, []).append(sequence)
        for group in self._references.values():
            group.sort(key=len)

    def score(self, sequences: list[str]) -> Scores:
        """(N, 2) share of the longer length, and edits."""
        import numpy as np

        if self._alphabet is None:
            raise RewardError("reward 'novelty': bind an alphabet before scoring")
        values = np.full((len(sequences), 2), np.nan)
        errors: list[str | None] = [None] * len(sequences)
        groups: dict[int | None, list[int]] = {}
        written = as_characters(sequences, self._alphabet)
        for row, sequence in enumerate(written):
            length = len(sequence) if self.settings.distance == "hamming" else None
            if length in self._references:
                groups.setdefault(length, []).append(row)
            else:
                errors[row] = f"no reference of length {length}"
        for length, rows in groups.items():
            references = self._references[length]
            share, place = nearest([written[r] for r in rows], references, self.settings.distance)
            lengths = [
                max(len(written[row]), len(references[p]))
                for row, p in zip(rows, place.tolist(), strict=True)
            ]
            values[rows, 0] = share
            values[rows, 1] = np.rint(share * lengths)
        return Scores(values, errors)

    def _read(self) -> list[str]:
        """The distinct references, as written."""
        distinct: dict[str, None] = {}
        for chunk in read_records("novelty", self.settings.reference, self.settings.column):
            distinct.update(dict.fromkeys(chunk["sequence"].tolist()))
        return list(distinct)


def _advice(letter: str, alphabet: Alphabet) -> str:
    if letter.upper() in alphabet.index:
        return "; write the references in upper case"
    if letter in "TU":
        return explain_t_u(["dna" if letter == "T" else "rna"], alphabet)
    return "; references are written in the letters of the sequences"
