"""How an output was made, in a file beside it; hashes; small files written whole or not at all."""

from __future__ import annotations

import dataclasses
import datetime
import hashlib
import json
import math
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from designkit.errors import InputError
from designkit.io._output_files import check_folder, is_stream, output_failed, sync_folder

META_SUFFIX = ".meta.json"


def sha256_file(path: str | Path) -> str:
    """Hexadecimal SHA-256 of a file's bytes, read in blocks.

    Raises:
        InputError: the file cannot be read.
    """
    try:
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from error


def write_json_atomic(path: str | Path, obj: Any) -> None:
    """Write ``obj`` as indented JSON so that readers see the old file or the new one.

    Paths, times, sets, dataclasses and numpy values are written as their plain counterparts;
    NaN and infinities, which JSON lacks, as null and text.

    Raises:
        OutputError: the folder is missing or not writable, or the disk is full.
    """
    text = json.dumps(_plain(obj), indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    write_text_atomic(path, text)


def write_text_atomic(path: str | Path, text: str) -> None:
    """Write a small text file so that readers see the old file or the new one.

    Raises:
        OutputError: the folder is missing or not writable, or the disk is full.
    """
    target = Path(os.path.realpath(path))
    check_folder(str(path), target.parent)
    temporary = None
    try:
        descriptor, temporary = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
        with open(descriptor, "w", encoding="utf-8", errors="backslashreplace") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o666 & ~_umask())
        os.replace(temporary, target)
        temporary = None
        sync_folder(target.parent)
    except OSError as error:
        raise output_failed(str(path), error) from error
    finally:
        if temporary is not None:
            Path(temporary).unlink(missing_ok=True)


def write_meta(target: str, fields: Mapping[str, Any]) -> Path | None:
    """Write ``TARGET.meta.json``, the record of a run.

    Returns:
        Its path, or None when the target is standard output or a device: there is no beside.

    Raises:
        OutputError: as ``write_json_atomic``.
    """
    if is_stream(target):
        return None
    path = Path(target + META_SUFFIX)
    write_json_atomic(path, dict(fields))
    return path


def _plain(value: Any) -> Any:
    if isinstance(value, np.ndarray | np.generic):
        value = value.tolist()
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        if math.isnan(value):
            return None
        return value if math.isfinite(value) else str(value)
    if isinstance(value, Mapping):
        return {str(key): _plain(entry) for key, entry in value.items()}
    if isinstance(value, set | frozenset):
        return sorted((_plain(entry) for entry in value), key=str)
    if isinstance(value, list | tuple):
        return [_plain(entry) for entry in value]
    if isinstance(value, datetime.datetime | datetime.date):
        return value.isoformat()
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return _plain({f.name: getattr(value, f.name) for f in dataclasses.fields(value)})
    return str(value)


def _umask() -> int:
    mask = os.umask(0o022)
    os.umask(mask)
    return mask
