"""What ``designkit models`` does: list, show and verify the models of the registry."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from designkit.errors import ArtifactError, ModelError

if TYPE_CHECKING:
    from designkit.registry.store import Registry, StoredModel

COLUMNS = ("name", "version", "kind", "alphabet", "length", "from", "summary")


def list_models() -> list[tuple[str, ...]]:
    """One row for each stored version, the fields of ``COLUMNS``."""
    return [_row(stored) for stored in _registry().list()]


def show_model(ref: str) -> str:
    """A model's card as indented JSON, as stored.

    Raises:
        ModelError: no such model.
    """
    return json.dumps(_registry().find(ref).card, indent=2, ensure_ascii=False)


def describe_model(ref: str) -> str:
    """A model's card as ``key: value`` lines, its folder, and its description.

    Raises:
        ModelError: no such model.
    """
    stored = _registry().find(ref)
    hidden = {"schema_version", "name", "version", "files"}
    fields: dict[str, Any] = {"name": f"{stored.name}@{stored.version}", "folder": str(stored.path)}
    fields |= {key: value for key, value in stored.card.items() if key not in hidden}
    # The figures of an audit fill a table, which the description has.
    metrics = stored.card.get("metrics") or {}
    fields["metrics"] = {key: value for key, value in metrics.items() if key != "audit"}
    lines = [
        f"{key}: {_in_line(value)}" for key, value in fields.items() if value not in (None, {})
    ]
    readme = stored.path / "README.md"
    if readme.is_file():
        lines += ["", readme.read_text(encoding="utf-8").rstrip()]
    return "\n".join(lines)


def verify_models(refs: Sequence[str]) -> Iterator[tuple[str, str | None]]:
    """Check the files of models against their hashes, all models when none is named.

    Yields:
        Name and version, and what is wrong with its card or its files, or None.

    Raises:
        ModelError: a reference to no model.
    """
    registry = _registry()
    named = [registry.find(ref) for ref in refs]
    models: Iterable[tuple[str, StoredModel | ModelError]] = [
        (f"{stored.name}@{stored.version}", stored) for stored in named
    ] or registry.scan()
    for name, found in models:
        problem = None
        try:
            if isinstance(found, ModelError):
                raise found
            registry.verify(found)
        except ArtifactError as error:
            problem = str(error)
        yield name, problem


def _registry() -> Registry:
    from designkit.registry.store import Registry

    return Registry()


def _row(stored: StoredModel) -> tuple[str, ...]:
    card = stored.card
    lengths = sorted(int(length) for length in card.get("length_law") or {})
    length = "-".join(map(str, sorted({*lengths[:1], *lengths[-1:]})))
    return (
        stored.name,
        str(stored.version),
        str(card.get("kind", "")),
        str((card.get("alphabet") or {}).get("name", "")),
        length,
        "designkit" if stored.packaged else "home",
        str(card.get("summary") or ""),
    )


def _in_line(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key} {_in_line(inner)}" for key, inner in value.items())
    if isinstance(value, list):
        return " ".join(_in_line(inner) for inner in value)
    return f"{value:.6g}" if isinstance(value, float) else str(value)
