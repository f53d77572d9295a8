"""Trained models on disk: ``models/<name>/<version>/{model.json, model.safetensors, README.md}``.

New models go to one writable home; others may lie in read-only roots, such as a group's shared
folder and the models of the package itself. A version is written beside its place and then renamed,
so a reader finds a complete model or none. ``model.json``, the card, holds the sha256 of the other
files, and weights are never read without comparing.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from designkit.errors import DesignkitError, ModelError, OutputError, UsageError, did_you_mean

if TYPE_CHECKING:
    import torch
    from torch import Tensor

CARD = "model.json"
WEIGHTS = "model.safetensors"
README = "README.md"
SCHEMA_VERSION = 1
KINDS = ("diffusion", "predictor", "value")
PACKAGED_ROOT = Path(__file__).parent / "packaged"
LOCK_SECONDS = 300
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class StoredModel:
    """A model in the registry, or in a folder of the same form.

    Args:
        path: its folder.
        name: its name.
        version: 1, 2, ...
        card: what ``model.json`` says.
        packaged: whether it came with designkit.
    """

    path: Path
    name: str
    version: int
    card: dict[str, Any]
    packaged: bool

    @property
    def sha256(self) -> str:
        """Hash of the weights file: what lineage, rewards and provenance refer to."""
        return str(self.card["files"][WEIGHTS])

    @property
    def ref(self) -> str:
        """``name@version``."""
        return f"{self.name}@{self.version}"

    def weights(self, device: str | torch.device = "cpu") -> dict[str, Tensor]:
        """The tensors of the model, after comparing the file with its hash.

        Raises:
            ModelError: the file is missing, changed, or not in safetensors format.
        """
        from safetensors import SafetensorError
        from safetensors.torch import load

        content = _read(self.path / WEIGHTS)
        _compare(self.path / WEIGHTS, hashlib.sha256(content).hexdigest(), self.sha256)
        try:
            tensors: dict[str, Tensor] = load(content)
        except SafetensorError as problem:
            raise ModelError(f"{self.path / WEIGHTS}: not a safetensors file: {problem}") from None
        return {name: tensor.to(device) for name, tensor in tensors.items()}


Models = list[StoredModel]


class Registry:
    """The models that can be named.

    Args:
        home: where models are saved; ``$DESIGNKIT_HOME``, or the user's data folder, by default.
        roots: further folders that are only read; those of ``$DESIGNKIT_PATH`` and the models of
            the package by default.
    """

    def __init__(self, home: Path | None = None, roots: Sequence[Path] | None = None):
        if home is None:
            from platformdirs import user_data_path

            chosen = os.environ.get("DESIGNKIT_HOME")
            home = Path(chosen).expanduser() if chosen else user_data_path("designkit", False)
        if roots is None:
            listed = os.environ.get("DESIGNKIT_PATH", "").split(os.pathsep)
            roots = [*(Path(place).expanduser() for place in listed if place), PACKAGED_ROOT]
        self.home = Path(home)
        self.roots = tuple(Path(root) for root in roots)

    def find(self, ref: str) -> StoredModel:
        """The model that a reference names.

        Args:
            ref: ``name`` (its newest version), ``name@3``, or a folder, written with a ``/``.

        Raises:
            ModelError: there is no such model, or its card cannot be read.
        """
        if "/" in ref or os.sep in ref or ref in (".", ".."):
            return self._read_folder(Path(ref).expanduser())
        name, separator, wanted = ref.partition("@")
        versions = self._versions(name)
        if not versions:
            raise ModelError(self._unknown(ref, name))
        if not separator:
            return self._read(name, max(versions), versions[max(versions)])
        if not wanted.isdecimal() or int(wanted) not in versions:
            known = ", ".join(f"{name}@{version}" for version in sorted(versions))
            raise ModelError(f"no model {ref!r} (there is {known})")
        return self._read(name, int(wanted), versions[int(wanted)])

    def list(self) -> Models:
        """All models by name and version; one with an unreadable card is logged and left out."""
        found = []
        for _, model in self.scan():
            if isinstance(model, ModelError):
                _logger.warning("%s", model)
            else:
                found.append(model)
        return found

    def scan(self) -> Iterator[tuple[str, StoredModel | ModelError]]:
        """Every ``name@version`` there is, with its model or why its card cannot be read."""
        for name in self._names():
            for version, path in sorted(self._versions(name).items()):
                try:
                    yield f"{name}@{version}", self._read(name, version, path)
                except ModelError as problem:
                    yield f"{name}@{version}", problem

    def verify(self, stored: StoredModel) -> None:
        """Compare every file of a model with its hash.

        Raises:
            ModelError: a file is missing or changed; names the file.
        """
        for filename, expected in stored.card["files"].items():
            path = stored.path / filename
            try:
                with path.open("rb") as handle:
                    found = hashlib.file_digest(handle, "sha256").hexdigest()
            except OSError as problem:
                raise ModelError(f"{path}: {problem.strerror}") from problem
            _compare(path, found, expected)

    def save(
        self, name: str, card: Mapping[str, Any], weights: Mapping[str, Tensor], readme: str
    ) -> StoredModel:
        """Store a model as the next version of a name.

        Args:
            name: letters, digits, dots, dashes and underscores.
            card: the card without ``schema_version``, ``name``, ``version``, ``files``,
                ``tool_version`` and ``created``, which are filled in.
            weights: tensors by name.
            readme: text of ``README.md``, for people.

        Raises:
            UsageError: a name that cannot be one.
            ModelError: a card without ``kind`` or ``alphabet``.
            OutputError: the home cannot be written, or the disk is full.
            DesignkitError: another process holds the lock.
        """
        from filelock import FileLock, Timeout

        check_name(name)
        _check_card(card, f"card of {name!r}")
        folder = self.home / "models" / name
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with FileLock(folder / ".lock", timeout=LOCK_SECONDS):
                for abandoned in folder.glob(".part-*"):
                    shutil.rmtree(abandoned)
                version = max(self._versions(name), default=0) + 1
                return self._write(folder, name, version, dict(card), weights, readme)
        except Timeout as problem:
            raise DesignkitError(
                f"{folder / '.lock'}: another process has been saving for {LOCK_SECONDS} s"
            ) from problem
        except OSError as problem:
            message = f"cannot save model {name!r} in {folder}: {problem.strerror or problem}"
            if isinstance(problem, PermissionError | NotADirectoryError | FileExistsError):
                message += "; set DESIGNKIT_HOME to another folder"
            raise OutputError(message) from problem

    def _write(
        self,
        folder: Path,
        name: str,
        version: int,
        card: dict[str, Any],
        weights: Mapping[str, Tensor],
        readme: str,
    ) -> StoredModel:
        from datetime import UTC, datetime

        from safetensors.torch import save

        from designkit import __version__

        # Clones: safetensors refuses tensors that share memory, as tied weights do.
        tensors = {
            key: tensor.detach().cpu().contiguous().clone() for key, tensor in weights.items()
        }
        contents = {WEIGHTS: save(tensors), README: readme.encode()}
        card |= {
            "schema_version": SCHEMA_VERSION,
            "name": name,
            "version": version,
            "files": {file: hashlib.sha256(data).hexdigest() for file, data in contents.items()},
            "tool_version": __version__,
            "created": datetime.now(UTC).isoformat(timespec="seconds"),
        }
        contents[CARD] = (json.dumps(card, indent=2, allow_nan=False) + "\n").encode()
        part = folder / f".part-{version}"
        try:
            part.mkdir()
            for filename, data in contents.items():
                with (part / filename).open("wb") as handle:
                    handle.write(data)
                    handle.flush()
                    os.fsync(handle.fileno())
            part.rename(folder / str(version))
        finally:
            shutil.rmtree(part, ignore_errors=True)
        return self._read(name, version, folder / str(version))

    def _places(self) -> Iterator[Path]:
        """Every ``models`` folder, the home first."""
        for root in (self.home, *self.roots):
            yield root / "models"

    def _names(self) -> tuple[str, ...]:
        found = {
            folder.name
            for place in self._places()
            if place.is_dir()
            for folder in place.iterdir()
            if _NAME.fullmatch(folder.name) and self._versions(folder.name)
        }
        return tuple(sorted(found))

    def _versions(self, name: str) -> dict[int, Path]:
        """Folders of a name by version; of equal versions the first place's counts."""
        found: dict[int, Path] = {}
        if not _NAME.fullmatch(name):
            return found
        for place in self._places():
            if (place / name).is_dir():
                for folder in (place / name).iterdir():
                    if folder.name.isdecimal() and folder.is_dir():
                        found.setdefault(int(folder.name), folder)
        return found

    def _read(self, name: str, version: int, path: Path) -> StoredModel:
        card = _read_card(path)
        if (card["name"], card["version"]) != (name, version):
            raise ModelError(
                f"{path / CARD}: this is the card of {card['name']}@{card['version']}, "
                f"not of {name}@{version}"
            )
        return StoredModel(path, name, version, card, PACKAGED_ROOT in path.parents)

    def _read_folder(self, path: Path) -> StoredModel:
        if not path.is_dir():
            raise ModelError(f"no model folder {str(path)!r}")
        if not (path / CARD).exists():
            raise ModelError(f"no model in {str(path)!r}: the folder has no {CARD}")
        card = _read_card(path)
        packaged = PACKAGED_ROOT in path.resolve().parents
        return StoredModel(path, str(card["name"]), int(card["version"]), card, packaged)

    def _unknown(self, ref: str, name: str) -> str:
        if Path(ref).is_dir():
            return f"unknown model {ref!r}; for the folder of that name write ./{ref}"
        guess = did_you_mean(name, self._names())
        return f"unknown model {ref!r}{guess} ('designkit models list' shows all)"


def check_name(name: str) -> None:
    """Refuse a name that cannot be a model's.

    Raises:
        UsageError: says which characters may be used.
    """
    if not _NAME.fullmatch(name):
        raise UsageError(
            f"model name {name!r}: letters, digits, dots, dashes and underscores, "
            "the first a letter or digit"
        )


def _read_card(folder: Path) -> dict[str, Any]:
    path = folder / CARD
    try:
        card = json.loads(_read(path))
    except ValueError as problem:
        raise ModelError(f"{path}: not valid JSON: {problem}") from problem
    if not isinstance(card, dict):
        raise ModelError(f"{path}: not a model card")
    schema = card.get("schema_version")
    if schema != SCHEMA_VERSION:
        raise ModelError(
            f"{path}: schema version {schema!r}; this designkit reads {SCHEMA_VERSION}"
        )
    _check_card(card, str(path))
    files = card.get("files")
    if not isinstance(files, dict) or WEIGHTS not in files or not {"name", "version"} <= set(card):
        raise ModelError(f"{path}: 'name', 'version' or the hash of {WEIGHTS} is missing")
    if any(Path(filename).name != filename for filename in files):
        raise ModelError(f"{path}: files outside the model's folder")
    return card


def _check_card(card: Mapping[str, Any], where: str) -> None:
    if card.get("kind") not in KINDS:
        raise ModelError(f"{where}: kind is {card.get('kind')!r}, not one of {', '.join(KINDS)}")
    if not isinstance(card.get("alphabet"), Mapping):
        raise ModelError(f"{where}: 'alphabet' is missing")


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as problem:
        raise ModelError(f"{path}: {problem.strerror}") from problem


def _compare(path: Path, found: str, expected: str) -> None:
    if found != expected:
        raise ModelError(
            f"{path}: the file is damaged or was changed (sha256 {found[:12]}..., "
            f"the card says {str(expected)[:12]}...)"
        )
