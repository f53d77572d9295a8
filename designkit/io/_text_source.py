"""Lines of a file or of standard input, decompressed, numbered, delivered as they arrive."""

from __future__ import annotations

import hashlib
import os
import select
import stat
import sys
import zlib
from collections import deque
from collections.abc import Callable, Iterator

from designkit.errors import InputError
from designkit.io._formats import is_gzip_name

BLOCK_BYTES = 1 << 18
PATIENCE_SECONDS = 0.05  # how long a pipe may pause before the rows so far are handed on
_GZIP_MAGIC = b"\x1f\x8b"
_FOREIGN = {
    b"PK\x03\x04": "a zip archive or an Excel workbook; unpack it or save the sheet as CSV",
    b"BZh": "bzip2 data; decompress it first (bzip2 -dc FILE | designkit ... -)",
    b"\xfd7zXZ\x00": "xz data; decompress it first (xz -dc FILE | designkit ... -)",
    b"\x28\xb5\x2f\xfd": "zstd data; decompress it first (zstd -dc FILE | designkit ... -)",
    b"PAR1": "a Parquet file; export it as CSV",
    b"\xff\xfe": "UTF-16 text; save it as UTF-8",
    b"\xfe\xff": "UTF-16 text; save it as UTF-8",
}


class TextSource:
    """An iterator over lines, each with its line end.

    Gzip data is recognised by its first bytes. The source is read in blocks, so a pipe is
    followed while it is being written: ``ready`` says whether another line would have to wait.

    Args:
        source: a path, or ``-`` for standard input.

    Attributes:
        name: how messages call the source.
        number: lines delivered so far, hence the number of the last one.

    Raises:
        InputError: the source cannot be opened, holds nothing, or (while iterating) is truncated,
            damaged or not UTF-8 text.
    """

    def __init__(self, source: str):
        self.name = "standard input" if source == "-" else source
        self.number = 0
        self._hash = hashlib.sha256()
        self._lines: deque[str] = deque()
        self._tail: list[bytes] = []
        self._lines_seen = 0
        self._ended = False
        self._read, self.close, self._pollable = _open(source, self.name)
        self._blocks = self._decompressed(is_gzip_name(source))
        try:
            first = self.first_line()
        except InputError:
            self.close()
            raise
        if first is None:
            self.close()
            hint = "; did the command before the pipe fail?" if source == "-" else ""
            raise InputError(f"{self.name}: the input is empty{hint}")

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        while not self._lines:
            if not self._fill():
                raise StopIteration
        self.number += 1
        return self._lines.popleft()

    def first_line(self) -> str | None:
        """The first line that is not blank, which stays unread; None when there is none."""
        looked_at = 0
        while True:
            while looked_at < len(self._lines):
                if self._lines[looked_at].strip():
                    return self._lines[looked_at]
                looked_at += 1
            if not self._fill():
                return None

    def has_record(self, start: str = "") -> bool:
        """False when the next record is still being written by the other end of a pipe.

        Args:
            start: how the line begins that shows a record to be complete, the header of the one
                after it; where a record is a line, any does.
        """
        if self._ended or self._pollable is None:
            return True
        if any(line.startswith(start) for line in self._lines):
            return True
        return bool(select.select([self._pollable], [], [], PATIENCE_SECONDS)[0])

    @property
    def sha256(self) -> str:
        """Hash of the bytes read so far, as they are stored; of the whole once exhausted."""
        return self._hash.hexdigest()

    def _fill(self) -> bool:
        """Take in one more block; False at the end."""
        block = next(self._blocks, None)
        if block is None:
            if self._ended:
                return False
            self._ended = True
            self._take(b"".join(self._tail))
            return bool(self._lines)
        if b"\n" in block:
            whole, _, rest = block.rpartition(b"\n")
            self._tail.append(whole + b"\n")
            self._take(b"".join(self._tail))
            self._tail = [rest]
        else:
            self._tail.append(block)
        return True

    def _take(self, data: bytes) -> None:
        bad = data.find(b"\0")
        try:
            text = data.decode()
        except UnicodeDecodeError as error:
            bad = error.start if bad < 0 else min(bad, error.start)
        if bad >= 0:
            line = self._lines_seen + data.count(b"\n", 0, bad) + 1
            raise InputError(
                f"{self.name}: line {line}: byte 0x{data[bad]:02x} does not belong in UTF-8 text; "
                "this is binary data, or text to be converted (iconv -f latin1 -t utf-8)"
            )
        if not self._lines_seen:
            text = text.removeprefix("\ufeff")
        lines = text.split("\n")
        self._lines.extend(line + "\n" for line in lines[:-1])
        if lines[-1]:
            self._lines.append(lines[-1])
        self._lines_seen += len(lines) - 1

    def _raw(self) -> Iterator[bytes]:
        while True:
            try:
                block = self._read(BLOCK_BYTES)
            except OSError as error:
                raise InputError(f"{self.name}: cannot be read: {error.strerror}") from error
            if not block:
                return
            self._hash.update(block)
            yield block

    def _decompressed(self, named_gzip: bool) -> Iterator[bytes]:
        raw = self._raw()
        head = b""
        for block in raw:
            head += block
            if len(head) >= 6:  # the longest magic number
                break
        for magic, advice in _FOREIGN.items():
            if head.startswith(magic):
                raise InputError(f"{self.name}: this is {advice}")
        if head.startswith(_GZIP_MAGIC):
            yield from self._inflate(head, raw)
            return
        if named_gzip and head:
            raise InputError(
                f"{self.name}: not gzip data, although the name ends in .gz; rename it"
            )
        if head:
            yield head
        yield from raw

    def _inflate(self, head: bytes, raw: Iterator[bytes]) -> Iterator[bytes]:
        engine = zlib.decompressobj(wbits=31)
        block: bytes | None = head
        try:
            while block is not None:
                if engine.eof:  # several members in a row, as bgzip and our own writer make them
                    block = block.lstrip(b"\0")  # tapes are padded
                    engine = zlib.decompressobj(wbits=31) if block else engine
                if block:
                    yield engine.decompress(block)
                    block = engine.unused_data
                block = block or next(raw, None)
        except zlib.error as error:
            raise InputError(f"{self.name}: damaged gzip data ({error})") from error
        if not engine.eof:
            raise InputError(
                f"{self.name}: the gzip data end too early (line {self._lines_seen + 1}); "
                "the file is truncated, copy or download it again"
            )


def _open(source: str, name: str) -> tuple[Callable[[int], bytes], Callable[[], None], int | None]:
    """How to read, how to close, and the descriptor to poll (None for what never waits)."""
    if source == "-":
        stream = getattr(sys.stdin, "buffer", None)
        if stream is None:
            raise InputError(f"{name}: closed")
        try:
            pollable = stream.fileno()
        except OSError:  # a stand-in of memory
            return stream.read1, lambda: None, None
        return stream.read1, lambda: None, _pollable(pollable)
    try:
        file = open(source, "rb", buffering=0)  # closed by TextSource.close
    except FileNotFoundError:
        raise InputError(f"{name}: no such file") from None
    except IsADirectoryError:
        raise InputError(f"{name}: is a folder, not a file of sequences") from None
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise InputError(f"{name}: cannot be read: {reason}") from error
    return file.read, file.close, _pollable(file.fileno())


def _pollable(descriptor: int) -> int | None:
    return None if stat.S_ISREG(os.fstat(descriptor).st_mode) else descriptor
