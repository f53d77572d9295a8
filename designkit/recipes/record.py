"""The record of a run, ``OUT.meta.json``: enough to know and to repeat what was done."""

from __future__ import annotations

import datetime
import platform
import sys
import time
from typing import Any

import designkit
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

    def write(self, status: str, **fields: Any) -> None:
        """Write the record with a status and further fields."""
        self.fields |= {"status": status, "seconds": time.monotonic() - self.started, **fields}
        write_meta(self.target, self.fields)
