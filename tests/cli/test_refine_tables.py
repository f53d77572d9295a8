"""``designkit refine``: what its tables tell."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

LINE = ["refine", "--model", "tiny", "--reward", "gc", "--seed", 4, "--set", "likelihood_draws=0"]


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, models: Path) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_parents_that_a_new_start_has_found_in_the_archive_are_in_the_trajectory(
    run, fasta: Path
) -> None:
    line = [*LINE, fasta, "--set", "population=3", "--set", "offspring=6"]
    line += ["--set", "patience=0.01", "--until", "rounds=15", "-n", 2]
    assert run(*line, "-q", "-o", "a.csv").exit_code == 0
    trajectory = pd.read_csv("a.csv.trajectory.csv")
    for name in ("parent", "partner"):
        assert trajectory[name].notna().any()
        assert set(trajectory[name].dropna()) <= set(trajectory["id"])
    assert trajectory["round"].is_monotonic_increasing
