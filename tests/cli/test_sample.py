"""``designkit sample``: the same designs however they are drawn, stopped and resumed."""

from __future__ import annotations

import gzip
import json
import re
import signal
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from designkit.io.designs import DesignWriter
from designkit.recipes.runtime import StopRequest

from .conftest import Starter, end, wait_until

SVDD = ["--method", "svdd", "--reward", "model:pred", "--set", "candidates=3"]
BEST = ["--method", "best_of_n", "--reward", "model:pred", "--set", "candidates=3"]
SMC = ["--method", "smc", "--reward", "model:pred", "--set", "particles=4", "--alpha", "1"]
RECORDED = ["--method", "ancestral", "--reward", "model:pred"]


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, models: Path) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def meta(target: str) -> dict:
    return json.loads(Path(f"{target}.meta.json").read_text())


def content(target: str) -> bytes:
    """What a file holds; how a compressed one is cut into members is its own affair."""
    data = Path(target).read_bytes()
    return gzip.decompress(data) if target.endswith(".gz") else data


def assert_counts_add_up(target: str) -> None:
    record = meta(target)
    rows = record["rows"]
    assert record["status"] == "complete"
    assert rows["requested"] == rows["written"] + rows["failed"] + rows["dropped"] + rows["resumed"]


@pytest.mark.parametrize("method", [SVDD, BEST, RECORDED, ["--set", "decoding=grid"]], ids=str)
@pytest.mark.parametrize("model", ["tiny", "vari"])
def test_batches_do_not_change_designs(run, model: str, method: list[str]) -> None:
    if model == "vari" and "model:pred" in method:  # pred knows one length only
        method = [part.replace("model:pred", "gc") for part in method]
    files = []
    for size in (1, 7, 64):
        target = f"b{size}.csv"
        line = ["sample", model, "-n", 10, "--seed", 3, "--batch-size", size, *method]
        outcome = run(*line, "-q", "-o", target)
        assert (outcome.exit_code, outcome.stdout, outcome.stderr) == (0, "", "")
        assert_counts_add_up(target)
        files.append(Path(target).read_bytes())
    assert files[0] == files[1] == files[2]
    table = pd.read_csv("b7.csv")
    assert table["id"].tolist() == [f"design_{n}" for n in range(1, 11)]
    assert len(set(table["sequence"])) > 5
    assert (table["model"] == f"{model}@1").all()


def test_seeds(run) -> None:
    drawn = [run("sample", "tiny", "-n", 3, "--seed", seed).stdout for seed in (1, 1, 2)]
    assert drawn[0] == drawn[1] != drawn[2]
    # More designs begin with the same ones.
    assert run("sample", "tiny", "-n", 5, "--seed", 1).stdout.startswith(drawn[0])


def test_a_drawn_seed_is_printed_recorded_and_repeats_the_run(run) -> None:
    outcome = run("sample", "tiny", "-n", 3, "-o", "a.fa")
    seed = meta("a.fa")["seed"]
    assert f"seed {seed}" in outcome.stderr
    assert f"seed={seed}" in Path("a.fa").read_text()
    assert run("sample", "tiny", "-n", 3, "--seed", seed).stdout == Path("a.fa").read_text()
    assert meta("a.fa")["model"]["ref"] == "tiny@1"


def test_standard_output_is_fasta(run) -> None:
    outcome = run("sample", "tiny", "-n", 2, "--seed", 1, "--reward", "gc")
    header, sequence, *_ = outcome.stdout.splitlines()
    assert header.startswith(">design_1 reward=")
    assert header.endswith(" model=tiny@1 method=ancestral seed=1")
    assert len(sequence) == 20
    assert set(sequence) <= set("ACGT")
    assert "2 designs requested = 2 written + 0 dropped; 0 without score" in outcome.stderr


def test_lengths(run) -> None:
    lengths = {
        len(line) for line in run("sample", "vari", "-n", 20, "--seed", 1).stdout.split("\n")[1::2]
    }
    assert lengths == {12, 15, 20}
    fixed = run("sample", "vari", "-n", 5, "--seed", 1, "--length", 13).stdout
    assert {len(line) for line in fixed.split("\n")[1:-1:2]} == {13}
    protein = run("sample", "prot", "-n", 2, "--seed", 1).stdout.splitlines()[1]
    assert len(protein) == 9


def test_guidance_raises_the_reward(run) -> None:
    medians = {}
    for name, method in {"none": RECORDED, "best": BEST, "svdd": SVDD}.items():
        run("sample", "tiny", "-n", 16, "--seed", 5, *method, "-q", "-o", f"{name}.csv")
        medians[name] = pd.read_csv(f"{name}.csv")["reward"].median()
    assert medians["svdd"] > medians["best"] > medians["none"]


def test_recorded_rewards_are_those_of_score(run) -> None:
    run("sample", "tiny", "-n", 6, "--seed", 5, *SVDD, "-q", "-o", "a.csv")
    again = run("score", "a.csv", "--reward", "model:pred", "--format", "csv", "-o", "b.csv")
    assert again.exit_code == 0
    before, after = pd.read_csv("a.csv"), pd.read_csv("b.csv")
    assert before["reward"].tolist() == after["reward"].tolist() == after["reward.a"].tolist()
    assert before["pred_std"].tolist() == after["pred_std"].tolist()


def test_settings_come_from_files_and_the_command_line(run) -> None:
    Path("run.yaml").write_text("num: 2\nseed: 1\n")
    assert "run.yaml:2" in run("sample", "tiny", "--config", "run.yaml").stderr
    Path("run.yaml").write_text("model: tiny\nnum: 2\nmethod: svdd\nrewards: [{ref: gc}]\n")
    outcome = run("sample", "--config", "run.yaml", "--seed", 1, "--set", "candidates=2")
    assert outcome.exit_code == 0
    assert "method=svdd" in outcome.stdout
    assert "candidates 2" in outcome.stderr
    outcome = run("sample", "--config", "run.yaml", "--seed", 1, "--method", "ancestral", "-n", 1)
    assert outcome.stdout.count(">") == 1
    assert "method=ancestral" in outcome.stdout


def test_dry_run_makes_nothing(run) -> None:
    outcome = run("sample", "tiny", "-n", 4, *SVDD, "--dry-run", "-o", "a.csv")
    assert outcome.exit_code == 0
    assert "denoiser_rows_at_most: 80" in outcome.stdout  # 4 designs: one a step
    assert "reward_rows_at_most: 244" in outcome.stdout  # 4 designs: 3 candidates x 20 steps, + 1
    assert list(Path().iterdir()) == []
    run("sample", "tiny", "-n", 4, *SVDD, "-q", "-o", "a.csv")
    calls = meta("a.csv")["calls"]
    assert calls["denoiser_rows"] <= 80
    assert calls["reward_rows_scored"] <= calls["reward_rows_requested"] <= 244


# ------------------------------------------------------------ missing scores


@pytest.fixture
def picky(plugin):
    """A reward without a score for sequences that begin with one of the given letters."""

    def make(letters: str) -> str:
        return plugin(
            f"return [float('nan') if s[0] in '{letters}' else s.count('G') for s in sequences]"
        )

    return make


def test_a_few_missing_scores_are_kept_and_counted(run, plugin) -> None:
    unlucky = run("sample", "tiny", "-n", 12, "--seed", 1).stdout.splitlines()[1]
    ref = plugin(f"return [None if s == '{unlucky}' else 1.0 for s in sequences]")
    for size in (1, 64):
        line = ["sample", "tiny", "-n", 12, "--seed", 1, "--reward", ref, "--batch-size", size]
        outcome = run(*line, "-o", f"{size}.csv")
        assert outcome.exit_code == 5, outcome.stderr
        assert "12 designs requested = 12 written + 0 dropped; 1 without score" in outcome.stderr
        table = pd.read_csv(f"{size}.csv")
        assert table["reward"].isna().tolist() == [True] + [False] * 11
    assert Path("1.csv").read_bytes() == Path("64.csv").read_bytes()


@pytest.mark.parametrize("size", [1, 64])
def test_many_missing_scores_stop_the_run(run, picky, size: int) -> None:
    line = ["sample", "tiny", "-n", 20, "--seed", 1, "--reward", picky("ACG"), "-q"]
    outcome = run(*line, "--batch-size", size, "-o", "a.csv")
    assert outcome.exit_code == 4
    first = outcome.stderr.splitlines()[0]
    assert "designs have no score (mine: the reward gave no score)" in first
    assert "--on-invalid worst keeps them, skip leaves them out" in first
    assert not Path("a.csv").exists()
    assert meta("a.csv.part")["status"] == "failed"


@pytest.mark.parametrize("size", [1, 7, 64])
def test_on_invalid(run, picky, size: int) -> None:
    line = ["sample", "tiny", "-n", 20, "--seed", 1, "--reward", picky("ACG"), "--batch-size", size]
    kept = run(*line, "--on-invalid", "worst", "-o", "worst.csv")
    assert kept.exit_code == 5
    all_designs = pd.read_csv("worst.csv")
    assert len(all_designs) == 20
    bad = all_designs["sequence"].str[0] != "T"
    assert 4 < bad.sum() < 20
    assert (all_designs["reward"].isna() == bad).all()
    skipped = run(*line, "--on-invalid", "skip", "-o", "skip.csv")
    assert skipped.exit_code == 5
    assert pd.read_csv("skip.csv")["sequence"].tolist() == all_designs["sequence"][~bad].tolist()
    assert meta("skip.csv")["rows"] == {
        "requested": 20,
        "resumed": 0,
        "written": 20 - bad.sum(),
        "without_score": bad.sum(),
        "dropped": bad.sum(),
        "failed": 0,
        "outside_bounds": 0,
    }
    # Guided: a candidate without a score ranks last.
    guided = run(*line, "--method", "best_of_n", "--set", "candidates=8", "-o", "g.csv")
    assert guided.exit_code in (0, 5), guided.stderr
    assert (pd.read_csv("g.csv")["sequence"].str[0] == "T").mean() > 0.6


# ------------------------------------------------------------ stopping and resuming


@pytest.fixture
def stop_after(monkeypatch: pytest.MonkeyPatch):
    """Ask runs to stop as soon as they have written so many batches."""
    write = DesignWriter.write

    def install(batches: int) -> None:
        written: list[int] = []

        def counting(self: DesignWriter, frame: pd.DataFrame) -> None:
            write(self, frame)
            written.append(len(frame))

        monkeypatch.setattr(DesignWriter, "write", counting)
        monkeypatch.setattr(StopRequest, "__call__", lambda self: len(written) >= batches)

    return install


LINE = ["sample", "tiny", "-n", 20, "--seed", 4, "--batch-size", 3]


@pytest.mark.parametrize("target", ["a.csv", "a.fa", "a.jsonl.gz"])
@pytest.mark.parametrize("policy", ["worst", "skip"])
def test_a_resumed_file_is_the_uninterrupted_one(
    run, stop_after, plugin, target: str, policy: str
) -> None:
    ref = plugin("return [float('nan') if s.count('G') % 2 else len(s) for s in sequences]")
    line = [*LINE, "--reward", ref, "--on-invalid", policy]
    assert run(*line, "-o", f"whole-{target}").exit_code == 5
    stop_after(3)
    stopped = run(*line, "-o", target)
    assert stopped.exit_code == 75
    said = [text for text in stopped.stderr.splitlines() if text.startswith("designkit: ")]
    assert said[0].endswith("9 of 20 designs done")
    assert "kept in" in said[1]
    assert "--resume continues" in said[1]
    assert not Path(target).exists()
    assert Path(f"{target}.part").exists()
    assert meta(f"{target}.part")["status"] == "interrupted"
    assert not Path(f"{target}.meta.json").exists()
    stop_after(1000)
    refused = run(*line, "-o", target)
    assert refused.exit_code == 2
    assert "left by an interrupted run; --resume continues it" in refused.stderr
    assert run(*line, "-o", target, "--resume").exit_code == 5
    assert content(target) == content(f"whole-{target}")
    assert not Path(f"{target}.part").exists()
    assert not Path(f"{target}.part.meta.json").exists()
    assert_counts_add_up(target)
    resumed, whole = meta(target), meta(f"whole-{target}")
    assert resumed["rows"]["resumed"] > 0
    assert resumed["rows"]["without_score"] == whole["rows"]["without_score"]
    assert resumed["calls"]["denoiser_rows"] < 0.7 * whole["calls"]["denoiser_rows"]
    again = run(*line, "-o", target, "--resume")
    assert again.exit_code == 0
    assert "complete already, nothing to resume" in again.stderr
    assert content(target) == content(f"whole-{target}")


def test_resuming_needs_no_seed_and_may_use_other_batches(run, stop_after) -> None:
    line = ["sample", "tiny", "-n", 20, *SVDD, "-o", "a.csv"]
    stop_after(2)
    assert run(*line, "--batch-size", 3).exit_code == 75
    stop_after(1000)
    assert run(*line, "--batch-size", 8, "--resume").exit_code == 0
    seed = meta("a.csv")["seed"]
    assert run(*line[:-1], "b.csv", "--seed", seed).exit_code == 0
    assert Path("a.csv").read_bytes() == Path("b.csv").read_bytes()


@pytest.mark.parametrize(
    ("change", "what"),
    [
        (["--seed", 5], "seed"),
        (["-n", 30], "settings"),
        (["--set", "steps=10"], "sampler"),
        (["--reward", "gc?low=0.5"], "rewards"),
    ],
)
def test_an_interrupted_run_is_not_continued_with_another(
    run, stop_after, change: list, what: str
) -> None:
    stop_after(2)
    line = [*LINE, "--reward", "gc", "-q", "-o", "a.csv"]
    assert run(*line).exit_code == 75
    stop_after(1000)
    part = Path("a.csv.part").read_bytes()
    if what == "rewards":
        line[line.index("gc")] = change[1]
        change = []
    outcome = run(*line, *change, "--resume")
    assert outcome.exit_code == 2
    assert what in outcome.stderr.splitlines()[0]
    assert "start again with --force" in outcome.stderr
    assert Path("a.csv.part").read_bytes() == part
    assert run(*line, "--resume").exit_code == (2 if what == "rewards" else 0)


@pytest.mark.parametrize(
    ("change", "what"),
    [
        (["--seed", 5], "seed"),
        (["-n", 30], "settings (num)"),
        (["--set", "steps=10"], "settings (method), sampler (steps)"),
        (["--reward", "gc"], "settings (rewards)"),
    ],
)
def test_a_finished_output_is_not_taken_for_that_of_another_run(run, change, what: str) -> None:
    assert run(*LINE, "-q", "-o", "a.csv").exit_code == 0
    before, record = Path("a.csv").read_bytes(), meta("a.csv")
    outcome = run(*LINE, *change, "-o", "a.csv", "--resume")
    assert outcome.exit_code == 2
    assert f"the finished run differs in {what};" in outcome.stderr
    assert (Path("a.csv").read_bytes(), meta("a.csv")) == (before, record)
    same = ["sample", "tiny", "-n", 20, "-o", "a.csv", "--resume"]  # other batches, no seed
    assert run(*same).exit_code == 0
    assert (Path("a.csv").read_bytes(), meta("a.csv")) == (before, record)


def test_a_finished_output_keeps_its_record_until_it_is_replaced(run, stop_after, plugin) -> None:
    assert run(*LINE, "-q", "-o", "a.csv").exit_code == 0
    record = meta("a.csv")
    bad = plugin("return [1.0]")
    for command in (LINE, ["score", "a.csv"]):
        outcome = run(*command, "--reward", bad, "-q", "-o", "a.csv", "--force")
        assert outcome.exit_code == 4, outcome.stderr
        assert meta("a.csv") == record
        assert meta("a.csv.part")["status"] == "failed"
    stop_after(2)
    line = ["sample", "tiny", "-n", 12, "--batch-size", 3, "-o", "a.csv"]
    assert run(*line, "--force").exit_code == 75
    assert meta("a.csv") == record
    seed = meta("a.csv.part")["seed"]
    stop_after(1000)
    assert run(*line, "--resume").exit_code == 0
    assert (meta("a.csv")["seed"], meta("a.csv")["status"]) == (seed, "complete")
    assert len(pd.read_csv("a.csv")) == 12
    assert not Path("a.csv.part.meta.json").exists()


@pytest.mark.parametrize("target", ["a.csv", "a.fa.gz"])
def test_appended_designs_are_numbered_on(run, stop_after, target: str) -> None:
    whole = f"whole-{target}"
    assert run("sample", "tiny", "-n", 9, "--seed", 4, "-o", whole).exit_code == 0
    line = ["sample", "tiny", "--seed", 4, "--batch-size", 2, "-o", target]
    assert run(*line, "-n", 3).exit_code == 0
    stop_after(2)
    assert run(*line, "-n", 6, "--append").exit_code == 75
    stop_after(1000)
    assert run(*line, "-n", 6, "--append", "--resume").exit_code == 0
    assert content(target) == content(whole)  # no design is there twice
    assert meta(target)["rows"]["resumed"] == 4
    assert_counts_add_up(target)


def test_populations_are_appended_whole(run) -> None:
    line = ["sample", "tiny", "--seed", 4, *SMC, "-q"]
    assert run(*line, "-n", 9, "-o", "whole.csv").exit_code == 0
    assert run(*line, "-n", 3, "-o", "a.csv").exit_code == 0
    assert run(*line, "-n", 4, "-o", "a.csv", "--append").exit_code == 0
    drawn, whole = pd.read_csv("a.csv"), pd.read_csv("whole.csv")
    assert drawn["id"].tolist() == [f"design_{number}" for number in range(1, 8)]
    wanted = [*whole["sequence"][:3], *whole["sequence"][4:8]]
    assert drawn["sequence"].tolist() == wanted


def test_nothing_to_resume_starts(run) -> None:
    assert run(*LINE, "-q", "-o", "a.fa", "--resume").exit_code == 0
    assert run(*LINE, "-q").stdout == Path("a.fa").read_text()


def test_max_time_ends_a_run_in_between(run) -> None:
    outcome = run(*LINE, "-o", "a.fa", "--max-time", "0.001")
    assert outcome.exit_code == 75
    assert re.search(r"designkit: stopped: --max-time is over: \d of 20 designs", outcome.stderr)
    assert not Path("a.fa").exists()
    assert "--resume" not in run(*LINE, "--max-time", "0.001").stderr  # a stream is gone


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_signals(start: Starter, run, number: signal.Signals) -> None:
    line = ["sample", "tiny", "-n", 300, "--seed", 4, "--batch-size", 8]
    process = start(*line, "-o", "a.csv")
    part = Path("a.csv.part")
    wait_until(lambda: part.exists() and part.stat().st_size > 500, process)
    code, said = end(process, number)
    assert part.exists()
    assert not Path("a.csv").exists()
    if number is signal.SIGTERM:
        assert code == 75
        assert "designkit: stopped: SIGTERM: " in said
        assert meta("a.csv.part")["status"] == "interrupted"
    else:
        assert code == -signal.SIGKILL
        assert meta("a.csv.part")["status"] == "running"
    rows = part.read_bytes().count(b"\n") - 1
    assert run(*line, "-q", "-o", "a.csv", "--resume").exit_code == 0
    assert meta("a.csv")["rows"]["resumed"] == rows
    assert_counts_add_up("a.csv")
    assert run(*line, "-q", "-o", "b.csv").exit_code == 0
    assert Path("a.csv").read_bytes() == Path("b.csv").read_bytes()
    assert meta("a.csv")["calls"]["denoiser_rows"] < meta("b.csv")["calls"]["denoiser_rows"]


# ------------------------------------------------------------ populations


def test_populations_are_drawn_whole(run, stop_after) -> None:
    """Batches, their size and an interruption in the middle of a population change nothing."""
    line = ["sample", "tiny", "-n", 10, "--seed", 4, "--reward", "gc", "--method", "smc"]
    line += ["--set", "particles=4", "--alpha", 0.1]
    assert run(*line, "-o", "whole.csv").exit_code == 0
    whole = pd.read_csv("whole.csv")
    assert len(whole) == 10
    first, second, third = (whole["log_normalizer"][rows].unique() for rows in POPULATIONS)
    assert len(first) == len(second) == len(third) == 1
    assert len({*first, *second, *third}) == 3
    for size in (1, 6):
        assert run(*line, "--batch-size", size, "-o", f"{size}.csv").exit_code == 0
        assert Path(f"{size}.csv").read_bytes() == Path("whole.csv").read_bytes()
    stop_after(1)
    assert run(*line, "--batch-size", 4, "-o", "cut.csv").exit_code == 75
    part = Path("cut.csv.part")
    part.write_text("".join(part.read_text().splitlines(keepends=True)[:-1]))
    stop_after(100)
    assert run(*line, "--batch-size", 4, "-o", "cut.csv", "--resume").exit_code == 0
    assert Path("cut.csv").read_bytes() == Path("whole.csv").read_bytes()


POPULATIONS = (slice(0, 4), slice(4, 8), slice(8, 10))


def test_the_temperature_of_a_population_is_measured(run) -> None:
    line = ["sample", "tiny", "-n", 4, "--seed", 4, "--reward", "gc", "--method", "nested_is"]
    line += ["--set", "particles=4", "--set", "candidates=2"]
    outcome = run(*line, "-o", "x.csv")
    assert outcome.exit_code == 0, outcome.stderr
    run("sample", "tiny", "-n", 256, "--seed", 0, "-o", "prior.csv")
    prior = pd.read_csv("prior.csv")["sequence"]
    share = prior.map(lambda s: (s.count("G") + s.count("C")) / len(s))
    measured = meta("x.csv")["temperature"]
    assert measured == pytest.approx(share.std(ddof=1) / 5, rel=0.15)  # of other designs
    again = run(*line, "-o", "x.csv", "--resume")
    assert (again.exit_code, "complete already" in again.stderr) == (0, True)
    assert f"temperature {measured}" in outcome.stderr
    assert run(*line, "--alpha", "auto", "-o", "auto.csv").exit_code == 0
    # As of a normal law: the effective size is exp(-(deviation / alpha)^2) of the number.
    expected = share.std(ddof=1) / np.sqrt(np.log(10))
    assert meta("auto.csv")["temperature"] == pytest.approx(expected, rel=0.25)
    outcome = run(*line, "--alpha", "cold", "-o", "y.csv")
    assert (outcome.exit_code, "--alpha: must be a number or 'auto'" in outcome.stderr) == (2, True)


def test_what_does_not_fit_is_refused_by_dry_run_too(run) -> None:
    line = ["sample", "tiny", "--reward", "gc", "--dry-run", "--method"]
    for method, problem in (
        ("mcts --set order=margin", "mcts reveals positions in a random order"),
        ("mcts --set proposal=tiny", "leave out proposal"),
        ("mcts --set value.name=posterior_soft", "needs a value that completes"),
        ("svdd --set value.name=learned --set value.model=pred", "'pred' is not a value network"),
    ):
        outcome = run(*line, *method.split())
        assert outcome.exit_code in (2, 4)
        assert problem in outcome.stderr
        assert outcome.stdout == ""


def test_a_proposal_is_recorded_counted_and_checked(run) -> None:
    line = ["sample", "tiny", "-n", 4, "--reward", "model:pred", "--alpha", 1, "--seed", 1]
    smc = [*line, "--method", "smc", "--set", "particles=4"]
    outcome = run(*smc, "--set", "proposal=tiny", "-o", "a.csv")
    assert outcome.exit_code == 0
    record = meta("a.csv")
    (other,) = record["calls"]["models"]
    assert (other["ref"], other["sha256"]) == ("tiny", record["model"]["sha256"])
    assert 0 < other["rows"] <= 4 * 20
    assert record["models"] == {"tiny": record["model"]["sha256"]}
    assert "tiny: " in outcome.stderr
    # The prior itself as proposal changes nothing.
    run(*smc, "-o", "b.csv")
    assert pd.read_csv("a.csv")["sequence"].tolist() == pd.read_csv("b.csv")["sequence"].tolist()
    for further in ([], ["--dry-run"]):
        refused = run(*smc, "--set", "proposal=prot", *further)
        assert refused.exit_code == 2
        assert "proposal prot: its letters are protein, those of the prior dna" in refused.stderr
        assert run(*smc, "--set", "proposal=tinny", *further).exit_code == 4
        refused = run(*smc, "--set", "proposal=pred", *further)
        assert "proposal pred: it is not a prior" in refused.stderr


def test_gradients_need_a_reward_that_has_them(run) -> None:
    line = ["sample", "tiny", "-n", 2, "--alpha", 1, "--seed", 1]
    for method in ("gradient", "tds"):
        refused = run(*line, "--method", method, "--reward", "homopolymer")
        assert "reward 'homopolymer' is not differentiable" in refused.stderr
        assert refused.exit_code in (2, 4)
    soft = ["--method", "svdd", "--set", "value.name=posterior_soft", "--reward", "homopolymer"]
    refused = run(*line, *soft)
    assert refused.stderr == "designkit: error: reward 'homopolymer' is not differentiable\n"
    assert run(*line, "--method", "gradient", "--reward", "model:pred").exit_code == 0
    assert run(*line, "--method", "classifier", "--reward", "model:pred?above=3").exit_code == 0
