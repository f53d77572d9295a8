"""Several rewards in the real program: files of rewards, bounds, calibration, cache, budget."""

from __future__ import annotations

import contextlib
import json
import signal
import sqlite3
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

REWARD = """
from designkit.rewards import Output, reward

def note(sequences):
    with open("sent.txt", "a") as file:
        file.writelines(s + "\\n" for s in sequences)

@reward(alphabet="dna", unit="letters")
def count(sequences: list[str], letter: str = "A") -> list[float]:
    note(sequences)
    return [float(s.count(letter)) for s in sequences]
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, models: Path) -> Path:
    monkeypatch.chdir(tmp_path)
    Path("mine.py").write_text(REWARD)
    return tmp_path


def sent() -> list[str]:
    return Path("sent.txt").read_text().split() if Path("sent.txt").exists() else []


def meta(target: str) -> dict:
    return json.loads(Path(f"{target}.meta.json").read_text())


def shares(sequences: pd.Series, letters: str) -> np.ndarray:
    return sequences.map(lambda s: sum(s.count(x) for x in letters) / len(s)).to_numpy()


def test_a_file_of_rewards_equals_the_flags(run, fasta: Path) -> None:
    Path("wanted.yaml").write_text(
        "rewards:\n"
        "  - gc?low=0.4&role=constraint&at_least=0.8\n"
        "  - ref: ./mine.py:count\n"
        "    weight: 2\n"
        "    transform: {name: clip, high: 3}\n"
        "aggregation: min\n"
    )
    flags = [
        "--reward",
        "gc?low=0.4&role=constraint&at_least=0.8",
        "--reward",
        "./mine.py:count?weight=2&transform=clip(high=3)",
    ]
    by_file = run("score", "good.fa", "--reward", "wanted.yaml")
    by_flags = run("score", "good.fa", *flags, "--aggregation", "min")
    by_config = run("score", "good.fa", "--config", "wanted.yaml")
    assert by_file.exit_code == 0, by_file.stderr
    assert by_file.stdout == by_flags.stdout == by_config.stdout
    more = run("score", "good.fa", "--reward", "gc?label=first", "--reward", "wanted.yaml")
    assert more.stdout.splitlines()[0].split("\t")[3:] == [
        *("reward", "first", "gc", "count", "feasible", "violation", "reason")
    ]


def test_a_wrong_file_of_rewards_names_its_lines(run, fasta: Path) -> None:
    Path("wanted.yaml").write_text("rewards:\n  - gc\n  - ref: gc\n    weigth: 2\n")
    outcome = run("score", "good.fa", "--reward", "gc", "--reward", "wanted.yaml")
    assert outcome.exit_code == 2
    assert "wanted.yaml:4: unknown key 'rewards.2.weigth'" in outcome.stderr
    Path("empty.yaml").write_text("aggregation: min\n")
    outcome = run("score", "good.fa", "--reward", "empty.yaml")
    assert (outcome.exit_code, outcome.stdout) == (2, "")
    assert "empty.yaml: must hold a list 'rewards:'" in outcome.stderr


def test_bounds_in_a_table(run, fasta: Path) -> None:
    line = ["score", "good.fa", "--reward", "./mine.py:count"]
    outcome = run(*line, "--reward", "gc?role=filter&at_least=0.4&at_most=0.6", "-o", "x.csv")
    assert outcome.exit_code == 0  # outside the bounds is not a failure
    assert "0 without score; 3 outside the bounds" in outcome.stderr
    table = pd.read_csv("x.csv")
    assert table["feasible"].tolist() == [1, 0, 0, 0]
    assert table["gc"].tolist() == [0.5, 1, 0, 0.3]
    np.testing.assert_allclose(table["violation"], [0, 0.4, 0.4, 0.1])
    np.testing.assert_allclose(table["reward"], [5, -1e6, -1e6, -1e6])  # to six digits
    assert sent() == [table["sequence"][0]]
    assert meta("x.csv")["rows"]["outside_bounds"] == 3


def test_guided_designs_keep_to_the_bounds(run) -> None:
    line = ["sample", "tiny", "-n", 12, "--seed", 3, "--method", "svdd", "-o", "d.csv"]
    bound = ["--reward", "gc?role=filter&at_most=0.3"]
    outcome = run(*line, "--reward", "./mine.py:count?letter=C", *bound)
    assert outcome.exit_code == 0, outcome.stderr
    table = pd.read_csv("d.csv")
    assert (shares(table["sequence"], "GC") <= 0.3).all()
    assert table["feasible"].tolist() == [1] * 12
    assert "reward: best" in outcome.stderr


def test_filtered_candidates_are_not_sent_on(run) -> None:
    line = ["sample", "tiny", "-n", 6, "--seed", 3, "--method", "best_of_n"]
    run(
        *line,
        "--reward",
        "./mine.py:count",
        "--reward",
        "gc?role=filter&at_most=0.5",
        "-o",
        "d.csv",
    )
    assert len(set(sent())) == len(sent()) > 6
    assert (shares(pd.Series(sent()), "GC") <= 0.5).all()
    calls = meta("d.csv")["calls"]
    by_column = {one["column"]: one for one in calls["rewards"]}
    assert by_column["count"]["rows"] == calls["reward_rows_scored"] == len(sent())
    assert by_column["gc"]["rows"] > len(sent())


def test_statistics_come_from_the_prior_and_not_from_the_run(run, fasta: Path) -> None:
    fitted = []
    for seed in (1, 2):
        target = f"d{seed}.csv"
        line = ["sample", "tiny", "-n", 3, "--seed", seed, "-o", target]
        assert run(*line, "--reward", "gc?transform=zscore").exit_code == 0
        fitted.append(meta(target)["rewards"][0]["transform"])
        table = pd.read_csv(target)
        z = (table["gc"] - fitted[-1]["mean"]) / fitted[-1]["std"]
        np.testing.assert_allclose(table["reward"], z, rtol=1e-4)
    assert fitted[0] == fitted[1]
    drawn = run("sample", "tiny", "-n", 256, "--seed", 0, "--format", "csv", "-o", "prior.csv")
    assert drawn.exit_code == 0
    prior = shares(pd.read_csv("prior.csv")["sequence"].drop_duplicates(), "GC")
    error = prior.std() / np.sqrt(len(prior))
    assert 0 < abs(fitted[0]["mean"] - prior.mean()) < 6 * error  # other designs of the same prior
    # score takes them from a prior or from a file.
    by_model = run("score", "good.fa", "--reward", "gc?transform=zscore", "--model", "tiny")
    assert by_model.exit_code == 0, by_model.stderr
    by_file = run(
        *("score", "good.fa", "--reward", "gc?transform=zscore", "--set", "reference=prior.csv")
    )
    rewards = [
        [float(row.split("\t")[3]) for row in outcome.stdout.splitlines()[1:]]
        for outcome in (by_model, by_file)
    ]
    by_prior, by_table = (np.array(found) for found in rewards)
    np.testing.assert_allclose(
        by_prior, (np.array([0.5, 1, 0, 0.3]) - fitted[0]["mean"]) / fitted[0]["std"], rtol=1e-4
    )
    np.testing.assert_allclose(
        by_table, (np.array([0.5, 1, 0, 0.3]) - prior.mean()) / prior.std(ddof=1), rtol=1e-4
    )


def test_too_few_reference_sequences(run, fasta: Path) -> None:
    outcome = run(
        *("score", "good.fa", "--reward", "gc?transform=quantile", "--set", "reference=good.fa")
    )
    assert outcome.exit_code == 4
    assert "needs 20 reference sequences with a score, 4 of 4 have one" in outcome.stderr


def test_ranks_are_of_the_whole_table(run) -> None:
    Path("many.fa").write_text(
        "".join(f">s{n}\n{'A' * n + 'C' * (3000 - n)}\n" for n in range(1, 1201))
    )
    outcome = run("score", "many.fa", "--reward", "gc?transform=rank&direction=minimize")
    rewards = [float(line.split("\t")[2]) for line in outcome.stdout.splitlines()[1:]]
    np.testing.assert_allclose(rewards, np.arange(1200) / 1199, atol=1e-5)


def test_scores_are_shared_by_runs(run, fasta: Path) -> None:
    line = ["score", "good.fa", "--reward", "./mine.py:count", "--cache", "scores.sqlite"]
    first = run(*line)
    assert first.exit_code == 0, first.stderr
    assert run(*line).stdout == first.stdout
    assert len(sent()) == 4
    Path("mine.py").write_text(REWARD + "\n# another version\n")
    assert run(*line).stdout == first.stdout
    assert len(sent()) == 8


def test_a_spent_budget_can_be_raised(run) -> None:
    line = ["sample", "tiny", "-n", 20, "--seed", 1, "--batch-size", 4, "--method", "best_of_n"]
    line += ["--reward", "./mine.py:count", "--cache", "scores.sqlite"]
    assert run(*line, "-o", "whole.csv").exit_code == 0
    everything = len(sent())
    Path("sent.txt").unlink()
    Path("scores.sqlite").unlink()
    stopped = run(*line, "--max-evals", everything // 2, "-o", "d.csv")
    assert stopped.exit_code == 75
    assert f"the budget of {everything // 2} reward evaluations is spent" in stopped.stderr
    assert "of 20 designs done" in stopped.stderr
    assert 0 < len(sent()) <= everything // 2
    part = pd.read_csv("d.csv.part")
    assert 0 < len(part) < 20
    assert run(*line, "-o", "d.csv", "--resume").exit_code == 0
    assert Path("d.csv").read_bytes() == Path("whole.csv").read_bytes()
    assert len(sent()) == len(set(sent())) == everything


def test_score_keeps_what_the_budget_paid_for(run) -> None:
    Path("many.fa").write_text("".join(f">s{n}\n{'A' * n + 'C'}\n" for n in range(1, 1500)))
    outcome = run("score", "many.fa", "--reward", "gc", "--max-evals", 1200, "-o", "x.csv")
    assert outcome.exit_code == 75
    assert "the budget of 1200 reward evaluations is spent (1024 made" in outcome.stderr
    assert "1024 rows are kept in x.csv.part" in outcome.stderr


def test_rewards_of_priors(run, fasta: Path) -> None:
    """A reward may ask for a prior: the registry gives it."""
    outcome = run("score", "good.fa", "--reward", "likelihood?model=tiny", "--model", "tiny")
    assert outcome.exit_code == 0, outcome.stderr
    header, *rows = [line.split("\t") for line in outcome.stdout.splitlines()]
    table = pd.DataFrame(rows, columns=header)
    assert table["likelihood"].tolist() == table["log_likelihood"].tolist()


def test_what_a_file_prints_while_it_is_loaded_stays_out_of_the_designs(run, fasta: Path) -> None:
    Path("loud.py").write_text("print('hello')\n" + REWARD)
    outcome = run("score", "good.fa", "--reward", "./loud.py:count")
    assert outcome.stdout.startswith("id\t")
    assert "hello" in outcome.stderr


def test_earlier_bounds_are_kept_apart(run, fasta: Path) -> None:
    line = ["--reward", "gc?role=constraint&at_most=0.4", "-o", "x.csv"]
    assert run("score", "good.fa", *line).exit_code == 0
    again = run("score", "x.csv", "--reward", "./mine.py:count")
    header = again.stdout.splitlines()[0].split("\t")
    assert {"feasible.x", "violation.x", "reward.x", "reward"} <= set(header)
    assert "feasible" not in header


def test_other_rewards_are_not_appended(run, fasta: Path) -> None:
    line = ["score", "good.fa", "-o", "x.csv"]
    assert run(*line, "--reward", "gc").exit_code == 0
    refused = run(*line, "--reward", "gc?weight=100", "--append")
    assert refused.exit_code == 2
    assert "x.csv: the finished run differs in rewards" in refused.stderr
    assert run(*line, "--reward", "gc", "--append").exit_code == 0
    assert len(pd.read_csv("x.csv")) == 8


def test_a_monitor_that_fails_is_said_and_is_no_failure(run, fasta: Path) -> None:
    Path("sick.py").write_text(
        "from designkit.rewards import reward\n"
        "@reward\ndef sick(sequences): raise ValueError('ill')\n"
        "@reward(alphabet='dna')\ndef worse(sequences): raise GeneratorExit\n"
    )
    line = ["--reward", "gc", "--reward", "./sick.py:sick?role=monitor"]
    scored = run("score", "good.fa", *line, "--on-invalid", "skip", "-o", "x.csv")
    assert scored.exit_code == 0, scored.stderr
    assert "4 records read = 4 written" in scored.stderr
    assert "0 without score; 4 without sick" in scored.stderr
    drawn = run("sample", "tiny", "-n", 3, *line, "-o", "d.csv")
    assert drawn.exit_code == 0, drawn.stderr
    assert "0 without score, 3 without sick" in drawn.stderr
    outcome = run("score", "good.fa", "--reward", "./sick.py:worse")
    assert outcome.exit_code == 5
    assert "worse: GeneratorExit" in outcome.stdout


def test_letters_that_all_rewards_read(run) -> None:
    """The first reward alone would say RNA."""
    Path("mine_rna.py").write_text(
        "from designkit.rewards import reward\n"
        "@reward(alphabet=('rna', 'dna'))\ndef both(sequences): return [1.0] * len(sequences)\n"
    )
    Path("dna.fa").write_text(">a\nACGT\n")
    outcome = run(
        "score", "dna.fa", "--reward", "./mine_rna.py:both", "--reward", "./mine.py:count"
    )
    assert outcome.exit_code == 0, outcome.stderr


@pytest.mark.parametrize(
    ("ref", "message"),
    [
        ("./mine.py", "name the function or class in it: ./mine.py:NAME"),
        ("./odd.py:unbound", "reward 'unbound' cannot be bound: ZeroDivisionError"),
        ("./odd.py:empty", "returned nothing; return a value for each sequence"),
        ("./name.py:f", "a parameter cannot be called 'copy'"),
        ("./dna.py:f", "@reward('dna'): name the argument"),
        ("./range.py:f", "a range goes from its lower to its upper end"),
    ],
)
def test_mistakes_of_authors_are_one_line(run, fasta: Path, ref: str, message: str) -> None:
    start = "from designkit.rewards import reward\n"
    Path("odd.py").write_text(
        start + "@reward(alphabet='dna')\ndef empty(sequences): pass\n"
        "class unbound(empty):\n    def bind(self, alphabet): 1 / 0\n"
        "from dataclasses import replace\n"
        "unbound.template = replace(unbound.template, name='unbound')\n"
    )
    Path("name.py").write_text(start + "@reward\ndef f(sequences, copy: int = 1): ...\n")
    Path("dna.py").write_text(start + "@reward('dna')\ndef f(sequences): ...\n")
    Path("range.py").write_text(start + "@reward(range=(1, 0))\ndef f(sequences): ...\n")
    outcome = run("score", "good.fa", "--reward", ref)
    assert outcome.exit_code == 4, outcome.stderr
    said = outcome.stderr.splitlines()
    assert len(said) == 1, said
    assert message in said[0]


def test_costly_scores_are_on_disk_before_a_run_ends(run) -> None:
    Path("slow.py").write_text(
        "from designkit.rewards import reward\n"
        "@reward(cost='expensive')\n"
        "def slow(sequences):\n"
        "    if any(len(s) > 100 for s in sequences): raise KeyboardInterrupt\n"
        "    return [float(len(s)) for s in sequences]\n"
    )
    Path("many.fa").write_text("".join(f">s{n}\n{'A' * n}\n" for n in range(1, 300)))
    line = ["score", "many.fa", "--reward", "./slow.py:slow", "--alphabet", "dna"]
    assert run(*line, "--cache", "c.sqlite").exit_code == 130
    with contextlib.closing(sqlite3.connect("c.sqlite")) as connection:
        assert connection.execute("SELECT count(*) FROM scores").fetchone() == (80,)


def test_another_aggregation_is_not_appended(run, fasta: Path) -> None:
    line = ["score", "good.fa", "--reward", "gc", "--reward", "gc?low=0.4", "-o", "x.csv"]
    assert run(*line).exit_code == 0
    refused = run(*line, "--aggregation", "min", "--append")
    assert refused.exit_code == 2
    assert "differs in aggregation" in refused.stderr


@pytest.mark.parametrize("swallowed", ["ZeroDivisionError", "Exception", "BaseException"])
def test_term_ends_score_whatever_a_reward_catches(start, swallowed: str) -> None:
    Path("deaf.py").write_text(
        "import time\nfrom designkit.rewards import reward\n"
        "@reward(alphabet='dna', cost='expensive')\n"
        "def deaf(sequences):\n"
        "    open('begun', 'a').close()\n"
        "    try:\n        time.sleep(1 if len(sequences[0]) < 65 else 30)\n"
        f"    except {swallowed}: pass\n"
        "    return [1.0] * len(sequences)\n"
    )
    Path("many.fa").write_text("".join(f">s{n}\n{'A' * n}\n" for n in range(1, 400)))
    process = start("score", "many.fa", "--reward", "./deaf.py:deaf", "-o", "x.csv")
    deadline = time.monotonic() + 60
    while not Path("begun").exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(signal.SIGTERM)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 75, said
    assert "SIGTERM" in str(said)
    assert json.loads(Path("x.csv.part.meta.json").read_text())["status"] == "interrupted"


def test_a_reference_without_rewards(run) -> None:
    line = ["sample", "tiny", "-n", 2, "--method", "smc", "--set", "particles=4"]
    outcome = run(*line, "--reward", "gc?role=filter&at_least=1", "--reward", "./mine.py:count")
    assert outcome.exit_code == 4
    assert "reference designs have a reward within the bounds" in outcome.stderr


def test_objectives_that_are_not_finite(run, fasta: Path) -> None:
    outcome = run("score", "good.fa", "--reward", "./mine.py:count?weight=1e308")
    assert outcome.exit_code == 5
    assert "the objective is not finite" in outcome.stdout
    assert "inf\t" not in outcome.stdout
