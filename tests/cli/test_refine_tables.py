"""``designkit refine``: what its tables tell, and how it ends where there is little to find."""

from __future__ import annotations

import json
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


@pytest.mark.parametrize("method", ["rerd", "mh"])
def test_a_space_that_is_used_up_ends_the_run(run, fasta: Path, method: str) -> None:
    line = [*LINE, fasta, "--design", "1-1", "--method", method, "--until", "evals=1000"]
    outcome = run(*line, "-n", 2, "-o", "a.csv")
    assert outcome.exit_code == 0, outcome.stderr
    assert "finished by nothing new: " in outcome.stderr
    assert pd.read_csv("a.csv.history.csv")["rewards_scored"].iloc[-1] in (15, 16)


def test_letters_in_lower_case_and_u_are_read_where_asked(run) -> None:
    Path("low.fa").write_text(">a\nacguacguacguacguacgu\n")
    line = [*LINE, "low.fa", "--until", "rounds=0", "-n", 1]
    refused = run(*line)
    assert refused.exit_code == 3
    assert "pass --uppercase" in refused.stderr
    assert run(*line, "--uppercase", "--convert-t-u").stdout.endswith("\nACGTACGTACGTACGTACGT\n")


def test_evaluations_that_are_too_few_for_the_inputs_are_refused(run, fasta: Path) -> None:
    for more in ([], ["--dry-run"]):
        refused = run(*LINE, fasta, "--until", "evals=3", "-o", "a.csv", *more)
        assert refused.exit_code == 2
        assert "--until evals=3 is fewer than the 4 sequences to start from" in refused.stderr
    assert run(*LINE, fasta, "--until", "evals=4", "-n", 2, "-o", "a.csv").exit_code == 0


def test_as_many_draws_are_scored_as_may_be(run) -> None:
    assert run(*LINE, "--until", "evals=5", "-n", 5, "-q", "-o", "a.csv").exit_code == 0
    assert len(pd.read_csv("a.csv")) == 5
    assert pd.read_csv("a.csv.history.csv")["rewards_scored"].tolist() == [5]


def test_a_run_that_failed_in_its_first_round_is_not_in_the_way_of_the_next(run, plugin) -> None:
    ref = plugin("return [None] * len(sequences)")
    line = ["refine", "--model", "tiny", "--reward", ref, "--set", "offspring=150", "-o", "a.csv"]
    assert run(*line).exit_code == 4
    assert not Path("a.csv.journal").exists()
    assert run(*LINE, "--until", "rounds=1", "-o", "a.csv").exit_code == 0


def test_designs_outside_the_bounds_are_counted(run) -> None:
    Path("a.fa").write_text(">a\n" + "A" * 20 + "\n>b\n" + "GC" * 10 + "\n")
    line = ["refine", "a.fa", "--model", "tiny", "--reward", "gc?role=constraint&at_least=0.9"]
    line += ["--reward", "homopolymer", "--design", "1-1", "--until", "rounds=2", "--per-input", 2]
    outcome = run(*line, "-o", "a.csv")
    assert "+ 0 dropped; 2 outside the bounds" in outcome.stderr
    assert json.loads(Path("a.csv.meta.json").read_text())["rows"]["outside_bounds"] == 2
    assert (pd.read_csv("a.csv")["feasible"] == 0).sum() == 2


def test_the_plan_counts_the_draws_of_the_first_round(run) -> None:
    line = [*LINE, "--set", "population=16", "--set", "offspring=2", "--until", "rounds=2"]
    assert "reward_rows_at_most: 20" in run(*line, "--dry-run").stdout
    assert run(*line, "-q", "-o", "a.csv").exit_code == 0
    assert 16 < pd.read_csv("a.csv.history.csv")["rewards_scored"].iloc[-1] <= 20


def test_inputs_that_cannot_be_told_apart(run) -> None:
    Path("a.fa").write_text(f">a\n{'AC' * 10}\n>a\n{'AG' * 10}\n")
    line = [*LINE, "--until", "rounds=2", "-n", 10, "-o", "a.csv"]
    refused = run(*line, "a.fa")
    assert refused.exit_code == 3
    assert "a.fa: record a: an earlier record has this id too" in refused.stderr
    assert run(*line, "a.fa", "--on-invalid", "skip", "-q").exit_code == 5
    # The same sequence twice, and an id that looks like one of the first input's designs.
    Path("b.fa").write_text(f">a\n{'AC' * 10}\n>a.3\n{'AC' * 10}\n")
    few = ["--design", "1-2", "--set", "population=16", "--force"]
    assert run(*line, "b.fa", *few, "-q").exit_code == 0
    assert pd.read_csv("a.csv")["sequence"].is_unique
    assert pd.read_csv("a.csv.trajectory.csv")["id"].is_unique


def test_how_many_designs_is_the_last_that_was_said(run, fasta: Path) -> None:
    Path("c.yaml").write_text("num: 10\n")
    line = [*LINE, fasta, "--config", "c.yaml", "--until", "rounds=1"]
    assert run(*line, "--per-input", 2, "-o", "a.csv").exit_code == 0
    assert pd.read_csv("a.csv")["input"].value_counts().tolist() == [2] * 4


def test_mistakes_in_until_name_the_key(run) -> None:
    for text, message in (
        ("rounds=5,evals=0", "--until evals: must be at least 1"),
        ("rounds=-1", "--until rounds: must be at least 0"),
        ("above=2:0", "--until above"),
    ):
        refused = run(*LINE, "--until", text)
        assert refused.exit_code == 2
        assert message in refused.stderr


@pytest.mark.parametrize(("method", "rungs"), [("mh", 1), ("ladder", 3)])
def test_where_chains_are_is_told(run, fasta: Path, method: str, rungs: int) -> None:
    line = [*LINE, fasta, "--method", method, "--alpha", 0.5, "--until", "rounds=6", "-n", 2]
    line += ["--set", "population=2", "-q", *(["--set", "rungs=3"] if rungs > 1 else [])]
    assert run(*line, "-o", "a.csv").exit_code == 0
    chains = pd.read_csv("a.csv.chains.csv")
    own = chains.groupby(["input", "chain"])
    assert set(own.groups) == {(f"s{n}", c + 1) for n in range(1, 5) for c in range(2 * rungs)}
    assert all(rounds.tolist() == [1, 2, 3, 4, 5, 6] for _, rounds in own["round"])
    heats = chains.drop_duplicates("chain")["temperature"].tolist()
    assert heats == pytest.approx([0.5, 0.5 * 20**0.5, 10] * 2 if rungs > 1 else [0.5] * 2)
    known = pd.read_csv("a.csv.trajectory.csv").set_index("id")
    assert (known.loc[chains["id"], "sequence"].to_numpy() == chains["sequence"]).all()
    assert (own["reward"].diff() < 0).any()  # they do not only rise
