"""What a reward's scores depend on: its code, its parameters, the files it reads."""

from __future__ import annotations

import hashlib
import json
import sys
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import designkit
from designkit.rewards.base import Reward

if TYPE_CHECKING:
    from designkit.alphabet import Alphabet


def sources(reward: Reward) -> dict[str, str]:
    """sha256 by path of the files that make the reward: its module, and what its parameters name.

    A reward may name further ones in an attribute ``files``. A folder stands for all it holds.
    """
    module = sys.modules.get(type(reward).__module__)
    code = getattr(module, "__file__", None)
    named = [Path(code)] if code else []
    return {str(path): _sha256(path) for path in [*named, *_files(reward).values()]}


def identity(reward: Reward, alphabet: Alphabet) -> tuple[str, str]:
    """A key that differs wherever scores may, and the same in words.

    Where a file lies is not part of it, what it holds is.

    Args:
        reward: bound to the alphabet.
        alphabet: of the sequences; some rewards have other tables for others.
    """
    info, kind = reward.info, type(reward)
    files = _files(reward)
    left_out = {name for name in files if name in info.params} | kind.speed_parameters
    module = sys.modules.get(kind.__module__)
    code = getattr(module, "__file__", None)
    parts: dict[str, Any] = {
        "name": info.name,
        "class": [kind.__qualname__, reward.attribute],
        "version": info.version,
        "params": {key: value for key, value in info.params.items() if key not in left_out},
        "outputs": [output.name for output in info.outputs],
        "alphabet": [alphabet.name, *alphabet.letters],
        "code": _sha256(Path(code)) if code else None,
        "files": {name: _sha256(path) for name, path in files.items()},
    }
    if kind.__module__.startswith("designkit."):
        parts["designkit"] = designkit.__version__
    described = json.dumps(parts, sort_keys=True)
    return hashlib.sha256(described.encode()).hexdigest(), described


def _files(reward: Reward) -> dict[str, Path]:
    """Files and folders that exist, by the parameter that names them or their number."""
    named = {key: value for key, value in dict(reward.settings).items() if isinstance(value, Path)}
    further = {f"file {n}": path for n, path in enumerate(getattr(reward, "files", ()))}
    return {key: path for key, path in (named | further).items() if path.exists()}


def _sha256(path: Path) -> str:
    if not path.is_dir():
        return _sha256_file(path, path.stat().st_mtime_ns, path.stat().st_size)
    inside = sorted(file for file in path.rglob("*") if file.is_file())
    each = [f"{file.relative_to(path)}\0{_sha256(file)}" for file in inside]
    return hashlib.sha256("\n".join(each).encode()).hexdigest()


@cache
def _sha256_file(path: Path, changed: int, size: int) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
