"""A measured table as a reward: the value that an experiment found for a sequence."""

from __future__ import annotations

import logging
import math
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import BeforeValidator, Field

from designkit.errors import RewardError, did_you_mean
from designkit.rewards._sequence_file import read_records
from designkit.rewards.base import Output, Reward, RewardInfo, Scores, explain_t_u
from designkit.settings import Settings

if TYPE_CHECKING:
    from designkit.alphabet import Alphabet

_MISSING = {"", "na", "n/a", "nan", "null", "none"}


def _split(value: Any) -> Any:
    return value.split(",") if isinstance(value, str) else value


class LandscapeSettings(Settings):
    """Which table and which of its columns.

    Args:
        file: CSV or TSV with a header line, or JSON Lines; gzipped or not.
        value: column of the values.
        column: column of the sequences.
        positions: places in a sequence, counted from 1, whose letters are what the table lists:
            ``39,40,41,54``; the whole sequence without.
        unit: of the values.
    """

    file: Path
    value: str
    column: str = "sequence"
    positions: Annotated[
        tuple[Annotated[int, Field(ge=1)], ...] | None, BeforeValidator(_split)
    ] = None
    unit: str = ""


class Landscape(Reward):
    """The table's value, the mean where a sequence is listed several times; none for others."""

    template = RewardInfo(
        name="landscape",
        citation="Sinai et al. 2020, arXiv 2010.02141 (measured landscapes as oracles)",
    )
    settings_type = LandscapeSettings
    settings: LandscapeSettings

    def __init__(self, **parameters: Any):
        super().__init__(**parameters)
        self._values = _read(self.settings)
        limits = (min(self._values.values()), max(self._values.values()))
        output = Output("landscape", unit=self.settings.unit, range=limits)
        self.info = replace(self.info, outputs=(output,))
        self._alphabet: Alphabet | None = None

    def bind(self, alphabet: Alphabet) -> None:
        """Check that the table lists sequences of this alphabet; a few others may be among them.

        Raises:
            RewardError: most have other letters.
        """
        super().bind(alphabet)
        foreign = [key for key in self._values if alphabet.find_invalid(key) is not None]
        if 2 * len(foreign) > len(self._values):
            letters = set("".join(foreign))
            other = [name for name, letter in (("dna", "T"), ("rna", "U")) if letter in letters]
            raise RewardError(
                f"reward 'landscape': {self.settings.file}: {len(foreign)} of "
                f"{len(self._values)} sequences are not {alphabet.name} ({alphabet.describe()})"
                f"{explain_t_u(other, alphabet)}"
            )
        self._alphabet = alphabet

    def score(self, sequences: list[str]) -> Scores:
        """(N, 1) values; a sequence that is not in the table has none."""
        import numpy as np

        found = [self._values.get(self._key(sequence)) for sequence in sequences]
        values = np.array([np.nan if value is None else value for value in found], dtype=np.float64)
        errors = [None if value is not None else "not measured" for value in found]
        return Scores(values[:, None], errors)

    def _key(self, sequence: str) -> str:
        positions = self.settings.positions
        if positions is None:
            return sequence
        separator = self._alphabet.separator if self._alphabet else ""
        symbols = sequence.split(separator) if separator else list(sequence)
        if max(positions) > len(symbols):
            return ""
        return separator.join(symbols[position - 1] for position in positions)


def _read(settings: LandscapeSettings) -> dict[str, float]:
    """Value of each sequence.

    Raises:
        RewardError: the file cannot be read, lacks a column, or holds something else than numbers.
    """
    name, where = settings.value, f"reward 'landscape': {settings.file}"
    sums: dict[str, float] = {}
    counts: dict[str, int] = {}
    for chunk in read_records("landscape", settings.file, settings.column):
        if name not in chunk.columns:
            columns = [column for column in chunk.columns if column not in ("id", "sequence")]
            raise RewardError(
                f"{where}: no column {name!r}{did_you_mean(name, columns)} "
                f"(columns of values: {', '.join(columns[:20]) or 'none'})"
            )
        for sequence, written in zip(chunk["sequence"].tolist(), chunk[name].tolist(), strict=True):
            if written is None or str(written).strip().lower() in _MISSING:
                continue
            try:
                value = float(written)
            except (TypeError, ValueError):
                value = math.inf
            if not math.isfinite(value):
                raise RewardError(
                    f"{where}: column {name!r} holds {str(written)[:30]!r} for the sequence "
                    f"{sequence[:30]!r}, which is not a number"
                )
            sums[sequence] = sums.get(sequence, 0.0) + value
            counts[sequence] = counts.get(sequence, 0) + 1
    if not sums:
        raise RewardError(f"{where}: no values in column {name!r}")
    repeated = sum(count > 1 for count in counts.values())
    if repeated:
        logging.getLogger(__name__).warning(
            "%s: %d of %d sequences are listed more than once; each has the mean of its values",
            where,
            repeated,
            len(counts),
        )
    return {sequence: total / counts[sequence] for sequence, total in sums.items()}
