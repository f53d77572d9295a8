"""The presets that come with designkit: find them by name, list them, copy them.

A preset is a configuration file named ``<molecule>-<task>[-<method>].yaml``. Its first block of
comments is its description, and the first line of that is its title.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

import designkit
from designkit.errors import OutputError, UsageError, did_you_mean


@dataclass(frozen=True)
class Preset:
    """A preset and what its header says."""

    name: str
    path: Path
    description: str

    @property
    def title(self) -> str:
        """First line of the description."""
        return self.description.partition("\n")[0]


def presets_folder() -> Path:
    """Where the presets are: inside an installed package, beside the package in a checkout."""
    package = Path(designkit.__file__).parent
    packaged = package / "_presets"
    return packaged if packaged.is_dir() else package.parent / "presets"


def list_presets() -> list[Preset]:
    """All presets, by name."""
    paths = sorted(presets_folder().glob("*.yaml"))
    return [Preset(path.stem, path, _description(path)) for path in paths]


def preset_of(command: str, name: str) -> Path:
    """The file of a preset of a command, which its description shows how to call.

    Args:
        command: that it is to be used with.
        name: what ``find_preset`` takes.

    Raises:
        UsageError: no such preset, or one of another command.
    """
    path = find_preset(name)
    own = re.search(r"designkit (\w+) --preset", _description(path))
    if own is not None and own[1] != command:
        raise UsageError(f"--preset {name}: a preset of designkit {own[1]}, not of {command}")
    return path


def find_preset(name: str) -> Path:
    """The file of a preset.

    Args:
        name: its name; the molecule in front may be left out where the rest is unique.

    Raises:
        UsageError: no such preset, several, or the path of a file instead of a name.
    """
    if name.endswith((".yaml", ".yml")) or "/" in name or os.sep in name:
        raise UsageError(f"a preset is given by name, not as {name!r}; for a file use --config")
    paths = {path.stem: path for path in sorted(presets_folder().glob("*.yaml"))}
    if name in paths:
        return paths[name]
    matches = [full for full in paths if full.partition("-")[2] == name]
    if len(matches) == 1:
        return paths[matches[0]]
    if matches:
        raise UsageError(f"preset {name!r} may be {' or '.join(matches)}; give the whole name")
    short_names = [full.partition("-")[2] for full in paths]
    guess = did_you_mean(name, [*paths, *short_names])
    raise UsageError(f"unknown preset {name!r}{guess} ('designkit presets list' shows all)")


def copy_preset(name: str, target: str | None, force: bool = False) -> Path:
    """Copy a preset to a file for editing.

    Args:
        name: what ``find_preset`` takes.
        target: file or existing folder; ``NAME.yaml`` in the current folder when None.
        force: replace an existing file.

    Returns:
        The file written.

    Raises:
        UsageError: no such preset.
        OutputError: the file exists, or cannot be written.
    """
    source = find_preset(name)
    path = Path(target) if target else Path(source.name)
    if path.is_dir():
        path /= source.name
    if path.exists() and not force:
        raise OutputError(f"{path} exists already; use --force to replace it")
    part = path.with_name(path.name + ".part")
    try:
        part.write_bytes(source.read_bytes())
        part.replace(path)
    except OSError as error:
        raise OutputError(f"cannot write {path}: {error.strerror}") from error
    return path


def _description(path: Path) -> str:
    lines: list[str] = []
    for line in path.read_text(encoding="utf-8").splitlines():
        if line.startswith("#"):
            lines.append(line.lstrip("#").strip())
        elif lines or line.strip():
            break
    return "\n".join(lines).strip()
