"""Models that a method asks for by reference, besides the prior."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


class LoadedModels:
    """Loads each model once and knows what it was asked.

    Args:
        load: gives the model of a reference.
    """

    def __init__(self, load: Callable[[str], Any]):
        self._load = load
        self._models: dict[str, Any] = {}

    def __call__(self, ref: str) -> Any:
        """The model of a reference."""
        if ref not in self._models:
            self._models[ref] = self._load(ref)
        return self._models[ref]

    def record(self) -> list[dict[str, Any]]:
        """What each was asked, for the record of a run."""
        return [
            {
                "ref": ref,
                "sha256": model.sha256,
                "calls": model.counter.calls,
                "rows": model.counter.rows,
            }
            for ref, model in self._models.items()
        ]
