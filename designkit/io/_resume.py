"""How much of a partly written design file is whole: where to go on after an interruption."""

from __future__ import annotations

import csv
import io
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from designkit.io._formats import DELIMITERS, FORMATS

_BLOCK_BYTES = 1 << 20
_FIRST_BYTES = 1 << 16


@dataclass
class CompletePart:
    """The beginning of a file that consists of whole rows.

    Attributes:
        end: its length in bytes, as stored.
        rows: records in it; a table's header is not counted.
        columns: the table's header; None for other formats and before it is written.
    """

    end: int = 0
    rows: int = 0
    columns: list[str] | None = None


def complete_part(path: Path, kind: str, compressed: bool) -> CompletePart:
    """Measure the whole rows at the start of a file that ``DesignWriter`` wrote.

    Compressed files consist of one gzip member for each write; a torn member does not count.
    """
    part, counter = CompletePart(), _RowCounter(kind)
    for end, piece in _members(path) if compressed else _lines(path):
        for line in io.BytesIO(piece):
            counter.feed(line)
        if counter.between_rows:
            part = CompletePart(end, counter.rows, counter.columns)
    return part


def possible_formats(path: Path) -> tuple[str, ...]:
    """The formats that the beginning of a file, compressed or not, can be of; all when empty."""
    with open(path, "rb") as file:
        start = file.read(_FIRST_BYTES)
    if start.startswith(b"\x1f\x8b"):
        try:
            start = zlib.decompressobj(wbits=31).decompress(start, _FIRST_BYTES)
        except zlib.error:
            return ()
    text = start.decode("utf-8-sig", "replace").lstrip("\r\n ")
    if not text or text[0] in ">{":
        return FORMATS if not text else ("fasta",) if text[0] == ">" else ("jsonl",)
    fields = {
        kind: len(next(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)))
        for kind, delimiter in DELIMITERS.items()
    }
    # A table of one column looks the same in both.
    return tuple(kind for kind in fields if fields[kind] > 1 or max(fields.values()) == 1)


class _RowCounter:
    def __init__(self, kind: str):
        self.rows = 0
        self.columns: list[str] | None = None
        self._kind = kind
        self._pending = b""

    @property
    def between_rows(self) -> bool:
        return not self._pending

    def feed(self, line: bytes) -> None:
        self._pending += line
        if not line.endswith(b"\n"):
            return
        if self._kind == "fasta" and line.startswith(b">"):
            return
        if self._kind not in DELIMITERS:
            self.rows += 1
        elif self._pending.count(b'"') % 2:  # a line end inside a quoted field
            return
        elif self.columns is None:
            text = io.StringIO(self._pending.decode("utf-8-sig", "replace"), newline="")
            self.columns = next(csv.reader(text, delimiter=DELIMITERS[self._kind]))
        else:
            self.rows += 1
        self._pending = b""


def _lines(path: Path) -> Iterator[tuple[int, bytes]]:
    """Lines, each with the offset after it."""
    end = 0
    with open(path, "rb") as file:
        for line in file:
            end += len(line)
            yield end, line


def _members(path: Path) -> Iterator[tuple[int, bytes]]:
    """Contents of complete gzip members, each with the offset after it."""
    with open(path, "rb") as file:
        engine, contents = zlib.decompressobj(wbits=31), b""
        while block := file.read(_BLOCK_BYTES):
            while block:
                try:
                    contents += engine.decompress(block)
                except zlib.error:
                    return
                if not engine.eof:
                    break
                block = engine.unused_data
                yield file.tell() - len(block), contents
                engine, contents = zlib.decompressobj(wbits=31), b""
