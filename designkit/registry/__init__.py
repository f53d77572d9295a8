"""Trained models on disk: names, versions, hashes, lineage, cards."""

from designkit.registry.store import Registry, StoredModel

__all__ = ["Registry", "StoredModel"]
