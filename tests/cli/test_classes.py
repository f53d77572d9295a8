"""A prior of classes from the command line: trained, shown, drawn from, guided."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest

from designkit.cli.app import main

CONFIG = """\
architecture: {name: cnn, channels: 12, kernel: 3, dilations: [1], repeats: 1}
optimizer:
  {updates: 120, batch_size: 32, evaluate_every: 40, warmup: 5, learning_rate: 0.01, ema_decay: 0.9}
split: {by: "group:id"}
classes: {dropout: 0.2}
"""
CLASSES = {"poor": (4, 1, 1, 4), "rich": (1, 4, 4, 1)}


@pytest.fixture(scope="module")
def home_of_planted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with the prior ``planted``: the class says how many letters are G or C."""
    folder = tmp_path_factory.mktemp("planted")
    draw = random.Random(1)
    rows = ["sequence,kind,level"]
    for n in range(300):
        kind = ("poor", "rich")[n % 2]
        sequence = "".join(draw.choices("ACGT", CLASSES[kind], k=20))
        rows.append(f"{sequence},{kind},{sequence.count('G') + sequence.count('C')}")
    (folder / "t.csv").write_text("\n".join(rows) + "\n")
    (folder / "c.yaml").write_text(CONFIG)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DESIGNKIT_HOME", str(folder / "home"))
        patch.setenv("SLURM_CPUS_PER_TASK", "1")
        patch.chdir(folder)
        line = ["pretrain", "--data", "t.csv", "--config", "c.yaml", "--name", "planted", "-q"]
        assert main([*line, "--class-column", "kind", "--seed", "3"]) == 0
    return folder


@pytest.fixture
def planted(home_of_planted: Path, models: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("DESIGNKIT_HOME", str(home_of_planted / "home"))
    monkeypatch.chdir(home_of_planted)
    return home_of_planted


def content(fasta: str) -> float:
    letters = "".join(line for line in fasta.splitlines() if not line.startswith(">"))
    return sum(letters.count(letter) for letter in "GC") / len(letters)


def test_the_card_holds_classes_and_what_they_tell(run, planted: Path) -> None:
    card = json.loads((planted / "home/models/planted/1/model.json").read_text())
    classes = card["classes"]
    assert classes["names"] == ["poor", "rich"]
    assert (classes["column"], classes["edges"], classes["dropout"]) == ("kind", [], 0.2)
    assert sum(sum(rows.values()) for rows in classes["rows"].values()) == 300
    for figures in card["metrics"]["test"]["classes"].values():
        assert figures["bits_per_letter"] < figures["unconditional_bits_per_letter"]
        # 0.28 bits is what knowing the class saves when nothing else is known.
        assert 0.05 < figures["gain_bits"] < 0.35
    shown = run("models", "show", "planted").stdout
    assert "classes: names poor rich, column kind" in shown
    assert "| `rich` |" in shown


def test_designs_of_a_class_are_like_it(run, planted: Path) -> None:
    drawn = {}
    for name in ("poor", "rich", None):
        condition = ["--condition", name] if name else []
        outcome = run("sample", "planted", "-n", 60, "--seed", 4, "-q", *condition)
        assert outcome.exit_code == 0, outcome.stderr
        drawn[name] = content(outcome.stdout)
    # 0.2 and 0.8, with a standard error of 0.012.
    assert drawn["poor"] < 0.3 < 0.4 < drawn[None] < 0.6 < 0.7 < drawn["rich"]


def test_the_class_goes_with_every_method_and_into_the_record(run, planted: Path) -> None:
    line = ["sample", "planted", "-n", 8, "--seed", 4, "-q", "--condition", "poor"]
    guided = ["--method", "svdd", "--reward", "gc", "--set", "candidates=3"]
    outcome = run(*line, *guided, "-o", "guided.csv", "--force")
    assert outcome.exit_code == 0, outcome.stderr
    record = json.loads(Path("guided.csv.meta.json").read_text())
    assert record["settings"]["condition"] == "poor"
    finished = run(*line[:-1], "rich", *guided, "-o", "guided.csv", "--resume")
    assert finished.exit_code == 2  # not the same run


@pytest.mark.parametrize("more", [[], ["--dry-run"]])
def test_a_class_that_is_not_there(run, planted: Path, more: list[str]) -> None:
    outcome = run("sample", "planted", "--condition", "rihc", *more)
    assert outcome.exit_code == 2
    assert outcome.stderr.count("\n") == 1
    expected = "planted: no class 'rihc'; did you mean 'rich'? (its classes are poor, rich)"
    assert expected in outcome.stderr
    outcome = run("sample", "tiny", "--set", "condition=rich", *more)
    assert outcome.exit_code == 2
    assert "tiny: no class 'rich' (it has none)" in outcome.stderr


def test_cuts_are_asked_for_where_numbers_are_given(run, planted: Path) -> None:
    line = ["pretrain", "--data", "t.csv", "--config", "c.yaml", "--name", "cut", "-q"]
    line += ["--class-column", "level", "--seed", 3, "--set", "optimizer.updates=2"]
    outcome = run(*line, "--set", "classes.quantiles=[0.5,0.9]", "--run-dir", "cut")
    assert outcome.exit_code == 0, outcome.stderr
    card = json.loads((planted / "home/models/cut/1/model.json").read_text())
    assert card["classes"]["names"] == ["bottom_50%", "50%_to_90%", "top_10%"]
    assert len(card["classes"]["edges"]) == 2
    outcome = run(*line, "--set", "classes.edges=[5,5]", "--run-dir", "bad")
    assert outcome.exit_code == 2
    assert "--set classes.edges=[5,5]" in outcome.stderr
    outcome = run(*line, "--label", "level", "--run-dir", "bad")
    assert outcome.exit_code == 2
    assert "classes: not for a predictor" in outcome.stderr


def test_guidance_goes_further_than_the_class(run, planted: Path) -> None:
    """The first letters are G or C with odds 16 : 1; once the class shows, with 4 : 1 again."""
    line = ["sample", "planted", "-n", 60, "--seed", 4, "-q", "--method", "cfg"]
    drawn = {}
    for scale in (0, 1, 2):
        outcome = run(*line, "--condition", "rich", "--set", f"guidance_scale={scale}")
        assert outcome.exit_code == 0, outcome.stderr
        drawn[scale] = content(outcome.stdout)
    assert drawn[0] < 0.6 < 0.7 < drawn[1] < drawn[2] - 0.02
    outcome = run(*line)
    assert outcome.exit_code == 2
    assert outcome.stderr.strip() == (
        "designkit: error: method cfg needs a class: add --condition CLASS "
        "(the classes are poor, rich)"
    )
    outcome = run("sample", "tiny", "--method", "cfg", "--dry-run")
    assert outcome.exit_code == 2
    assert "method cfg needs a class" in outcome.stderr
    assert "the model has no classes" in outcome.stderr
