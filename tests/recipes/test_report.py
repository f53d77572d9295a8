from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import pytest

from designkit.io.provenance import sha256_file
from designkit.recipes.report import find_making

DRAWN = "id,sequence,reward,gc,method,seed\nd1,GGCC,1,1,svdd,7\nd2,GGAA,0.5,0.5,svdd,7\n"
SCORED = "id,sequence,reward,gc,method,seed,judge\nd1,GGCC,1,1,svdd,7,8\nd2,GGAA,0.5,0.5,svdd,7,6\n"


@pytest.fixture
def scored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A table of two designs that was scored from another, with the records of both."""
    monkeypatch.chdir(tmp_path)
    Path("svdd.csv").write_text(DRAWN)
    Path("svdd.scored.csv").write_text(SCORED)
    made = {
        "command": "sample",
        "rewards": [
            {"name": "gc", "column": "gc", "role": "objective"},
            {"name": "motif", "column": "seen", "role": "monitor"},
        ],
        "rows": {"written": 2, "dropped": 2, "resumed": 0},
        "calls": {"denoiser_calls": 9, "denoiser_rows": 40, "reward_rows_scored": 12},
    }
    Path("svdd.csv.meta.json").write_text(json.dumps(made))
    record = {
        "command": "score",
        "input": "svdd.csv",
        "input_sha256": sha256_file("svdd.csv"),
        "calls": {"denoiser_rows": 1, "reward_rows_scored": 2},
        "rewards": [{"name": "judge", "column": "judge", "role": "objective"}],
        "rows": {"written": 2},
    }
    Path("svdd.scored.csv.meta.json").write_text(json.dumps(record))
    return tmp_path / "svdd.scored.csv"


def test_calls_are_those_of_the_run_that_made_the_designs(run, scored: Path) -> None:
    outcome = run("report", scored.name)
    assert (outcome.exit_code, outcome.stderr) == (0, "")
    header, row = outcome.stdout.splitlines()
    assert dict(zip(header.split(), row.split(), strict=True)) == {
        "METHOD": "svdd",
        "DESIGNS": "2",
        "DISTINCT": "1",
        "GC.MEDIAN": "0.75",
        "GC.TOP10": "0.95",
        "JUDGE.MEDIAN": "7",
        "DIVERSITY": "0.5",
        "DENOISER_ROWS_PER_DESIGN": "10",
        "REWARD_ROWS_PER_DESIGN": "3",
    }


def test_records_are_found_after_the_folder_was_moved(
    scored: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path_factory.mktemp("elsewhere"))
    assert find_making(str(scored))["command"] == "sample"


def test_records_of_an_input_that_has_changed_are_not_believed(scored: Path) -> None:
    Path("svdd.csv").write_text(DRAWN + "d3,ACGT,0.5,0.5,svdd,7\n")
    assert find_making(scored.name) == {}


@pytest.mark.parametrize("text", ["", "{", "[]", '{"command": "score", "input": "-"}'])
def test_a_useless_record_is_no_record(scored: Path, run, text: str) -> None:
    Path("svdd.scored.csv.meta.json").write_text(text)
    assert find_making(scored.name) == {}
    assert "ROWS_PER_DESIGN" not in run("report", scored.name).stdout


def test_a_table_that_was_scored_into_itself(scored: Path) -> None:
    Path("svdd.scored.csv.meta.json").write_text(
        json.dumps(
            {"command": "score", "input": scored.name, "input_sha256": sha256_file(scored.name)}
        )
    )
    assert find_making(scored.name) == {}


def test_the_summary_as_a_file(run, scored: Path) -> None:
    shown = run("report", scored.name, "-o", "summary.md").stdout
    assert shown == run("report", scored.name).stdout
    assert Path("summary.md").read_text().splitlines()[2].startswith("| svdd | 2 | 1 | 0.75 |")
    assert run("report", scored.name, "-o", "summary.csv").exit_code == 0
    assert Path("summary.csv").read_text().startswith("method,designs,distinct,gc.median,")
    again = run("report", scored.name, "-o", "summary.csv")
    assert again.exit_code == 2
    assert "summary.csv exists already; use --force" in again.stderr
    assert run("report", scored.name, "-o", "summary.csv", "--force").exit_code == 0


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["-o", "summary.pdf"], 2, "a summary is written as .csv, .tsv, .md"),
        (["-o", "no/folder.csv"], 2, "does not exist; create it first"),
        (["--by", "orign"], 2, "--by orign: no such column"),
        (["absent.csv"], 3, "absent.csv"),
    ],
)
def test_refusals(run, scored: Path, arguments: list[str], code: int, message: str) -> None:
    outcome = run("report", scored.name, *arguments)
    assert outcome.exit_code == code
    assert message in outcome.stderr
    assert outcome.stdout == ""
    assert len(outcome.stderr.splitlines()) == 1


@pytest.mark.parametrize("columns", [150, 60, 46])
def test_on_a_terminal_nothing_is_cut(
    run, scored: Path, monkeypatch: pytest.MonkeyPatch, columns: int
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    monkeypatch.setattr(type(sys.stdout), "isatty", lambda self: True)
    text = re.sub(r"\x1b\[[0-9;]*m", "", run("report", scored.name).stdout)
    lines = text.splitlines()
    assert max(len(line) for line in lines) <= columns
    figures = {word for line in lines for word in line.replace("│", " ").split()}
    assert {"svdd", "0.75", "0.95", "10"} <= figures
    assert not [word for word in figures if "…" in word]
    # Many rows are figures, few are groups.
    assert (len(lines) > 10) == (columns < 100)
