"""``designkit refine --ask`` and ``--tell``: a campaign, what it refuses, what a kill leaves."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest

from .conftest import Starter, wait_until

START = ["refine", "--model", "tiny", "--state", "lab", "--seed", 3]
QUICK = ["--set", "ensemble.members=4", "--set", "ensemble.kind=linear", "--until", "rounds=3"]


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, models: Path) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def campaign() -> dict:
    return json.loads(Path("lab/campaign.json").read_text())


def value(sequence: str) -> float:
    """What the laboratory measures: how many G the first half has, and C the second."""
    half = len(sequence) // 2
    return sequence[:half].count("G") + sequence[half:].count("C")


def measure(batch: str, target: str, rows: slice = slice(None), **columns: object) -> pd.DataFrame:
    table = pd.read_csv(batch)[rows]
    table["activity"] = [value(sequence) for sequence in table["sequence"]]
    table = table.assign(**columns)
    table.to_csv(target, index=False)
    return table


@pytest.fixture
def asked(run) -> pd.DataFrame:
    outcome = run(*START, *QUICK, "--ask", 12, "-o", "b1.csv")
    assert outcome.exit_code == 0, outcome.stderr
    return pd.read_csv("b1.csv")


@pytest.fixture
def told(run, asked: pd.DataFrame) -> pd.DataFrame:
    table = measure("b1.csv", "m1.csv")
    outcome = run("refine", "--tell", "m1.csv", "--state", "lab", "--label", "activity")
    assert outcome.exit_code == 0, outcome.stderr
    return table


def test_a_first_batch_differs_and_predicts_nothing(run, asked: pd.DataFrame) -> None:
    assert list(asked.columns) == ["id", "sequence", "mean", "std", "acquisition"]
    assert asked["id"].tolist() == [f"b1_{n}" for n in range(1, 13)]
    assert asked["sequence"].nunique() == 12
    assert asked[["mean", "std", "acquisition"]].isna().all(axis=None)
    assert Path("lab/batch_1.csv").read_text() == Path("b1.csv").read_text()
    assert [one["sequence"] for one in campaign()["asked"]] == asked["sequence"].tolist()


def test_results_make_a_predictor_that_the_next_batch_is_chosen_by(run, told) -> None:
    outcome = run("refine", "--ask", 12, "--state", "lab", "-o", "b2.csv")
    assert outcome.exit_code == 0, outcome.stderr
    assert "predictor 1, acquisition ucb of beta 1" in outcome.stderr
    table = pd.read_csv("b2.csv")
    assert table["id"].tolist() == [f"b2_{n}" for n in range(1, 13)]
    assert not set(table["sequence"]) & set(told["sequence"])
    assert table["acquisition"].to_numpy() == pytest.approx(table["mean"] + table["std"], rel=1e-5)
    assert table["sequence"].map(value).mean() > told["activity"].mean()
    assert Path("lab/batch_2.csv").read_text() == Path("b2.csv").read_text()
    # The predictor is a model like any other.
    score = ["score", "b2.csv", "--reward", "model:lab/models/predictor/1", "-o", "s.csv"]
    assert run(*score).exit_code == 0
    scored = pd.read_csv("s.csv")
    for column, own in (("predictor", "mean"), ("predictor_std", "std")):
        assert scored[column].to_numpy() == pytest.approx(table[own].to_numpy(), rel=1e-5)


def test_thompson_asks_one_member_for_each_sequence(run, told) -> None:
    line = ["refine", "--ask", 6, "--state", "lab", "--set", "acquisition=thompson"]
    assert run(*line, "-o", "b2.csv").exit_code == 0
    table = pd.read_csv("b2.csv")
    from designkit.alphabet import DNA
    from designkit.registry.build import load_predictor
    from designkit.registry.store import Registry

    predictor = load_predictor(Registry().find("lab/models/predictor/1"))
    import torch

    tokens = torch.from_numpy(DNA.encode(table["sequence"].tolist()))
    predicted = predictor.predict(tokens)[:, :, 0].double().numpy()
    turns = [0, 0, 1, 1, 2, 3]  # four members, six sequences
    wanted = predicted[range(6), turns]
    assert table["acquisition"].to_numpy() == pytest.approx(wanted)


def test_less_may_be_better(run, asked: pd.DataFrame) -> None:
    measure("b1.csv", "m1.csv")
    line = ["refine", "--tell", "m1.csv", "--state", "low", "--label", "activity"]
    start = [*START[:-4], "--seed", 3, "--state", "low", "--set", "direction=minimize"]
    assert run(*start, *QUICK, "--ask", 12, "-o", "c1.csv").exit_code == 0
    assert run(*line, "--ask", 12, "-o", "c2.csv").exit_code == 0
    table = pd.read_csv("c2.csv")
    assert table["acquisition"].to_numpy() == pytest.approx(table["std"] - table["mean"], rel=2e-5)


def test_the_same_state_asks_the_same(run, told) -> None:
    import shutil

    shutil.copytree("lab", "copy")
    for state in ("lab", "copy"):
        assert run("refine", "--ask", 8, "--state", state, "-o", f"{state}.csv").exit_code == 0
    assert Path("lab.csv").read_text() == Path("copy.csv").read_text()


def test_nothing_is_asked_twice_and_batches_may_wait(run, asked: pd.DataFrame) -> None:
    assert run("refine", "--ask", 12, "--state", "lab", "-o", "b2.csv").exit_code == 0
    second = pd.read_csv("b2.csv")
    assert not set(second["sequence"]) & set(asked["sequence"])
    assert len(campaign()["asked"]) == 24


def test_rows_are_joined_by_id_or_sequence_and_all_are_accounted_for(run, asked) -> None:
    table = measure("b1.csv", "m1.csv")
    table["activity"] = table["activity"].astype(str)
    table.loc[0, "activity"] = ""
    table.loc[1, "activity"] = "NA"
    table.loc[2, "id"] = "mine"  # joined by its sequence
    stranger = pd.DataFrame({"id": ["x1"], "sequence": ["A" * 20], "activity": ["9"]})
    twice = table.iloc[[3]].assign(activity=str(float(table.loc[3, "activity"]) + 2))
    pd.concat([table, stranger, twice]).to_csv("m1.csv", index=False)
    outcome = run("refine", "--tell", "m1.csv", "--state", "lab", "--label", "activity")
    assert outcome.exit_code == 0, outcome.stderr
    assert "10 sequences measured, 2 asked for and still to come" in outcome.stderr
    assert "2 rows (b1_1, b1_2) without a value" in outcome.stderr
    assert "1 row (x1) never asked for, left out" in outcome.stderr
    measured = campaign()["measured"]
    assert measured[table.loc[2, "sequence"]] == float(table.loc[2, "activity"])
    assert measured[table.loc[3, "sequence"]] == float(table.loc[3, "activity"]) + 1
    # What comes later is added; by id alone; and what is told again is replaced, and said.
    rest = asked.iloc[[0, 3]][["id"]].assign(activity=[1.5, 2.5])
    rest.to_csv("m2.tsv", sep="\t", index=False)
    outcome = run("refine", "--tell", "m2.tsv", "--state", "lab")
    assert outcome.exit_code == 0, outcome.stderr
    assert "1 row (b1_4) measured before: the new values count" in outcome.stderr
    assert campaign()["measured"][asked.loc[0, "sequence"]] == 1.5
    assert campaign()["measured"][asked.loc[3, "sequence"]] == 2.5
    assert campaign()["predictor"] == 2


def test_few_results_wait_for_more(run, asked: pd.DataFrame) -> None:
    measure("b1.csv", "m1.csv", slice(3))
    outcome = run("refine", "--tell", "m1.csv", "--state", "lab", "--label", "activity")
    assert outcome.exit_code == 0
    assert "3 measured in all: too few for a predictor, which needs 8" in outcome.stderr
    outcome = run("refine", "--ask", 4, "--state", "lab", "-o", "b2.csv")
    assert "no predictor yet" in outcome.stderr
    assert pd.read_csv("b2.csv")["mean"].isna().all()


def test_own_measurements_and_constraints(run, fasta: Path) -> None:
    letters = ["ACGT"[n % 4] * 10 + "ACGT"[n // 4 % 4] * 5 + "ACGT"[n // 16] * 5 for n in range(64)]
    known = pd.DataFrame({"sequence": letters, "activity": [value(one) for one in letters]})
    known.to_csv("known.csv", index=False)
    line = [*START, *QUICK, fasta, "--data", "known.csv", "--label", "activity", "--ask", 8]
    limits = ["--fix", "1-4", "--max-edits", 5, "--forbid", "GAATTC"]
    outcome = run(*line, *limits, "-o", "b1.csv")
    assert outcome.exit_code == 0, outcome.stderr
    assert "known.csv: 64 measured sequences" in outcome.stderr
    table = pd.read_csv("b1.csv")
    roots = dict(zip(("s1", "s2", "s3", "s4"), fasta.read_text().split("\n")[1::2], strict=True))
    assert set(table["input"]) <= set(roots)
    for row in table.itertuples():
        root = roots[row.input]
        assert row.sequence[:4] == root[:4]
        assert 0 < sum(a != b for a, b in zip(row.sequence, root, strict=True)) <= 5
        assert "GAATTC" not in row.sequence
    assert not set(table["sequence"]) & set(letters)
    second = ["refine", "--ask", 4, "--state", "lab", "-o", "b2.csv"]
    outcome = run(*second)
    assert outcome.exit_code == 0, outcome.stderr
    for row in pd.read_csv("b2.csv").itertuples():
        assert row.sequence[:4] == roots[row.input][:4]
    fasta.write_text(fasta.read_text() + ">s5\n" + "C" * 20 + "\n")
    outcome = run(*second, "--force")
    assert outcome.exit_code == 2
    assert "changed since" in outcome.stderr


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (["--model", "vari"], "started with another model"),
        (["--seed", 4], "started with another seed"),
        (["--max-homopolymer", 3], "started with another constraints"),
        (["--set", "direction=minimize"], "started with another direction"),
        (["--reward", "gc"], "--reward: a campaign raises what is measured"),
        (["-n", 3], "-n: --ask says how many"),
        (["--resume"], "--resume: a batch that was stopped is asked for again"),
        (["--set", "acquisition=best"], "acquisition"),
        (["--set", "ensemble.architecture.name=none"], "unknown predictor"),
        (["--data", "none.csv"], "which column holds the measured values?"),
    ],
)
def test_another_campaign_is_refused(run, asked, change: list[object], message: str) -> None:
    before = campaign()
    outcome = run("refine", "--ask", 4, "--state", "lab", "-o", "b2.csv", *change)
    assert (outcome.exit_code, outcome.stderr.count("\n") <= 3) == (2, True)
    assert message in outcome.stderr
    assert campaign() == before
    assert not Path("b2.csv").exists()


@pytest.mark.parametrize(
    ("table", "code", "message"),
    [
        ("id,activity\nb1_1,high\n", 3, "record b1_1: column 'activity' holds 'high'"),
        ("id,activity\nb1_1,inf\n", 3, "not a number"),
        ("id,score\nb1_1,1\n", 3, "no column 'activity' (columns: id, score)"),
        ("activity\n1\n", 3, "no column id or sequence"),
        ("id,activity\nb1_1,\nzz,1\n", 3, "(1 without a value, 1 never asked for)"),
        ("id,sequence,activity\nb1_1,AAAA,1\n", 3, "is not the one that was asked for"),
        ("", 3, "not a table"),
        (None, 3, "cannot be read"),
    ],
)
def test_bad_results_change_nothing(run, asked, table: str | None, code: int, message: str) -> None:
    if table is not None:
        Path("bad.csv").write_text(table)
    before = campaign()
    outcome = run("refine", "--tell", "bad.csv", "--state", "lab", "--label", "activity")
    assert outcome.exit_code == code
    assert message in outcome.stderr
    assert campaign() == before


def test_what_does_not_go_together(run) -> None:
    for line, message in (
        (["--ask", 4, "--model", "tiny"], "add --state DIR"),
        (["--state", "lab", "--model", "tiny"], "--ask NUMBER or --tell FILE"),
        (["--tell", "a.csv", "--state", "none"], "no campaign there"),
        (["--ask", 4, "--state", "new"], "no model to draw from"),
    ):
        outcome = run("refine", *line)
        assert outcome.exit_code == 2
        assert message in outcome.stderr
    Path("broken").mkdir()
    Path("broken/campaign.json").write_text("{")
    outcome = run("refine", "--ask", 4, "--state", "broken")
    assert outcome.exit_code == 3
    assert "damaged" in outcome.stderr


def test_a_killed_command_lets_the_folder_go(run, start: Starter) -> None:
    process = start(*START, *QUICK, "--ask", 200, "-o", "b1.csv")
    wait_until(lambda: Path("lab/.lock").exists(), process)
    process.kill()
    process.wait()
    assert not Path("b1.csv").exists()
    assert not Path("lab/campaign.json").exists()
    outcome = run(*START, *QUICK, "--ask", 5, "-o", "b1.csv")
    assert outcome.exit_code == 0, outcome.stderr
    assert len(campaign()["asked"]) == 5


def test_time_that_is_over_leaves_the_campaign_as_it_was(run, told) -> None:
    before = campaign()
    line = ["refine", "--ask", 40, "--state", "lab", "--max-time", "0.001s", "-o", "b2.csv"]
    outcome = run(*line)
    assert outcome.exit_code == 75
    assert "--max-time is over: the campaign in lab is as it was; ask again" in outcome.stderr
    assert campaign() == before
    assert not Path("b2.csv").exists()


def test_two_commands_do_not_work_on_one_folder(run, asked) -> None:
    from filelock import FileLock

    with FileLock("lab/.lock"):
        outcome = run("refine", "--ask", 5, "--state", "lab")
    assert outcome.exit_code == 2
    assert "--state lab: another command is working on it" in outcome.stderr


@pytest.mark.parametrize("moment", ["write_text_atomic", "save", "replace"])
def test_a_command_that_dies_leaves_the_campaign_as_it_was(
    run, asked, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    """Dying before the batch is written, before the predictor is named, before the last rename."""
    measure("b1.csv", "m1.csv")
    before = campaign()
    line = ["refine", "--tell", "m1.csv", "--state", "lab", "--label", "activity", "--ask", 5]

    def die(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        if moment == "save":
            patch.setattr("designkit.registry.store.Registry.save", die)
        elif moment == "replace":
            patch.setattr("designkit.io.provenance.os.replace", die)
        else:
            patch.setattr("designkit.io.provenance.write_text_atomic", die)
        outcome = run(*line, "-o", "b2.csv")
    assert outcome.exit_code == 130
    assert not Path("b2.csv").exists()
    assert campaign() == before
    assert run(*line, "-o", "b2.csv", "--force").exit_code == 0
    assert len(pd.read_csv("b2.csv")) == 5
    assert [one["id"] for one in campaign()["asked"][12:]] == [f"b2_{n}" for n in range(1, 6)]
