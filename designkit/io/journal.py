"""A journal: one line of JSON for each finished step of a run, so that a killed run goes on.

A line is appended whole and reaches the disk before the next step begins; a line that was torn is
dropped when the journal is taken up again. Numbers keep all their bits.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from designkit.errors import OutputError
from designkit.io._output_files import check_folder, output_failed, sync_folder

JOURNAL_SUFFIX = ".journal"


def journal_of(target: str) -> Path:
    """Where the journal of an output lies."""
    return Path(os.path.realpath(target) + JOURNAL_SUFFIX)


class Journal:
    """A context manager that appends to ``TARGET.journal``, alone.

    Making it refuses what can be refused before any work; entering it reads what is there.

    Args:
        target: the output that it is about.
        resume: go on after the last whole line; starts where there is none.
        force: start again.

    Attributes:
        path: of the journal.
        lines: what a run before has written, oldest first.

    Raises:
        OutputError: a journal is there, and is neither to be resumed nor replaced; the folder is
            missing or not writable.
    """

    def __init__(self, target: str, *, resume: bool = False, force: bool = False):
        self.path = journal_of(target)
        self._target, self._resume = target, resume
        self._descriptor = -1
        self.lines: list[dict[str, Any]] = []
        check_folder(target, self.path.parent)
        if self.path.exists() and self.path.stat().st_size and not resume and not force:
            raise OutputError(
                f"{target}{JOURNAL_SUFFIX}: left by an interrupted run; --resume continues it, "
                "--force starts again"
            )

    def __enter__(self) -> Journal:
        try:
            self._descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
            try:
                fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise OutputError(f"{self._target}: another run is writing it") from None
            except OSError:  # a file system without locks
                pass
            end = self._read() if self._resume else 0
            os.ftruncate(self._descriptor, end)
            os.lseek(self._descriptor, end, os.SEEK_SET)
            sync_folder(self.path.parent)
        except OSError as error:
            self._close()
            raise output_failed(str(self.path), error) from error
        except BaseException:
            self._close()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._close()

    def append(self, fields: Mapping[str, Any]) -> None:
        """Write one step.

        Raises:
            OutputError: the disk is full or fails; what was there before is whole.
        """
        rest = memoryview((json.dumps(dict(fields), separators=(",", ":")) + "\n").encode())
        end = os.lseek(self._descriptor, 0, os.SEEK_CUR)
        try:
            while rest:
                rest = rest[os.write(self._descriptor, rest) :]
            os.fsync(self._descriptor)
        except OSError as error:
            with contextlib.suppress(OSError):
                os.ftruncate(self._descriptor, end)
            raise output_failed(str(self.path), error) from error

    def remove(self) -> None:
        """The run is finished: the journal is not needed any more."""
        self.path.unlink(missing_ok=True)

    def _read(self) -> int:
        """Read the whole lines; the length of them all in bytes."""
        end = 0
        with open(self._descriptor, "rb", closefd=False) as file:
            for line in file:
                try:
                    fields = json.loads(line) if line.endswith(b"\n") else None
                except ValueError:
                    fields = None
                if not isinstance(fields, dict):
                    break
                self.lines.append(fields)
                end += len(line)
        return end

    def _close(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1
