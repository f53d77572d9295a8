"""``designkit refine``: what is read, kept, written, stopped and resumed."""

from __future__ import annotations

import io
import itertools
import json
import random
import signal
import time
from collections.abc import Sequence
from pathlib import Path

import pandas as pd
import pytest

from designkit import plugins
from designkit.recipes.runtime import StopRequest

from .conftest import Starter, end, wait_until

LINE = ["refine", "--model", "tiny", "--reward", "model:pred", "--seed", 4]
SHORT = ["--set", "population=4", "--until", "rounds=3", "--set", "likelihood_draws=4"]


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, models: Path) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def meta(target: str) -> dict:
    return json.loads(Path(f"{target}.meta.json").read_text())


def assert_whole(target: str) -> dict:
    """A finished run has its four files, and its counts add up."""
    record = meta(target)
    rows = record["rows"]
    assert record["status"] == "complete"
    assert rows["requested"] == rows["written"] + rows["failed"] + rows["dropped"]
    names = {path.name.removeprefix(target) for path in Path().glob(f"{target}*")}
    assert names - {".chains.csv"} == {"", ".history.csv", ".trajectory.csv", ".meta.json"}
    return record


def test_draws_of_the_prior_are_improved(run) -> None:
    outcome = run(*LINE, *SHORT, "-n", 3, "-o", "a.csv")
    assert outcome.exit_code == 0, outcome.stderr
    record = assert_whole("a.csv")
    table = pd.read_csv("a.csv")
    assert list(table.columns) == [
        *["id", "sequence", "reward", "pred", "pred_std", "log_likelihood"],
        *["parent", "round", "model", "method", "seed"],
    ]
    assert table["reward"].is_monotonic_decreasing
    assert (len(table), table["sequence"].nunique()) == (3, 3)
    assert (table["method"] == "rerd").all()
    scored = run(
        "score",
        "a.csv",
        "--reward",
        "model:pred",
        "--model",
        "tiny",
        "--set",
        "likelihood_draws=4",
        "--format",
        "csv",
    )
    again = pd.read_csv(io.StringIO(scored.stdout))
    assert again["reward"].tolist() == table["reward"].tolist()
    assert again["log_likelihood"].tolist() == table["log_likelihood"].tolist()
    assert "3 designs requested = 3 written + 0 failed + 0 dropped" in outcome.stderr
    assert "finished by rounds=3: 3 rounds" in outcome.stderr
    calls = record["calls"]
    (usage,) = calls["rewards"]
    assert usage["rows"] == calls["reward_rows_scored"] <= calls["reward_rows_asked"]
    # The first sequences are the designs of ``sample``.
    drawn = run("sample", "tiny", "-n", 16, "--seed", 4).stdout.splitlines()[1::2]
    trajectory = pd.read_csv("a.csv.trajectory.csv")
    first = set(trajectory.loc[trajectory["round"] == 0, "sequence"])
    assert (len(first), first < set(drawn)) == (4, True)


def test_history_and_trajectory(run) -> None:
    assert run(*LINE, *SHORT, "-o", "a.csv").exit_code == 0
    history, table = pd.read_csv("a.csv.history.csv"), pd.read_csv("a.csv")
    assert history["round"].tolist() == [0, 1, 2, 3]
    assert history["best"].is_monotonic_increasing
    assert history["best"].iloc[-1] == table["reward"].iloc[0]
    assert history["log_likelihood"].iloc[-1] == table["log_likelihood"].iloc[0]
    for name in ("denoiser_rows", "rewards_asked", "rewards_scored"):
        assert history[name].is_monotonic_increasing
    assert (history["rewards_scored"] <= history["rewards_asked"]).all()
    assert history["rewards_scored"].iloc[-1] == meta("a.csv")["calls"]["reward_rows_scored"]
    assert (history["edits_from_parent"].dropna() >= 1).all()
    assert history["diversity"].between(0, 1).all()
    trajectory = pd.read_csv("a.csv.trajectory.csv").set_index("id")
    assert trajectory.index.is_unique
    born = trajectory["round"]
    for parents in (trajectory["parent"].dropna(), trajectory["partner"].dropna()):
        assert (born[parents].to_numpy() < born[parents.index].to_numpy()).all()
    assert set(table["id"]) <= set(trajectory.index)
    assert (trajectory.loc[table["id"], "sequence"].to_numpy() == table["sequence"]).all()


def test_inputs_are_lineages(run, fasta: Path) -> None:
    outcome = run(*LINE, *SHORT, fasta, "--per-input", 2, "--max-edits", 3, "-o", "a.csv")
    assert outcome.exit_code == 0, outcome.stderr
    assert_whole("a.csv")
    table = pd.read_csv("a.csv")
    assert table["input"].value_counts().to_dict() == {f"s{n}": 2 for n in range(1, 5)}
    assert table["reward"].is_monotonic_decreasing
    roots = dict(zip(("s1", "s2", "s3", "s4"), fasta.read_text().split("\n")[1::2], strict=True))
    for row in table.itertuples():
        edits = sum(a != b for a, b in zip(row.sequence, roots[row.input], strict=True))
        assert row.edits == edits <= 3
        assert row.id.startswith(row.input)
    trajectory = pd.read_csv("a.csv.trajectory.csv").set_index("id")
    assert trajectory.loc["s1", "sequence"] == roots["s1"]
    assert trajectory.loc["s1", "edits"] == 0
    families = trajectory["input"]
    for name in ("parent", "partner"):
        known = trajectory[name].dropna()
        assert (families[known].to_numpy() == families[known.index].to_numpy()).all()
    # An input alone becomes what it becomes beside others.
    alone = fasta.with_name("alone.fa")
    alone.write_text(f">s1\n{roots['s1']}\n")
    assert (
        run(*LINE, *SHORT, alone, "--per-input", 2, "--max-edits", 3, "-o", "b.csv").exit_code == 0
    )
    assert pd.read_csv("b.csv")["sequence"].tolist() == (
        table.loc[table["input"] == "s1", "sequence"].tolist()
    )


def test_letters_come_and_go(run) -> None:
    Path("v.fa").write_text(">a\nACGTACGTACGTACG\n>b\nGGATTAGGATTA\n")
    line = ["refine", "v.fa", "--model", "vari", "--reward", "gc", "--seed", 1, *SHORT]
    line += ["--set", "indels=0.6", "--max-edits", 4, "--per-input", 8]
    outcome = run(*line, "-o", "a.csv")
    assert outcome.exit_code == 0, outcome.stderr
    table = pd.read_csv("a.csv")
    assert table["sequence"].str.len().nunique() > 2
    assert table["edits"].between(0, 4).all()
    refused = run(*LINE, "--set", "indels=0.6")
    assert refused.exit_code == 2
    assert "indels: tiny writes sequences of 20 letters alone" in refused.stderr
    refused = run(*line, "--design", "3-8")
    assert refused.exit_code == 2
    assert "indels would move the positions" in refused.stderr


def test_mixing_is_asked_for(run, fasta: Path) -> None:
    line = [*LINE, *SHORT, fasta, "--set", "crossover=1", "-n", 5]
    assert run(*line, "--mix", "-o", "a.csv").exit_code == 0
    trajectory = pd.read_csv("a.csv.trajectory.csv").set_index("id")
    partners = trajectory["partner"].dropna()
    families = trajectory["input"]
    mixed = families[partners].to_numpy() != families[partners.index].to_numpy()
    assert mixed.any()
    assert len(pd.read_csv("a.csv")) == 5


def differing(sequences: list[str]) -> list[float]:
    """Shares of positions at which pairs differ."""
    return [
        sum(a != b for a, b in zip(one, other, strict=True)) / len(one)
        for one, other in itertools.combinations(sequences, 2)
    ]


def test_designs_that_differ(run, fasta: Path) -> None:
    line = [*LINE, *SHORT, fasta, "-n", 4, "--set", "offspring=4"]
    assert run(*line, "-o", "best.csv").exit_code == 0
    found = {"best": pd.read_csv("best.csv")}
    for kind in ("clusters", "maxmin", "dpp"):
        settings = ["--diversity", kind, "--set", "diversity.distance=0.4"]
        outcome = run(*line, *settings, "-o", f"{kind}.csv")
        assert outcome.exit_code == 0, outcome.stderr
        found[kind] = pd.read_csv(f"{kind}.csv")
        assert found[kind]["reward"].is_monotonic_decreasing
        assert found[kind]["reward"].iloc[0] == found["best"]["reward"].iloc[0]
    apart = {kind: differing(table["sequence"].tolist()) for kind, table in found.items()}
    assert min(apart["clusters"]) >= 0.4 > min(apart["best"])
    assert min(apart["maxmin"]) > min(apart["best"])
    assert sum(apart["dpp"]) > sum(apart["best"])
    Path("d.yaml").write_text("diversity: clusters\nnum: 1000\n")
    few = run(*LINE, *SHORT, fasta, "--config", "d.yaml", "-o", "few.csv")
    assert few.exit_code == 5
    rows = meta("few.csv")["rows"]
    assert rows["failed"] == 1000 - len(pd.read_csv("few.csv")) > 0
    wrong = run(*line, "--set", "diversity=far")
    assert wrong.exit_code == 2
    assert "'clusters', 'maxmin' or 'dpp'" in wrong.stderr


def test_several_objectives(run) -> None:
    line = ["refine", "--model", "tiny", "--seed", 4, *SHORT, "--set", "population=8", "-n", 6]
    rewards = ["--reward", "model:pred", "--reward", "gc?direction=minimize&label=gc"]
    outcome = run(*line, *rewards, "--set", "selection=pareto", "-o", "a.csv")
    assert outcome.exit_code == 0, outcome.stderr
    history, table = pd.read_csv("a.csv.history.csv"), pd.read_csv("a.csv")
    assert history["hypervolume"].is_monotonic_increasing
    assert history["hypervolume"].iloc[-1] > history["hypervolume"].iloc[0]
    trajectory = pd.read_csv("a.csv.trajectory.csv")
    scores = run(
        *["score", "a.csv.trajectory.csv", "--format", "csv", "--reward", "model:pred"],
        *["--reward", "gc?direction=minimize&label=gc"],
    )
    every = pd.read_csv(io.StringIO(scores.stdout))
    for row in table.itertuples():
        no_worse = (every["pred"] >= row.pred) & (every["gc"] <= row.gc)
        better = (every["pred"] > row.pred) | (every["gc"] < row.gc)
        assert not (no_worse & better).any()
    assert len(trajectory) > len(table) == 6
    plain = run(*line, *rewards, "-o", "b.csv")
    assert plain.exit_code == 0
    assert "hypervolume" in pd.read_csv("b.csv.history.csv")
    for wrong, message in (
        (["--set", "selection=pareto", "--alpha", 1], "selection=pareto ranks by fronts"),
        (["--aggregation", "pareto"], "--set selection=pareto"),
    ):
        refused = run(*line, *rewards, *wrong)
        assert refused.exit_code == 2
        assert message in refused.stderr


@pytest.mark.parametrize("method", ["mh", "ladder", "genetic", "rerd"])
def test_every_method_runs(run, fasta: Path, method: str) -> None:
    outcome = run(*LINE, *SHORT, "--method", method, fasta, "-n", 4, "-o", "a.csv")
    assert outcome.exit_code == 0, outcome.stderr
    assert (pd.read_csv("a.csv")["method"] == method).all()
    assert_whole("a.csv")
    if method in ("mh", "ladder"):  # their temperature is measured
        assert "temperature None" not in outcome.stderr


def test_a_guided_sampler(run, fasta: Path) -> None:
    line = [*LINE, *SHORT, fasta, "-n", 2, "--set", "sampler.name=svdd"]
    outcome = run(*line, "--set", "sampler.candidates=2", "-o", "a.csv")
    assert outcome.exit_code == 0, outcome.stderr
    calls = meta("a.csv")["calls"]
    (usage,) = calls["rewards"]
    assert usage["rows"] == calls["reward_rows_scored"]
    refused = run(*LINE, "--set", "sampler=smc")
    assert refused.exit_code == 2
    assert "its designs depend on each other" in refused.stderr
    refused = run(*LINE, "--set", "sampler.name=svdd", "--set", "sampler.candidats=3")
    assert "did you mean 'method.sampler.candidates'" in refused.stderr


def test_standard_output_and_input(run, fasta: Path) -> None:
    outcome = run(*LINE, *SHORT, "-", "-n", 2, stdin=fasta.read_text())
    assert outcome.exit_code == 0
    assert outcome.stdout.count(">") == 2
    assert " edits=" in outcome.stdout
    assert {path.name for path in Path().iterdir()} == {"good.fa"}
    again = run(
        "refine",
        "-",
        "--model",
        "tiny",
        "--reward",
        "gc",
        *SHORT,
        "-n",
        1,
        "--seed",
        1,
        stdin=outcome.stdout,
    )
    assert again.exit_code == 0, again.stderr
    assert again.stdout.startswith(">s")


CONSTRAINTS = {
    "fix": (["--fix", "1-5,20"], lambda s, root: s[:5] == root[:5] and s[19] == root[19]),
    "design": (["--design", "3-9"], lambda s, root: s[:2] == root[:2] and s[9:] == root[9:]),
    "forbid": (["--forbid", "CCG"], lambda s, root: "CCG" not in s and "CGG" not in s),
    "both": (
        ["--fix", "1-5", "--forbid", "CCG"],
        lambda s, root: s[:5] == root[:5] and "CCG" not in s and "CGG" not in s,
    ),
    "gc": (["--gc", "0.4-0.6"], lambda s, root: 8 <= s.count("G") + s.count("C") <= 12),
}


@pytest.mark.parametrize("case", CONSTRAINTS)
def test_constraints(run, case: str) -> None:
    Path("in.fa").write_text(">a\nACGTACGTACGTACGTACGT\n>b\nGGATTAGGATTAGGATTACA\n")
    flags, holds = CONSTRAINTS[case]
    source = "in.fa" if case != "gc" else "in2.fa"
    Path("in2.fa").write_text(">a\nACGTACGTACGTACGTACGT\n>b\nGGATTCGGATTCGGATTACA\n")
    outcome = run(*LINE, *SHORT, source, *flags, "--per-input", 5, "-o", "a.csv")
    assert outcome.exit_code == 0, outcome.stderr
    assert "constraints: " in outcome.stderr
    lines = Path(source).read_text().split()
    roots = {"a": lines[1], "b": lines[3]}
    trajectory = pd.read_csv("a.csv.trajectory.csv")
    assert len(trajectory) > 10
    for row in trajectory.itertuples():
        assert holds(row.sequence, roots[row.input]), row.sequence


def test_inputs_that_break_constraints_are_named(run, fasta: Path) -> None:
    line = [*LINE, *SHORT, fasta, "--forbid", "GATTACA", "-n", 1]
    outcome = run(*line)
    assert outcome.exit_code == 3
    assert f"{fasta}: record s4: breaks a constraint: GATTACA at positions 1-7" in outcome.stderr
    skipped = run(*line, "--on-invalid", "skip", "-o", "a.csv")
    assert skipped.exit_code == 5
    assert "1 records of the input were skipped" in skipped.stderr
    assert meta("a.csv")["rows"]["inputs_skipped"] == 1
    Path("short.fa").write_text(">x\nACGT\n")
    outcome = run(*LINE, "short.fa")
    assert outcome.exit_code == 3
    assert "record x: 4 letters; the prior writes sequences of 20" in outcome.stderr
    Path("rna.fa").write_text(">x\nACGU\n")
    assert run(*LINE, "rna.fa").exit_code == 3


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["refine", "--reward", "gc"], "no model to draw from: designkit refine --model MODEL"),
        (["refine", "--model", "tiny"], "nothing to raise: add --reward REF"),
        ([*LINE, "--max-edits", 3], "--max-edits is about the sequences to start from"),
        ([*LINE, "--mix"], "--mix is about the sequences to start from"),
        ([*LINE, "-n", 2, "--per-input", 2], "choose one"),
        ([*LINE, "--until", "round=3"], "unknown 'round'; choose from rounds"),
        ([*LINE, "--until", "rounds=x"], "--until"),
        ([*LINE, "--method", "rred"], "unknown refiner 'rred'; did you mean 'rerd'"),
        ([*LINE, "--set", "fractoin=0.1"], "did you mean 'method.fraction'"),
        ([*LINE, "--method", "mh", "--alpha", 0], "--alpha: must be"),
        ([*LINE, "--length", 19], "tiny writes sequences of 20 letters"),
        ([*LINE, "--fix", "1-3"], "add --template"),
        (
            ["refine", "--model", "tiny", "--reward", "diversity"],
            "compares designs with each other",
        ),
    ],
)
def test_mistakes_are_named(run, arguments: list, message: str) -> None:
    outcome = run(*arguments)
    assert outcome.exit_code == 2, outcome.stderr
    assert message in outcome.stderr
    assert outcome.stdout == ""


def test_dry_run_makes_nothing(run, fasta: Path) -> None:
    outcome = run(*LINE, *SHORT, fasta, "--max-edits", 2, "--dry-run", "-o", "a.csv")
    assert outcome.exit_code == 0, outcome.stderr
    assert "inputs: 4" in outcome.stdout
    assert "until: rounds=3" in outcome.stdout
    # 4 inputs, 16 children, 3 rounds and a first.
    assert "reward_rows_at_most: 256" in outcome.stdout
    assert "at most 2 changes" in outcome.stdout
    assert [path.name for path in Path().iterdir()] == ["good.fa"]
    assert run(*LINE, *SHORT, fasta, "--max-edits", 2, "-q", "-o", "a.csv").exit_code == 0
    assert meta("a.csv")["calls"]["reward_rows_scored"] <= 256


def test_budgets(run) -> None:
    assert run(*LINE, "--until", "evals=37", "-q", "-o", "a.csv").exit_code == 0
    record = assert_whole("a.csv")
    assert record["calls"]["reward_rows_scored"] == 37
    assert record["finished_by"] == "evals=37"
    stopped = run(*LINE, "--max-evals", 37, "-o", "b.csv")
    assert stopped.exit_code == 75
    assert "the budget of 37 reward evaluations is spent" in stopped.stderr
    assert "the best so far are in b.csv.partial.csv; --resume continues" in stopped.stderr
    assert len(pd.read_csv("b.csv.partial.csv")) == 10
    outcome = run(*LINE, "--until", "time=2s", "-q", "-o", "c.csv")
    assert outcome.exit_code == 0
    assert assert_whole("c.csv")["finished_by"] == "time=2s"
    reached = run(*LINE, "--until", "rounds=50,reward=-100", "-q", "-o", "d.csv")
    assert reached.exit_code == 0
    assert assert_whole("d.csv")["rounds"]["done"] == 0


FOLD = [*"refine --preset rna-inverse-folding --seed 1 -n 3 --set population=8".split()]


def test_the_preset_of_inverse_folding_ends_with_a_solution(run) -> None:
    pytest.importorskip("RNA")
    target = "((((....)))).(((((...)))))"
    outcome = run(*FOLD, "--set", f"target={target}", "--until", "time=1m", "-o", "a.csv")
    assert outcome.exit_code == 0, outcome.stderr
    assert "until time=60s,reward=0.0" in outcome.stderr
    assert "reward 0, which was wanted: reached; " in outcome.stderr
    table = pd.read_csv("a.csv")
    assert table["reward"][0] > 0 == table["target_structure_distance"][0]
    assert assert_whole("a.csv")["finished_by"] == "reward=0"


def test_the_preset_of_inverse_folding_says_what_it_did_not_find(run) -> None:
    pytest.importorskip("RNA")
    outcome = run(*FOLD, "--set", "target=((...))", "--until", "rounds=1", "-o", "a.csv")
    assert outcome.exit_code == 0, outcome.stderr
    assert "reward 0, which was wanted: NOT reached; 0 designs have it" in outcome.stderr
    assert pd.read_csv("a.csv")["reward"][0] < 0
    assert assert_whole("a.csv")["finished_by"] == "rounds=1"
    outcome = run(*FOLD, "--set", "target=((...)", "-o", "b.csv")
    assert outcome.exit_code == 2
    assert "is not closed" in outcome.stderr


# ------------------------------------------------------------ missing scores


def test_missing_scores(run, plugin) -> None:
    ref = plugin("return [None if s.count('C') % 7 == 3 else s.count('G') for s in sequences]")
    line = ["refine", "--model", "tiny", "--reward", ref, *SHORT, "--seed", 1, "-n", 100]
    worst = run(*line, "--on-invalid", "worst", "-o", "w.csv")
    assert worst.exit_code == 5
    table = pd.read_csv("w.csv")
    assert table["reward"].isna().any()
    assert table["reward"].isna().is_monotonic_increasing  # they rank last
    skip = run(*line, "--on-invalid", "skip", "-o", "s.csv")
    assert skip.exit_code == 5
    assert not pd.read_csv("s.csv")["reward"].isna().any()
    assert meta("s.csv")["rows"]["dropped"] == table["reward"].isna().sum()
    nothing = plugin("return [None] * len(sequences)", name="nothing")
    line[line.index(ref)] = nothing
    failed = run(*line, "--set", "offspring=150", "-o", "f.csv")
    assert failed.exit_code == 4
    assert "sequences have no score (nothing: the reward gave no score)" in failed.stderr


def test_bounds_and_monitors(run) -> None:
    line = ["refine", "--model", "tiny", "--reward", "gc?role=constraint&at_most=0.4"]
    line += ["--reward", "model:pred", "--reward", "homopolymer?role=monitor", "--seed", 2]
    assert run(*line, "--until", "rounds=4", "-n", 5, "-o", "a.csv").exit_code == 0
    table = pd.read_csv("a.csv")
    assert (table["feasible"] == 1).all()
    assert (table["gc"] <= 0.4).all()
    assert table["homopolymer"].notna().all()
    usage = {one["column"]: one["rows"] for one in meta("a.csv")["calls"]["rewards"]}
    assert usage["homopolymer"] == 5 < usage["pred"]


# ------------------------------------------------------------ stopping and resuming

LONG = [*LINE, "--until", "rounds=12", "--set", "population=4", "--set", "likelihood_draws=4"]
TABLES = ("", ".history.csv", ".trajectory.csv")


def assert_same(first: str, second: str) -> None:
    for suffix in TABLES:
        assert Path(first + suffix).read_bytes() == Path(second + suffix).read_bytes(), suffix


@pytest.fixture
def stop_after(monkeypatch: pytest.MonkeyPatch):
    """Ask runs to stop when they have asked so often whether they should."""

    def install(times: int) -> None:
        asked: list[int] = []

        def count(self: StopRequest) -> bool:
            asked.append(1)
            return len(asked) > times

        monkeypatch.setattr(StopRequest, "__call__", count)

    return install


@pytest.mark.parametrize("method", ["rerd", "mh", "genetic", "gradient"])
def test_a_resumed_run_is_the_uninterrupted_one(run, stop_after, fasta: Path, method: str) -> None:
    line = [*LONG, fasta, "--method", method, "--max-edits", 6]
    if method == "rerd":  # lineages start anew every few rounds
        line += ["--set", "patience=0.01"]
    assert run(*line, "-q", "-o", "whole.csv").exit_code == 0
    stop_after({"rerd": 200, "genetic": 6}.get(method, 30))
    stopped = run(*line, "-o", "cut.csv")
    assert stopped.exit_code == 75
    assert "rounds done, the best so far are in cut.csv.partial.csv; --resume" in stopped.stderr
    assert not Path("cut.csv").exists()
    assert meta("cut.csv.part")["status"] == "interrupted"
    assert pd.read_csv("cut.csv.partial.csv")["reward"].is_monotonic_decreasing
    done = len(Path("cut.csv.journal").read_text().splitlines()) - 2
    assert 0 < done < 12
    stop_after(10**9)
    refused = run(*line, "-o", "cut.csv")
    assert refused.exit_code == 2
    assert "left by an interrupted run; --resume continues it" in refused.stderr
    changed = run(*line, "--set", "population=5", "-o", "cut.csv", "--resume")
    assert changed.exit_code == 2
    assert (
        "the interrupted run differs in settings (method), refiner (population)" in changed.stderr
    )
    resumed = run(*line, "-o", "cut.csv", "--resume")
    assert resumed.exit_code == 0, resumed.stderr
    assert_same("cut.csv", "whole.csv")
    record = assert_whole("cut.csv")
    assert record["rounds"] == {"done": 12, "resumed": done}
    (usage,), (whole,) = (meta(name)["calls"]["rewards"] for name in ("cut.csv", "whole.csv"))
    assert usage["rows"] < whole["rows"]
    again = run(*line, "-o", "cut.csv", "--resume")
    assert (again.exit_code, "complete already" in again.stderr) == (0, True)
    assert_same("cut.csv", "whole.csv")


def test_a_run_may_go_on_longer_than_it_was_to(run, stop_after) -> None:
    assert run(*LONG, "-q", "-o", "whole.csv").exit_code == 0
    stop_after(40)
    line = [*LINE, "--until", "rounds=500", *LONG[len(LINE) + 2 :], "-o", "cut.csv"]
    assert run(*line).exit_code == 75
    stop_after(10**9)
    assert run(*LONG, "-q", "-o", "cut.csv", "--resume").exit_code == 0
    assert_same("cut.csv", "whole.csv")


def test_an_input_that_changed_is_refused(run, stop_after, fasta: Path) -> None:
    stop_after(40)
    assert run(*LONG, fasta, "-o", "a.csv").exit_code == 75
    stop_after(10**9)
    fasta.write_text(">new\n" + "A" * 20 + "\n")
    outcome = run(*LONG, fasta, "-o", "a.csv", "--resume")
    assert outcome.exit_code == 2
    assert "changed since the interrupted run was started" in outcome.stderr
    fasta.unlink()  # what was read is in the journal
    assert run(*LONG, fasta, "-q", "-o", "a.csv", "--resume").exit_code == 0


def test_nothing_to_resume_starts_and_streams_cannot(run) -> None:
    assert run(*LINE, *SHORT, "-q", "-o", "a.csv", "--resume").exit_code == 0
    assert run(*LINE, *SHORT, "-q", "-o", "b.csv").exit_code == 0
    assert_same("a.csv", "b.csv")
    assert run(*LINE, *SHORT, "-o", "b.csv").exit_code == 2
    assert run(*LINE, *SHORT, "-q", "-o", "b.csv", "--force").exit_code == 0
    outcome = run(*LINE, *SHORT, "--resume")
    assert (outcome.exit_code, "is a stream" in outcome.stderr) == (2, True)


def test_max_time(run) -> None:
    outcome = run(*LONG, "-o", "a.csv", "--max-time", "0.001")
    assert outcome.exit_code == 75
    assert "--max-time is over: 0 rounds done" in outcome.stderr
    assert not Path("a.csv").exists()
    assert run(*LONG, "-q", "-o", "a.csv", "--resume").exit_code == 0


KILLED = [*LINE[:-2], "--seed", 8, "--set", "population=4", "--set", "likelihood_draws=0"]


def test_a_reward_without_a_derivative_is_refused_in_a_line(run) -> None:
    line = ["refine", "--model", "tiny", "--reward", "homopolymer", "--method", "gradient"]
    outcome = run(*line)
    assert outcome.exit_code == 4
    assert outcome.stderr == "designkit: error: reward 'homopolymer' is not differentiable\n"


def killed(start: Starter, line: list, numbers: Sequence[int], latest: float) -> None:
    """Start a run to ``cut.csv`` and kill it, and resume and kill it again.

    Every process does a round at least, and is then killed within so many seconds.
    """
    moments = random.Random(0)
    journal = Path("cut.csv.journal")
    for number in numbers:
        lines = len(journal.read_bytes().splitlines()) if journal.exists() else 0
        process = start(*line, "-o", "cut.csv", *(["--resume"] if lines else []))
        wait_until(
            lambda seen=lines: (
                journal.exists() and journal.read_bytes().count(b"\n") >= max(2, seen + 1)
            ),
            process,
        )
        time.sleep(moments.uniform(0, latest))
        code, _ = end(process, number)
        assert code == (75 if number is signal.SIGTERM else -number)
        assert not Path("cut.csv").exists()


def assert_resumed_is_whole(run, line: list) -> None:
    """The killed run ends as one that was not, and asks for less than it after the last kill."""
    assert run(*line, "-o", "cut.csv", "--resume").exit_code == 0
    assert_same("cut.csv", "whole.csv")
    (usage,), (whole,) = (meta(name)["calls"]["rewards"] for name in ("cut.csv", "whole.csv"))
    assert usage["rows"] < whole["rows"]
    assert_whole("cut.csv")


def test_killed_at_any_moment(start: Starter, run, fasta: Path) -> None:
    """Processes are killed after the first round, at random moments, and resumed in between."""
    line = [*KILLED, "--until", "rounds=40", fasta, "-q"]
    assert run(*line, "-o", "whole.csv").exit_code == 0
    killed(start, line, (signal.SIGKILL, signal.SIGKILL, signal.SIGTERM), 0.1)
    assert_resumed_is_whole(run, line)


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("method", plugins.names("designkit.refiners"))
def test_killed_ten_times(start: Starter, run, fasta: Path, method: str) -> None:
    rounds = 60 if method in ("gradient", "rehearse") else 600
    line = [*KILLED, "--until", f"rounds={rounds}", fasta, "--method", method, "-q"]
    assert run(*line, "-o", "whole.csv").exit_code == 0
    killed(start, line, (signal.SIGKILL,) * 10, 0.1)
    assert_resumed_is_whole(run, line)
