"""What every output file needs: early refusals, one-line failures, durable renames."""

from __future__ import annotations

import os
from pathlib import Path

from designkit.errors import OutputError


def is_stream(target: str) -> bool:
    """True for ``-`` and for devices and pipes, which must be written to, never replaced."""
    return target == "-" or (
        os.path.exists(target) and not os.path.isfile(target) and not os.path.isdir(target)
    )


def check_folder(target: str, folder: Path) -> None:
    """Refuse an output whose folder is missing or not writable.

    Raises:
        OutputError: names the output and the folder.
    """
    if not folder.is_dir():
        raise OutputError(f"{target}: the folder {folder} does not exist; create it first")
    effective = os.access in os.supports_effective_ids
    if not os.access(folder, os.W_OK | os.X_OK, effective_ids=effective):
        raise OutputError(f"{target}: the folder {folder} is not writable")


def output_failed(target: str, error: OSError, kept: str = "") -> OutputError:
    """The one-line error for a failed write; ``kept`` says what survives and what to do."""
    reason = (error.strerror or str(error)).lower()
    return OutputError(f"{target}: cannot be written: {reason}{kept}")


def sync_folder(folder: Path) -> None:
    """Make a rename in ``folder`` survive a power failure, where the file system allows it."""
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except OSError:  # a folder that may be written but not read
        return
    try:
        os.fsync(descriptor)
    except OSError:  # network file systems refuse; the rename itself has happened
        pass
    finally:
        os.close(descriptor)
