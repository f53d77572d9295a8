"""Designs out: FASTA, CSV, TSV or JSON Lines, whole or not at all, and continued after a stop.

A file grows as ``TARGET.part`` and takes its name only when the run ends well. Each ``write`` is
one system call's worth of whole rows, so a killed run loses no finished row, and a full disk
leaves no torn one.
"""

from __future__ import annotations

import contextlib
import fcntl
import gzip
import json
import os
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

import pandas as pd

from designkit.errors import DesignkitError, OutputError, UsageError
from designkit.io._formats import (
    DELIMITERS,
    cell_text,
    check_format,
    fasta_header,
    format_of_name,
    is_gzip_name,
    json_value,
    table_row,
)
from designkit.io._output_files import check_folder, is_stream, output_failed, sync_folder
from designkit.io._resume import CompletePart, complete_part, possible_formats

PART_SUFFIX = ".part"


class DesignWriter:
    """A context manager that writes tables of designs to one output.

    Making it refuses what can be refused before any work; entering it opens the output. Leaving
    it without an exception gives the file its final name. On an exception the finished rows stay
    in ``TARGET.part``, and a note added to the exception says so.

    Args:
        target: a path or ``-`` for standard output; ``.gz`` compresses. Devices and pipes are
            written to directly.
        format: fasta, csv, tsv or jsonl; default by suffix, fasta on standard output.
        columns: which columns to write, in this order; others are left out, absent ones are
            blank. Default: those of the first table.
        force: replace an existing output (only at the end) or an interrupted one.
        append: add to an existing output, whose columns stay in force.
        resume: continue ``TARGET.part`` after its last complete row; starts where there is none.
        resumable: False for a command that cannot continue: what an earlier run left is replaced.

    Attributes:
        rows_written: rows written by this run.
        rows_resumed: complete rows an interrupted run had left (not those appended to).
        rows_before: rows of the output that is appended to.

    Raises:
        OutputError: the output exists, is a folder, or its folder is missing or not writable;
            what is appended to or resumed has another format.
        UsageError: the format is unknown, or a stream is to be appended to or resumed.
    """

    def __init__(
        self,
        target: str,
        *,
        format: str | None = None,
        columns: Sequence[str] | None = None,
        force: bool = False,
        append: bool = False,
        resume: bool = False,
        resumable: bool = True,
    ):
        self.target = target
        self._stream = is_stream(target)
        if not self._stream and os.path.isdir(target):
            raise OutputError(f"{target}: is a folder; name a file in it")
        self.format = _resolve_format(target, format)
        self.rows_written = 0
        self.rows_resumed = 0
        self.rows_before = 0
        self._columns = list(columns) if columns is not None else None
        self._selected = columns is not None
        self._compressed = is_gzip_name(target)
        self._append, self._resume, self._resumable = append, resume, resumable
        self._descriptor = -1
        self._size = 0
        self._header_written = False
        self._write_failed = False
        if force and append:
            raise UsageError("--force replaces an output, --append adds to it; choose one")
        if self._stream:
            if append or resume:
                option = "--append" if append else "--resume"
                raise UsageError(f"{option} needs an output file; {target} is a stream")
            return
        self._path = Path(os.path.realpath(target))
        self._part = self._path.with_name(self._path.name + PART_SUFFIX)
        self._refuse(force)

    @property
    def part(self) -> Path | None:
        """Where the rows are until the end; None for streams."""
        return None if self._stream else self._part

    def __enter__(self) -> DesignWriter:
        try:
            if self.target == "-":
                if sys.stdout is None:
                    raise OutputError("standard output is closed")
            elif self._stream:
                self._descriptor = os.open(self.target, os.O_WRONLY)
            else:
                self._open_part()
        except OSError as error:
            self._close()
            reason = (error.strerror or str(error)).lower()
            raise OutputError(f"{self.target}: cannot be opened: {reason}") from error
        except BaseException:
            self._close()
            raise
        return self

    def write(self, frame: pd.DataFrame) -> None:
        """Write the rows of ``frame``, all or none, and flush them.

        Raises:
            BrokenPipeError: the reader of a stream has gone; passed on for a quiet end.
            OutputError: the disk is full or fails, or a column was not there at the start.
        """
        data = self._encode(frame)
        if data:
            self._put(data)
        self.rows_written += len(frame)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            if error is None:
                self._finish()
            elif not self._stream:
                self._keep(error)
        finally:
            self._close()

    def _refuse(self, force: bool) -> None:
        check_folder(self.target, self._path.parent)
        part_exists = self._part.exists() and self._part.stat().st_size > 0
        if self._resume:
            if self._path.exists() and not part_exists and not self._append:
                raise OutputError(f"{self.target}: already complete; nothing to resume")
        elif part_exists and not force and self._resumable:
            raise OutputError(
                f"{self.target}{PART_SUFFIX}: left by an interrupted run; --resume continues it, "
                "--force starts again"
            )
        elif self._path.exists() and not force and not self._append:
            raise OutputError(
                f"{self.target}: exists already; --force replaces it, --append adds to it"
            )
        continued = [self._path] if self._append else []
        for path in [*continued, *([self._part] if self._resume else [])]:
            self._refuse_other_format(path)

    def _refuse_other_format(self, path: Path) -> None:
        try:
            found = possible_formats(path)
        except FileNotFoundError:
            return
        except OSError as error:
            raise OutputError(f"{path}: cannot be read: {error.strerror}") from error
        if self.format not in found:
            kind = f"is {' or '.join(found)}" if found else "is damaged"
            raise OutputError(f"{path}: {kind}; cannot continue it as {self.format}")

    def _open_part(self) -> None:
        self._descriptor = os.open(self._part, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise OutputError(f"{self.target}: another run is writing it") from None
        except OSError:  # a file system without locks
            pass
        if not _names(self._part, self._descriptor):  # finished and renamed a moment ago
            raise OutputError(f"{self.target}: another run is writing it")
        base = self._measure(self._path) if self._append and self._path.exists() else None
        part = self._measure(self._part) if self._resume else CompletePart()
        if (base is not None and part.rows < base.rows) or part.end == 0:
            part = self._start_afresh(base)
        os.ftruncate(self._descriptor, part.end)
        os.lseek(self._descriptor, part.end, os.SEEK_SET)
        self._size = part.end
        self.rows_before = base.rows if base else 0
        self.rows_resumed = part.rows - self.rows_before
        if part.columns is not None:
            self._adopt_columns(part.columns)

    def _measure(self, path: Path) -> CompletePart:
        return complete_part(path, self.format, self._compressed)

    def _start_afresh(self, base: CompletePart | None) -> CompletePart:
        """Empty the part file, or fill it with the output that is appended to."""
        os.ftruncate(self._descriptor, 0)
        if base is None:
            return CompletePart()
        with open(self._path, "rb") as old, open(self._descriptor, "wb", closefd=False) as new:
            shutil.copyfileobj(old, new)
        end = self._path.stat().st_size
        if end > base.end and not self._compressed:
            # Written elsewhere, without the last line end: that row is whole all the same.
            os.lseek(self._descriptor, 0, os.SEEK_END)
            os.write(self._descriptor, b"\n")
            base, end = self._measure(self._part), end + 1
        if end > base.end:
            raise OutputError(f"{self.target}: damaged at the end; cannot append to it")
        return base

    def _adopt_columns(self, columns: list[str]) -> None:
        extra = [name for name in self._columns or [] if name not in columns]
        if extra:
            raise OutputError(
                f"{self.target}: has no column {extra[0]!r} (columns: {', '.join(columns)}); "
                "write to another file"
            )
        self._columns, self._header_written = columns, True

    def _encode(self, frame: pd.DataFrame) -> bytes:
        if not frame.columns.is_unique:
            raise DesignkitError(f"{self.target}: a column of the designs appears twice")
        columns = self._columns if self._columns is not None else list(frame.columns)
        if self.format in DELIMITERS:
            extra = [name for name in frame.columns if name not in columns]
            if extra and not self._selected:
                raise OutputError(
                    f"{self.target}: column {extra[0]!r} appears after the header was written; "
                    "write to another file, or as JSON lines"
                )
            self._columns = columns
            text = self._header() + self._table_text(frame, columns)
        else:
            present = [name for name in columns if name in frame]
            text = (
                _fasta_text(frame, present)
                if self.format == "fasta"
                else _json_text(frame, present)
            )
        data = text.encode("utf-8", "backslashreplace")
        return gzip.compress(data, mtime=0) if self._compressed and data else data

    def _header(self) -> str:
        if self._header_written or self._columns is None or self.format not in DELIMITERS:
            return ""
        self._header_written = True
        return table_row(self._columns, DELIMITERS[self.format])

    def _table_text(self, frame: pd.DataFrame, columns: list[str]) -> str:
        blank = [""] * len(frame)
        cells = [
            [cell_text(value) for value in frame[name].tolist()] if name in frame else blank
            for name in columns
        ]
        delimiter = DELIMITERS[self.format]
        return "".join(table_row(row, delimiter) for row in zip(*cells, strict=True))

    def _put(self, data: bytes) -> None:
        try:
            if self.target == "-":
                _to_stdout(data)
                return
            rest = memoryview(data)
            while rest:
                rest = rest[os.write(self._descriptor, rest) :]
        except BrokenPipeError:
            raise
        except OSError as error:
            raise self._failed(error) from error
        self._size += len(data)

    def _failed(self, error: OSError) -> OutputError:
        self._write_failed = True
        kept = "" if self._stream or not self._rows_kept else f"; {self._kept()}"
        name = "standard output" if self.target == "-" else self.target
        return output_failed(name, error, kept)

    @property
    def _rows_kept(self) -> int:
        return self.rows_written + self.rows_resumed

    def _kept(self) -> str:
        rows = "1 row is" if self._rows_kept == 1 else f"{self._rows_kept} rows are"
        advice = ", --resume continues from there" if self._resumable else ""
        return f"{rows} kept in {self.target}{PART_SUFFIX}{advice}"

    def _finish(self) -> None:
        header = self._header().encode()
        if header:
            self._put(gzip.compress(header, mtime=0) if self._compressed else header)
        if self._stream:
            return
        try:
            os.fsync(self._descriptor)
            os.replace(self._part, self._path)
        except OSError as error:
            raise self._failed(error) from error
        sync_folder(self._path.parent)

    def _keep(self, error: BaseException) -> None:
        """Leave whole rows in the part file, or no part file where there are none."""
        if not self._rows_kept:
            self._part.unlink(missing_ok=True)
            return
        with contextlib.suppress(OSError):  # what a write cut short has left behind
            os.ftruncate(self._descriptor, self._size)
        if not self._write_failed:
            error.add_note(self._kept())

    def _close(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


def is_complete(target: str) -> bool:
    """True when a finished output stands and no interrupted run waits: ``--resume`` has no work."""
    if is_stream(target):
        return False
    path = Path(os.path.realpath(target))
    part = path.with_name(path.name + PART_SUFFIX)
    return path.is_file() and not (part.exists() and part.stat().st_size > 0)


def _resolve_format(target: str, format: str | None) -> str:
    if format is not None:
        return check_format(format, "--format")
    found = "fasta" if is_stream(target) else format_of_name(target)
    if found is None:
        raise UsageError(
            f"{target}: the name does not tell the format; end it in .fasta, .csv, .tsv or .jsonl "
            "(.gz may follow), or pass --format"
        )
    return found


def _names(path: Path, descriptor: int) -> bool:
    """True if the open file still goes by that path."""
    try:
        return os.path.samestat(os.stat(path), os.fstat(descriptor))
    except FileNotFoundError:
        return False


def _to_stdout(data: bytes) -> None:
    buffer = getattr(sys.stdout, "buffer", None)
    if buffer is None:  # a stand-in that takes text only
        sys.stdout.write(data.decode())
    else:
        buffer.write(data)
    sys.stdout.flush()


def _fasta_text(frame: pd.DataFrame, columns: list[str]) -> str:
    missing = [name for name in ("id", "sequence") if name not in columns]
    if missing:
        raise DesignkitError(f"FASTA needs the column {missing[0]!r}")
    others = [name for name in columns if name not in ("id", "sequence")]
    cells = [[cell_text(value) for value in frame[name]] for name in ("id", "sequence", *others)]
    return "".join(
        f"{fasta_header(identifier, zip(others, values, strict=True))}\n{sequence}\n"
        for identifier, sequence, *values in zip(*cells, strict=True)
    )


def _json_text(frame: pd.DataFrame, columns: list[str]) -> str:
    cells = [[json_value(value) for value in frame[name]] for name in columns]
    return "".join(
        json.dumps(dict(zip(columns, row, strict=True)), ensure_ascii=False) + "\n"
        for row in zip(*cells, strict=True)
    )
