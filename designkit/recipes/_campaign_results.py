"""Measured values come in: which sequence each belongs to, and which belong to none."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from designkit.errors import InputError, did_you_mean

if TYPE_CHECKING:
    import pandas as pd

    from designkit.alphabet import Alphabet
    from designkit.recipes._campaign_state import Asked, Campaign

MISSING = frozenset(["", "na", "n/a", "nan", "null", "none"])
NAMED = 3
"""Rows that a message names."""


@dataclass
class Results:
    """What a table says of the sequences that were asked for.

    Attributes:
        values: label by sequence, the mean of its rows.
        unmeasured: ids of rows without a value.
        unknown: ids of rows that were never asked for.
        replaced: sequences that had another value before.
    """

    values: dict[str, float] = field(default_factory=dict)
    unmeasured: list[str] = field(default_factory=list)
    unknown: list[str] = field(default_factory=list)
    replaced: list[str] = field(default_factory=list)

    def describe(self, waiting: int) -> str:
        """For people, a line for each kind of row.

        Args:
            waiting: sequences that were asked for and are not measured yet.
        """
        lines = [f"{len(self.values)} sequences measured, {waiting} asked for and still to come"]
        if self.unmeasured:
            lines.append(f"{_several(self.unmeasured)} without a value")
        if self.unknown:
            lines.append(
                f"{_several(self.unknown)} never asked for, left out; "
                "measurements of other sequences come in by --data"
            )
        if self.replaced:
            lines.append(f"{_several(self.replaced)} measured before: the new values count")
        return "\n".join(lines)


def _several(names: list[str]) -> str:
    shown = ", ".join(names[:NAMED]) + (", ..." if len(names) > NAMED else "")
    return f"{len(names)} row{'s' if len(names) > 1 else ''} ({shown})"


def read_results(source: str, label: str, column: str, campaign: Campaign) -> Results:
    """Join a table of results with what was asked for, by id where there is one, else by sequence.

    Args:
        source: CSV or TSV with a header, ``-`` for CSV on standard input.
        label: column of the values.
        column: of the sequences.
        campaign: what was asked for.

    Raises:
        InputError: a file that cannot be read, no such columns, an id with another sequence, a
            value that is no number, nothing measured.
    """
    frame = _read(source)
    keys = [key for key in ("id", column) if key in frame.columns]
    if not keys:
        raise InputError(f"{source}: no column id or {column} to tell whose the values are")
    if label not in frame.columns:
        present = [str(name) for name in frame.columns]
        raise InputError(
            f"{source}: no column {label!r}{did_you_mean(label, present)} "
            f"(columns: {', '.join(present)})"
        )
    by_id = {one.id: one for one in campaign.asked}
    by_sequence = {one.sequence: one for one in campaign.asked}
    found, several = Results(), dict[str, list[float]]()
    rows: list[dict[str, Any]] = [dict(row) for _, row in frame.iterrows()]
    for number, row in enumerate(rows, 1):
        name = row.get("id") or row.get(column) or f"row {number}"
        one = _joined(source, row, column, by_id, by_sequence)
        text = row[label]
        if one is None:
            found.unknown.append(name)
        elif text.lower() in MISSING:
            found.unmeasured.append(one.id)
        else:
            several.setdefault(one.sequence, []).append(_number(source, name, label, text))
    found.values = {sequence: math.fsum(own) / len(own) for sequence, own in several.items()}
    if not found.values:
        raise InputError(
            f"{source}: no row of it is measured and was asked for "
            f"({len(found.unmeasured)} without a value, {len(found.unknown)} never asked for)"
        )
    found.replaced = [
        by_sequence[sequence].id
        for sequence, value in found.values.items()
        if campaign.measured.get(sequence, value) != value
    ]
    return found


def _joined(
    source: str,
    row: dict[str, Any],
    column: str,
    by_id: dict[str, Asked],
    by_sequence: dict[str, Asked],
) -> Asked | None:
    """What a row is about; None where it was never asked for."""
    name, sequence = row.get("id", ""), row.get(column, "")
    one = by_id.get(name)
    if one is not None and sequence and sequence != one.sequence:
        raise InputError(
            f"{source}: record {name}: its sequence is not the one that was asked for by this id; "
            "correct it, or leave out one of the two columns"
        )
    return one or by_sequence.get(sequence)


def _number(source: str, name: str, label: str, text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise InputError(
            f"{source}: record {name}: column {label!r} holds {text!r}, not a number; correct it, "
            "or leave the cell empty"
        )
    return value


def _read(source: str) -> pd.DataFrame:
    """A table as text, cells stripped."""
    import sys

    import pandas as pd

    separator = "\t" if source.removesuffix(".gz").endswith(".tsv") else ","
    try:
        frame = pd.read_csv(
            sys.stdin if source == "-" else source,
            sep=separator,
            dtype=str,
            keep_default_na=False,
            encoding="utf-8-sig",
        )
    except OSError as problem:
        reason = (problem.strerror or str(problem)).lower()
        raise InputError(f"{source}: cannot be read: {reason}") from problem
    except (ValueError, pd.errors.ParserError) as problem:
        raise InputError(f"{source}: not a table: {problem}") from problem
    frame = frame.fillna("")
    return frame.rename(columns=str.strip).map(str.strip)


def read_known(source: str, label: str, column: str, alphabet: Alphabet) -> dict[str, float]:
    """Measured sequences of one's own: label by sequence, the mean of its rows.

    Raises:
        InputError: a file that cannot be read, no such column, other letters, values that are no
            numbers, nothing measured.
    """
    from designkit.io.sequences import read_table

    frame = read_table(source, alphabet=alphabet, column=column)
    if label not in frame.columns:
        raise InputError(
            f"{source}: no column {label!r}{did_you_mean(label, map(str, frame.columns))} "
            f"(columns: {', '.join(map(str, frame.columns))})"
        )
    several: dict[str, list[float]] = {}
    for name, sequence, cell in zip(frame["id"], frame["sequence"], frame[label], strict=True):
        text = "" if cell is None else str(cell).strip()
        if text.lower() not in MISSING:
            several.setdefault(sequence, []).append(_number(source, str(name), label, text))
    if not several:
        raise InputError(f"{source}: no row has a value in column {label!r}")
    return {sequence: math.fsum(own) / len(own) for sequence, own in several.items()}
