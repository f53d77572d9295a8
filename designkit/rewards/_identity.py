"""What a reward's scores depend on: its code, its parameters, the files it reads."""

from __future__ import annotations

import hashlib
import json
import sys
from functools import cache
from pathlib import Path
from typing import Any

import designkit
from designkit.rewards.base import Reward


def sources(reward: Reward) -> dict[str, str]:
    """sha256 by path of the files that make the reward: its module, and what its parameters name.

    A reward may name further ones in an attribute ``files``.
    """
    module = sys.modules.get(type(reward).__module__)
    code = getattr(module, "__file__", None)
    named = [value for value in dict(reward.settings).values() if isinstance(value, Path)]
    paths = [*([Path(code)] if code else []), *named, *getattr(reward, "files", ())]
    return {str(path): _sha256(path, path.stat().st_mtime_ns) for path in paths if path.is_file()}


def identity(reward: Reward) -> tuple[str, str]:
    """A key that differs wherever scores may, and the same in words.

    Where a file lies is not part of it, what it holds is.
    """
    info = reward.info
    left_out = {key for key, value in dict(reward.settings).items() if isinstance(value, Path)}
    left_out |= type(reward).speed_parameters
    parts: dict[str, Any] = {
        "name": info.name,
        "version": info.version,
        "params": {key: value for key, value in info.params.items() if key not in left_out},
        "outputs": [output.name for output in info.outputs],
        "sources": sorted(sources(reward).values()),
    }
    if type(reward).__module__.startswith("designkit."):
        parts["designkit"] = designkit.__version__
    described = json.dumps(parts, sort_keys=True)
    return hashlib.sha256(described.encode()).hexdigest(), described


@cache
def _sha256(path: Path, changed: int) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
