"""One parser per format: lines to records, each with the number of the line it begins at.

The parsers are our own because three things matter that ready-made ones leave out: the line
number in every message, tables whose rows are too short or too long being errors, and rows that
leave a pipe as soon as they are complete. (pandas also reads the peptide ``NA`` as missing.)
"""

from __future__ import annotations

import csv
import difflib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from designkit.errors import InputError
from designkit.io._formats import DELIMITERS, parse_fasta_header
from designkit.io._text_source import TextSource

FASTA = "fasta"
# The csv module's default of 128 KiB is shorter than a small genome.
csv.field_size_limit(2**31 - 1)


@dataclass(slots=True)
class Record:
    """One record as written: ``sequence`` unchecked, ``identifier`` empty where there is none."""

    line: int
    identifier: str
    sequence: Any
    others: dict[str, Any]


def detect_format(source: TextSource, column: str) -> str:
    """Tell the format from the first line.

    Raises:
        InputError: it looks like none of them.
    """
    line = (source.first_line() or "").strip("\r\n")
    if line.startswith(">"):
        return FASTA
    if line.startswith("{"):
        return "jsonl"
    if "\t" in line:
        return "tsv"
    if "," in line or line.strip().strip('"') == column:
        return "csv"
    what = "FASTQ; convert it to FASTA" if line.startswith("@") else "neither"
    raise InputError(
        f"{source.name}: cannot tell the format from the first line {_shorten(line)}: expected "
        f"FASTA ('>id') or a table with the column {column!r}, this looks like {what}; "
        "--input-format says which it is"
    )


def parse_fasta(source: TextSource, separator: str) -> Iterator[Record]:
    """Records of FASTA; sequences may span lines.

    Args:
        source: the lines.
        separator: what stands between the symbols of a sequence; white space is otherwise dropped.

    Raises:
        InputError: text before the first ``>``.
    """
    first = source.first_line() or ""
    if not first.startswith(">"):
        raise InputError(
            f"{source.name}: line 1: expected a FASTA header starting with '>', "
            f"found {_shorten(first)}"
        )
    return _fasta_records(source, separator)


def _fasta_records(source: TextSource, separator: str) -> Iterator[Record]:
    start, header = 0, ""
    parts: list[str] = []
    for line in source:
        if line.startswith(">"):
            if start:
                identifier, others = parse_fasta_header(header)
                yield Record(start, identifier, separator.join(parts), dict(others))
            start, header, parts = source.number, line[1:].rstrip("\r\n"), []
        else:
            parts.extend(line.split())
    identifier, others = parse_fasta_header(header)
    yield Record(start, identifier, separator.join(parts), dict(others))


def parse_table(source: TextSource, kind: str, column: str, id_column: str) -> Iterator[Record]:
    """Records of CSV or TSV with a header line.

    Raises:
        InputError: a column is missing or appears twice; while iterating, a row with too few or
            too many fields, or an unclosed quote.
    """
    reader = csv.reader(source, delimiter=DELIMITERS[kind], strict=True)
    header: list[str] = []
    while not header:
        header = _next_row(reader, source, 1) or []
    # A table written with its row numbers has one nameless column.
    header = [name or f"Unnamed: {place}" for place, name in enumerate(header)]
    repeated = [name for name in header if header.count(name) > 1]
    if repeated:
        raise InputError(f"{source.name}: line 1: the column {repeated[0]!r} appears twice")
    _check_present(source.name, "column", header, column, id_column)
    return _table_records(source, reader, header, kind, column, id_column)


def _table_records(
    source: TextSource, reader: Any, header: list[str], kind: str, column: str, id_column: str
) -> Iterator[Record]:
    while True:
        start = source.number + 1
        row = _next_row(reader, source, start)
        if row is None:
            return
        if not row:  # a blank line
            continue
        if len(row) != len(header):
            raise InputError(
                f"{source.name}: line {start}: {len(row)} fields, but the header has "
                f"{len(header)}; is a field with {DELIMITERS[kind]!r} in it not quoted, "
                "or the file cut short?"
            )
        fields: dict[str, Any] = {
            name: cell if cell else None for name, cell in zip(header, row, strict=True)
        }
        yield _record(start, fields, column, id_column)


def _next_row(reader: Any, source: TextSource, start: int) -> list[str] | None:
    try:
        return next(reader, None)
    except csv.Error as error:
        reason = str(error).partition(" - ")[0]  # the rest is advice to programmers
        raise InputError(
            f"{source.name}: line {start}: not a well-formed row ({reason}); "
            "check the quotes and line ends from here on"
        ) from error


def parse_jsonl(source: TextSource, column: str, id_column: str) -> Iterator[Record]:
    """Records of JSON Lines: one object a line.

    Raises:
        InputError: while iterating, a line that is not an object or lacks the sequence.
    """
    for line in source:
        if not line.strip():
            continue
        try:
            fields = json.loads(line.rstrip())
        except json.JSONDecodeError as error:
            raise InputError(
                f"{source.name}: line {source.number}: not JSON ({error.msg}, column {error.colno})"
            ) from error
        if not isinstance(fields, dict) or not fields:
            raise InputError(
                f"{source.name}: line {source.number}: expected one object "
                f'like {{"id": "a", "sequence": "ACGT"}}, found {_shorten(line.strip())}'
            )
        where = f"{source.name}: line {source.number}"
        _check_present(where, "key", list(fields), column, id_column)
        yield _record(source.number, fields, column, id_column)


def _record(line: int, fields: dict[str, Any], column: str, id_column: str) -> Record:
    """Split a row; foreign columns with our two names are set aside as ``.original``."""
    sequence = fields.pop(column)
    identifier = fields.pop(id_column, None)
    for name in ("id", "sequence"):
        if name in fields:
            fields[f"{name}.original"] = fields.pop(name)
    return Record(line, "" if identifier is None else str(identifier), sequence, fields)


def _check_present(where: str, what: str, present: list[str], column: str, id_column: str) -> None:
    wanted = {column: "--column chooses another"}
    if id_column != "id":
        wanted[id_column] = "without that column records are called seq_1, seq_2, ..."
    for name, advice in wanted.items():
        if name in present:
            continue
        message = f"{where}: no {what} {name!r}"
        if present[0].startswith(">"):
            raise InputError(f"{message}; this looks like FASTA: pass --input-format fasta")
        lowered = {candidate.lower(): candidate for candidate in present}
        close = difflib.get_close_matches(name.lower(), lowered, n=1, cutoff=0.5)
        guess = f"; did you mean {lowered[close[0]]!r}?" if close else ";"
        shown = ", ".join(_shorten(candidate, quote=False) for candidate in present[:20])
        more = f" and {len(present) - 20} more" if len(present) > 20 else ""
        raise InputError(f"{message}{guess} {what}s present: {shown}{more}; {advice}")


def _shorten(text: str, quote: bool = True) -> str:
    short = text.rstrip("\r\n")
    short = short if len(short) <= 40 else short[:37] + "..."
    return repr(short) if quote else short
