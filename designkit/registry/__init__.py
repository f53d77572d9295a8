"""Trained models on disk: names, versions, hashes, lineage, cards."""
