"""The record of a run, ``OUT.meta.json``: enough to know and to repeat what was done."""

from __future__ import annotations

import contextlib
import datetime
import json
import platform
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import designkit
from designkit.errors import DesignkitError, UsageError
from designkit.io.provenance import write_meta


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

    def check_same_run(self, keys: Sequence[str]) -> None:
        """Refuse to continue an output with a run that would write other designs.

        Args:
            keys: fields that must be as they were; the size of batches may change.

        Raises:
            UsageError: names the fields that differ.
        """
        try:
            before = json.loads(Path(self.target + ".meta.json").read_text())
        except (OSError, ValueError):
            return
        now = json.loads(json.dumps({key: self.fields[key] for key in keys}))
        for fields in (before, now):
            fields.get("settings", {}).pop("batch_size", None)
        changed = [key for key in keys if before.get(key) != now[key]]
        if changed:
            raise UsageError(
                f"{self.target}: the interrupted run differs in {', '.join(changed)}; resume it "
                "with what it was started with, or start again with --force"
            )

    def write(self, status: str, **fields: Any) -> None:
        """Write the record with a status and further fields.

        What ended a run is not hidden by a record that cannot be written for the same reason.
        """
        self.fields |= {"status": status, "seconds": time.monotonic() - self.started, **fields}
        is_ending_badly = status not in ("running", "complete")
        with contextlib.suppress(*[DesignkitError] if is_ending_badly else []):
            write_meta(self.target, self.fields)
