"""The record of a run, ``OUT.meta.json``: enough to know and to repeat what was done.

Until the output is finished its record is ``OUT.part.meta.json``, beside ``OUT.part``: what an
earlier run has finished keeps its own.
"""

from __future__ import annotations

import contextlib
import datetime
import json
import platform
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import designkit
from designkit.errors import DesignkitError, UsageError
from designkit.io._output_files import is_stream
from designkit.io.designs import PART_SUFFIX
from designkit.io.provenance import META_SUFFIX, write_meta


class RunRecord:
    """Written when a run starts and again when it ends, however it ends.

    Args:
        target: the output it is about; nothing is written for a stream.
        fields: what is known at the start: resolved configuration, model, rewards, seed.
    """

    def __init__(self, target: str, fields: dict[str, Any]):
        import torch

        self.target = target
        self.started = time.monotonic()
        self.fields = {
            "argv": sys.argv,
            "designkit": designkit.__version__,
            "python": platform.python_version(),
            "torch": torch.__version__,
            "platform": platform.platform(),
            "threads": torch.get_num_threads(),
            "started": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
            **fields,
        }

    def write(self, status: str, **fields: Any) -> None:
        """Write the record of the unfinished output, with a status and further fields.

        What ended a run is not hidden by a record that cannot be written for the same reason.
        """
        self._update(status, fields)
        with contextlib.suppress(*[DesignkitError] if status != "running" else []):
            if not is_stream(self.target):
                write_meta(self.target + PART_SUFFIX, self.fields)

    def finish(self, **fields: Any) -> None:
        """Write the record of the finished output, in place of that of the unfinished one."""
        self._update("complete", fields)
        if write_meta(self.target, self.fields) is not None:
            record_path(self.target, finished=False).unlink(missing_ok=True)

    def _update(self, status: str, fields: dict[str, Any]) -> None:
        self.fields |= {"status": status, "seconds": time.monotonic() - self.started, **fields}


def record_path(target: str, *, finished: bool) -> Path:
    """Where the record of a finished output lies, or of one that is being written."""
    return Path(f"{target}{'' if finished else PART_SUFFIX}{META_SUFFIX}")


def read_record(target: str, *, finished: bool) -> dict[str, Any]:
    """The record of an output; empty where there is none that can be read."""
    try:
        record = json.loads(record_path(target, finished=finished).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return record if isinstance(record, dict) else {}


def check_same_run(target: str, fields: Mapping[str, Any], *, finished: bool = False) -> None:
    """Refuse to continue an output with a run that would write other designs.

    Args:
        target: the output; nothing is refused where it has no record.
        fields: what must be as it was; the size of batches, the budget and the cache may
            change.
        finished: whether the output is finished, and nothing would be done.

    Raises:
        UsageError: names the fields that differ.
    """
    before = read_record(target, finished=finished)
    if not before:
        return
    now = json.loads(json.dumps(dict(fields)))
    for record in (before, now):
        if isinstance(record.get("settings"), dict):
            for key in ("batch_size", "cache", "max_evals"):
                record["settings"].pop(key, None)
    changed = [_named(key, before, now) for key in fields if before.get(key) != now[key]]
    if changed:
        state = "finished" if finished else "interrupted"
        advice = "write to another file" if finished else "resume it with what it was started with"
        raise UsageError(
            f"{target}: the {state} run differs in {', '.join(changed)}; {advice}, or start again "
            "with --force"
        )


def _named(key: str, before: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """A field that differs, with those of its own that do."""
    old, new = before.get(key), now[key]
    if not (isinstance(old, dict) and isinstance(new, dict)):
        return key
    inner = sorted(name for name in {*old, *new} if old.get(name) != new.get(name))
    return f"{key} ({', '.join(inner)})"
