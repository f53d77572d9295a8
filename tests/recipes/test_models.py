from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from designkit.errors import ModelError
from designkit.recipes import models


@dataclass
class Stored:
    path: Path
    name: str
    version: int
    card: dict[str, Any]
    packaged: bool = False
    damaged: bool = False


class Shelf:
    """Two models, the second damaged."""

    def __init__(self, path: Path):
        prior = {
            "schema_version": 1,
            "name": "prior",
            "kind": "diffusion",
            "alphabet": {"name": "dna", "letters": list("ACGT")},
            "length_law": {"80": 12},
            "training": {"data": "yeast", "rows": 0},
            "metrics": {"nll": 1.23456789},
            "summary": "Promoters.",
            "parent": None,
            "files": {"model.safetensors": "abc"},
        }
        reward = {
            "kind": "predictor",
            "alphabet": {"name": "rna"},
            "length_law": {"5": 3, "7": 1, "9": 2},
        }
        self.models = [
            Stored(path, "prior", 2, prior, packaged=True),
            Stored(path, "mrl", 1, reward, damaged=True),
        ]

    def list(self) -> list[Stored]:
        return self.models

    def scan(self) -> Iterator[tuple[str, Stored | ModelError]]:
        for stored in self.models:
            yield f"{stored.name}@{stored.version}", stored

    def find(self, ref: str) -> Stored:
        for stored in self.models:
            if stored.name == ref:
                return stored
        raise ModelError(f"unknown model {ref!r}")

    def verify(self, stored: Stored) -> None:
        if stored.damaged:
            raise ModelError("model.safetensors differs from its hash")


@pytest.fixture(autouse=True)
def shelf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(models, "_registry", lambda: Shelf(tmp_path))
    return tmp_path


def test_list(run) -> None:
    header, prior, mrl = (line.split() for line in run("models", "list").stdout.splitlines())
    assert header == ["NAME", "VERSION", "KIND", "ALPHABET", "LENGTH", "FROM", "SUMMARY"]
    assert prior == ["prior", "2", "diffusion", "dna", "80", "designkit", "Promoters."]
    assert mrl == ["mrl", "1", "predictor", "rna", "5-9", "home"]


def test_show(run, shelf: Path) -> None:
    (shelf / "README.md").write_text("# Prior\n\nMade of yeast.\n")
    shown = run("models", "show", "prior").stdout.splitlines()
    assert shown[0] == "name: prior@2"
    assert "metrics: nll 1.23457" in shown
    assert "training: data yeast, rows 0" in shown
    assert not [line for line in shown if line.startswith(("parent", "files", "schema_version"))]
    assert shown[-1] == "Made of yeast."
    assert json.loads(run("models", "show", "prior", "--json").stdout)["parent"] is None


def test_show_of_an_unknown_model(run) -> None:
    outcome = run("models", "show", "absent")
    assert outcome.exit_code == 4
    assert outcome.stderr == "designkit: error: unknown model 'absent'\n"


def test_verify_goes_on_after_a_damaged_model(run) -> None:
    outcome = run("models", "verify", "mrl", "prior")
    assert outcome.exit_code == 4
    assert outcome.stdout.splitlines() == [
        "mrl@1: model.safetensors differs from its hash",
        "prior@2: ok",
    ]
    assert "1 damaged: mrl@1" in outcome.stderr
    assert run("models", "verify", "prior").exit_code == 0
    assert run("models", "verify").exit_code == 4  # all of them
