"""Hard constraints on the command line: ``designkit sample``."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pandas as pd
import pytest
import yaml

from designkit.io.designs import DesignWriter
from designkit.recipes.record import RunRecord
from designkit.recipes.runtime import StopRequest

SMC = ["--method", "smc", "--reward", "model:pred", "--set", "particles=4"]


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, models: Path) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def length_of(run) -> int:
    text = run("sample", "tiny", "-n", 1, "--seed", 0, "-q").stdout
    return len(text.splitlines()[1])


@pytest.mark.parametrize("method", [[], SMC], ids=["ancestral", "smc"])
def test_every_design_satisfies_what_was_asked_for(run, method: list[str]) -> None:
    length = length_of(run)
    template = "ACG" + "N" * (length - 3)
    line = ["sample", "tiny", "-n", 8, "--seed", 1, *method, "--forbid", "GA", "--gc", "0.2-0.8"]
    line += ["--template", template, "--max-homopolymer", 3]
    outcome = run(*line, "-o", "out.csv")
    assert outcome.exit_code == 0, outcome.stderr
    assert f"constraints: {length - 3} of {length} positions free; forbidden: GA, TC" in (
        outcome.stderr.replace("(reverse complement of GA)", "").replace(" ,", ",")
    )
    designs = pd.read_csv("out.csv")["sequence"].tolist()
    assert len(designs) == 8
    for design in designs:
        assert design.startswith("ACG")
        assert not re.search(r"GA|TC|(.)\1\1\1", design)
        assert 0.2 <= (design.count("G") + design.count("C")) / length <= 0.8
    record = json.loads(Path("out.csv.meta.json").read_text())
    assert record["settings"]["constraints"]["forbid"] == ["GA"]
    assert record["settings"]["length"] == length
    again = run(*line, "-o", "again.csv", "--batch-size", 4)
    assert again.exit_code == 0
    assert pd.read_csv("again.csv")["sequence"].tolist() == designs


def test_designs_out_of_reach_are_counted(run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("designkit.recipes._constraints.MOST_ATTEMPTS", 2)
    line = ["sample", "tiny", "-n", 12, "--seed", 1, "--gc", "0.45-0.5", "-o", "out.csv"]
    outcome = run(*line)
    assert outcome.exit_code == 5
    rows = json.loads(Path("out.csv.meta.json").read_text())["rows"]
    assert rows["failed"] > 0
    assert rows["requested"] == rows["written"] + rows["failed"] + rows["dropped"]
    assert f"{rows['failed']} failed + 0 dropped" in outcome.stderr
    assert re.search(r"broke the constraints in all .* attempts \(GC 0\.\d+ at", outcome.stderr)
    written = pd.read_csv("out.csv")
    assert len(written) == rows["written"]
    small = run(*line[:-1], "small.csv", "--batch-size", 5)
    assert small.exit_code == 5
    pd.testing.assert_frame_equal(pd.read_csv("small.csv"), written)


@pytest.mark.parametrize("ending", ["stopped", "killed"])
def test_designs_out_of_reach_are_counted_apart_from_those_without_score(
    run, plugin, monkeypatch: pytest.MonkeyPatch, ending: str
) -> None:
    monkeypatch.setattr("designkit.recipes._constraints.MOST_ATTEMPTS", 2)
    ref = plugin("return [float('nan') if s.count('A') % 2 else len(s) for s in sequences]")
    line = ["sample", "tiny", "-n", 24, "--seed", 1, "--gc", "0.45-0.5", "--reward", ref]
    line += ["--batch-size", 4, "--on-invalid", "skip", "-q"]
    assert run(*line, "-o", "whole.csv").exit_code == 5
    whole = json.loads(Path("whole.csv.meta.json").read_text())["rows"]
    assert min(whole["failed"], whole["dropped"], whole["written"]) > 2
    write, written = DesignWriter.write, list[int]()

    def stopping(self: DesignWriter, frame: pd.DataFrame) -> None:
        if len(written) == 4 and ending == "killed":
            raise SystemError
        write(self, frame)
        written.append(len(frame))

    with monkeypatch.context() as patch:
        patch.setattr(DesignWriter, "write", stopping)
        patch.setattr(StopRequest, "__call__", lambda self: len(written) == 4 and ending[0] == "s")
        if ending == "killed":  # nothing is said at the end
            keep = RunRecord.write
            patch.setattr(
                RunRecord, "write", lambda s, how, **f: how == "running" and keep(s, how, **f)
            )
        assert run(*line, "-o", "out.csv").exit_code == (75 if ending == "stopped" else 1)
    assert run(*line, "-o", "out.csv", "--resume").exit_code == 5
    rows = json.loads(Path("out.csv.meta.json").read_text())["rows"]
    assert rows["resumed"] == sum(written)
    rows["written"] += rows["resumed"]
    assert rows == {**whole, "resumed": rows["resumed"]}
    assert Path("out.csv").read_bytes() == Path("whole.csv").read_bytes()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--fix", "1-3"], "--fix keeps letters of a template: add --template"),
        (["--template", "ACGTN", "--length", 6], "--length 6, but --template has 5 letters"),
        (["--forbid", "GX"], "--forbid GX: 'X' at position 2 is neither in the dna alphabet"),
        (["--forbid-letters", "ACGT"], "--forbid-letters ACGT: these are all letters"),
        (["--template", "ACGT"], "--template has 4 letters: tiny writes sequences of 20 letters"),
        (["--alpha", "0.5"], "--alpha: method ancestral has no alpha"),
        (["--gc", "40-60"], "--gc: '40-60' must be shares from 0 to 1"),
        (["--design", "a"], "--design: 'a' must be positions from 1 on, like 1-10,25"),
        (["--forbid", "S", "--forbid", "W"], "no sequence satisfies the constraints"),
    ],
)
def test_mistakes_end_before_any_work(run, options: list[str], message: str) -> None:
    outcome = run("sample", "tiny", "-n", 2, "-o", "out.csv", *options)
    assert (outcome.exit_code, outcome.stdout) == (2, "")
    assert message in outcome.stderr
    assert "Traceback" not in outcome.stderr
    assert not Path("out.csv").exists()


def test_the_plan_counts_letters_to_be_found(run) -> None:
    length = length_of(run)
    template = "A" * (length - 2) + "NN"
    outcome = run("sample", "tiny", "--template", template, "--gc", "0-1", "--dry-run")
    assert outcome.exit_code == 0
    assert f"constraints: 2 of {length} positions free" in outcome.stdout
    assert "attempts_at_most" in outcome.stdout


def test_all_constraints_are_said(run) -> None:
    line = ["--forbid", "GAATTC", "--coding", "1-9", "--gc", "0.2-0.8", "--gc", "0.1-0.9:10"]
    said = run("sample", "tiny", "-n", 1, "--seed", 1, *line).stderr
    assert "forbidden: GAATTC; no stop codon in frame in 1-9; GC 0.2-0.8, 0.1-0.9:10\n" in said


def test_a_budget_is_spent_on_the_letters_to_be_found(run) -> None:
    length = length_of(run)
    line = ["--method", "auto", "--reward", "model:pred", "--max-evals", 120, "-n", 2, "--dry-run"]
    whole = run("sample", "tiny", "--length", length, *line)
    template = ["--template", "A" * (length - 3) + "NNN"]
    few = run("sample", "tiny", *template, *line)
    assert (whole.exit_code, few.exit_code) == (0, 0), few.stderr
    plans = [yaml.safe_load(outcome.stdout) for outcome in (whole, few)]
    assert [plan["steps"] for plan in plans] == [6, 3]
    assert [plan["sampler"]["candidates"] for plan in plans] == [10, 20]
    assert all(plan["reward_rows_at_most"] <= 122 for plan in plans)
    outcome = run("sample", "tiny", *template, *line[:-1], "--seed", 1)
    assert outcome.exit_code == 0, outcome.stderr


def test_the_plan_counts_designs_that_are_drawn_again(run) -> None:
    line = ["--method", "svdd", "--alpha", 0, "--reward", "gc", "--set", "candidates=3", "-n", 2]
    once = yaml.safe_load(run("sample", "tiny", *line, "--dry-run").stdout)
    plan = yaml.safe_load(run("sample", "tiny", *line, "--gc", "0.4-0.5", "--dry-run").stdout)
    assert "attempts_at_most" not in once
    for kind in ("denoiser", "reward"):
        assert once[f"{kind}_rows_at_most"] < plan[f"{kind}_rows_at_most"]
        attempt = plan[f"{kind}_rows_of_one_attempt"]
        assert plan[f"{kind}_rows_at_most"] - plan["attempts_at_most"] * attempt in (0, 2)


def test_a_budget_that_ends_in_designs_drawn_again_ends_the_run(run) -> None:
    line = ["sample", "tiny", "-n", 8, "--seed", 1, "--method", "best_of_n", "--reward", "gc"]
    bounds = ["--gc", "0.45-0.5", "--set", "candidates=3", "--max-evals", 30]
    outcome = run(*line, *bounds, "-o", "out.csv")
    assert outcome.exit_code == 5, outcome.stderr
    assert "in the attempts that --max-evals allows" in outcome.stderr
    rows = json.loads(Path("out.csv.meta.json").read_text())["rows"]
    assert 0 < rows["written"] == len(pd.read_csv("out.csv"))
    assert rows["written"] + rows["failed"] == 8
