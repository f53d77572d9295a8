"""Sequences in: FASTA, CSV, TSV and JSON Lines from files, gzip files and standard input.

Everything a record carries besides its sequence passes through: ``read_sequences`` hands other
columns on exactly as they are written (``007`` and ``NA`` stay text, an empty cell is None), so
that a table which is only passing is not changed and chunks cannot disagree about types.
``read_table`` has the whole table in view and gives numeric columns a numeric type.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from types import TracebackType
from typing import Any

import pandas as pd

from designkit.alphabet import Alphabet
from designkit.errors import InputError, UsageError
from designkit.io._formats import check_format, format_of_name, is_missing
from designkit.io._letters import NO_WAYS, Ways, converter_t_u, explain_symbol
from designkit.io._parsers import (
    FASTA,
    Record,
    detect_format,
    parse_fasta,
    parse_jsonl,
    parse_table,
)
from designkit.io._text_source import TextSource

MAX_FAILURES_KEPT = 20
_MISSING_LABELS = {"", "NA", "N/A", "NaN", "nan", "null", "NULL", "None"}


class SequenceReader:
    """An iterator over tables of valid sequences; made by ``read_sequences``.

    Attributes:
        name: how messages call the source.
        input_format: fasta, csv, tsv or jsonl, after detection.
        rows_read: records seen so far, valid or not.
        rows_failed: records left out because of ``on_invalid="skip"``.
        failures: the first 20 reasons, one line each.
    """

    def __init__(
        self,
        source: str,
        *,
        alphabet: Alphabet | None = None,
        input_format: str = "auto",
        column: str = "sequence",
        id_column: str = "id",
        convert_t_u: bool = False,
        uppercase: bool = False,
        on_invalid: str = "fail",
        ways: Ways = NO_WAYS,
        chunk_rows: int = 4096,
    ):
        if on_invalid not in ("fail", "skip"):
            raise UsageError(f"--on-invalid {on_invalid}: choose fail or skip when reading")
        if chunk_rows < 1:
            raise UsageError(f"chunk_rows is {chunk_rows}; it must be 1 or more")
        if input_format != "auto":
            check_format(input_format, "--input-format")
        self._alphabet = alphabet
        self._separator = alphabet.separator if alphabet else ""
        self._convert = converter_t_u(alphabet) if convert_t_u else None
        self._uppercase = uppercase
        self._ways = ways
        self._skip = on_invalid == "skip"
        self._chunk_rows = chunk_rows
        self.rows_read = self.rows_failed = 0
        self.failures: list[str] = []
        self._known_columns: dict[str, None] = {}
        self._source = TextSource(source)
        try:
            self.name = self._source.name
            if input_format == "auto":
                input_format = format_of_name(source) or detect_format(self._source, column)
            self.input_format = input_format
            if input_format == FASTA:
                self._records = parse_fasta(self._source, self._separator)
            elif input_format == "jsonl":
                self._records = parse_jsonl(self._source, column, id_column)
            else:
                self._records = parse_table(self._source, input_format, column, id_column)
        except BaseException:
            self._source.close()
            raise
        self._rows = self._valid_rows()

    def __iter__(self) -> Iterator[pd.DataFrame]:
        return self

    def __next__(self) -> pd.DataFrame:
        rows: list[dict[str, Any]] = []
        start = ">" if self.input_format == FASTA else ""
        try:
            for row in islice(self._rows, self._chunk_rows):
                rows.append(row)
                if not self._source.has_record(start):  # a slow pipe: hand on what there is
                    break
        except BaseException:
            self._source.close()
            raise
        if not rows:
            self._source.close()
            if self.rows_read == self.rows_failed:
                reasons = f"; the first: {self.failures[0]}" if self.failures else ""
                raise InputError(f"{self.name}: no usable sequence in it{reasons}")
            raise StopIteration
        return self._frame(rows)

    def __enter__(self) -> SequenceReader:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._source.close()

    @property
    def sha256(self) -> str:
        """Hash of the input's stored bytes, once all chunks are read."""
        return self._source.sha256

    def _frame(self, rows: list[dict[str, Any]]) -> pd.DataFrame:
        for row in rows:
            self._known_columns.update(dict.fromkeys(row))
        columns = list(self._known_columns)
        return pd.DataFrame(
            {name: pd.Series([row.get(name) for row in rows], dtype=object) for name in columns}
        ).astype({"id": str, "sequence": str})

    def _valid_rows(self) -> Iterator[dict[str, Any]]:
        for record in self._records:
            self.rows_read += 1
            identifier = record.identifier or f"seq_{self.rows_read}"
            sequence, problem = self._check(record)
            if problem is None:
                yield {"id": identifier, "sequence": sequence, **record.others}
                continue
            line = f"{self.name}: record {identifier} (line {record.line}): {problem}"
            if not self._skip:
                raise InputError(line)
            self.rows_failed += 1
            if len(self.failures) < MAX_FAILURES_KEPT:
                self.failures.append(line)

    def _check(self, record: Record) -> tuple[str, str | None]:
        """The sequence as it will be used, and what is wrong with it."""
        sequence = record.sequence
        if is_missing(sequence) or not str(sequence).strip():
            return "", f"the sequence is empty; remove the record{self._ways.or_skip}"
        if not isinstance(sequence, str):
            return "", f"the sequence is not text but {sequence!r}"
        sequence = " ".join(sequence.split()) if self._separator else sequence.strip()
        if self._uppercase:
            sequence = sequence.upper()
        if self._convert:
            sequence = self._convert(sequence)
        if self._alphabet is not None:
            found = self._alphabet.find_invalid(sequence)
            if found is not None:
                position, symbol = found
                return "", (
                    f"position {position}: {symbol!r} is not in the {self._alphabet.name} alphabet "
                    f"({self._alphabet.describe()}); "
                    f"{explain_symbol(self._alphabet, symbol, self._ways)}"
                )
        return sequence, None


def read_sequences(
    source: str,
    *,
    alphabet: Alphabet | None = None,
    input_format: str = "auto",
    column: str = "sequence",
    id_column: str = "id",
    convert_t_u: bool = False,
    uppercase: bool = False,
    on_invalid: str = "fail",
    ways: Ways = NO_WAYS,
    chunk_rows: int = 4096,
) -> SequenceReader:
    """Read sequences in chunks; memory does not grow with the input.

    The source is opened, its format detected and its header checked before this returns; on
    standard input that waits for the first line. From a pipe that pauses, a chunk may be shorter
    than ``chunk_rows``, so results must not depend on where chunks end.

    Args:
        source: a path or ``-`` for standard input; gzip data are recognised.
        alphabet: letters the sequences must be made of; None accepts anything.
        input_format: auto (by suffix, else by the first line), fasta, csv, tsv or jsonl.
        column: which column of a table or key of a JSON object holds the sequence.
        id_column: which holds the identifier. When the default is absent or a cell is blank,
            records are called seq_1, seq_2, ... by their place. Repeated identifiers are kept.
        convert_t_u: write U as T for DNA alphabets and T as U for RNA alphabets.
        uppercase: accept lower-case letters, as upper case.
        on_invalid: ``fail`` at the first record that cannot be used, or ``skip`` and count it.
        ways: how the command is asked to read in another way, for messages.
        chunk_rows: most rows in one chunk.

    Returns:
        An iterator over tables with the text columns ``id`` and ``sequence``, then all others.
        A foreign column called ``id`` or ``sequence`` is kept as ``id.original`` and
        ``sequence.original``.

    Raises:
        InputError: the source cannot be read, lacks the column, or (while iterating) holds a
            record that cannot be used; names file, record, line, position and letter.
        UsageError: an option that does not exist, or T/U conversion for another molecule.
    """
    return SequenceReader(
        source,
        alphabet=alphabet,
        input_format=input_format,
        column=column,
        id_column=id_column,
        convert_t_u=convert_t_u,
        uppercase=uppercase,
        on_invalid=on_invalid,
        ways=ways,
        chunk_rows=chunk_rows,
    )


def read_table(
    source: str,
    *,
    alphabet: Alphabet | None = None,
    input_format: str = "auto",
    column: str = "sequence",
    id_column: str = "id",
    convert_t_u: bool = False,
    uppercase: bool = False,
    on_invalid: str = "fail",
    ways: Ways = NO_WAYS,
) -> pd.DataFrame:
    """Read all sequences into one table, with numbers and truth values as such.

    Arguments, errors and columns are those of ``read_sequences``, except that a column other than
    ``id`` and ``sequence`` whose cells are all numbers (or NA, NaN, null, nothing: missing) is
    numeric, and one whose cells are all true/false is boolean. ``attrs`` of the table holds
    ``rows_read``, ``rows_failed``, ``failures`` and ``sha256``.
    """
    with SequenceReader(
        source,
        alphabet=alphabet,
        input_format=input_format,
        column=column,
        id_column=id_column,
        convert_t_u=convert_t_u,
        uppercase=uppercase,
        on_invalid=on_invalid,
        ways=ways,
    ) as reader:
        frame = pd.concat(reader, ignore_index=True)
    for name in frame.columns.drop(["id", "sequence"]):
        frame[name] = _typed(frame[name])
    frame.attrs = {
        "rows_read": reader.rows_read,
        "rows_failed": reader.rows_failed,
        "failures": reader.failures,
        "sha256": reader.sha256,
    }
    return frame


def _typed(values: pd.Series) -> pd.Series:
    """The column as numbers or truth values if every cell is one, else as it is."""
    if any(isinstance(value, list | dict) for value in values):
        return values
    missing = values.isna() | values.isin(_MISSING_LABELS)
    present = values[~missing]
    if not len(present):
        return values
    truth = present.map({"True": True, "False": False, "true": True, "false": False})
    if not truth.isna().any() and not missing.any():
        return truth.astype(bool)
    try:
        return pd.to_numeric(present).reindex(values.index)
    except (ValueError, TypeError):
        return values.infer_objects()
