"""``designkit pretrain``: exact resume, splits, cards, and models that the other commands use."""

from __future__ import annotations

import csv
import json
import random
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from designkit.recipes.runtime import StopRequest

from .conftest import PROGRAM, Starter, end, wait_until

OPTIMIZER = (
    "optimizer: {updates: 24, batch_size: 16, evaluate_every: 4, checkpoint_every: 5, warmup: 3, "
    "learning_rate: 0.01}\n"
)
PRIOR = (
    "architecture: {name: cnn, channels: 8, kernel: 3, dilations: [1], repeats: 1, dropout: 0.1}\n"
)
TRANSFORMER = "architecture: {name: transformer, channels: 16, layers: 1, heads: 2}\n"
PREDICTOR = (
    "architecture: {name: cnn, channels: 8, dilations: [1], slots: 2, head: 8}\n"
    "members: 2\nbootstrap: true\nreverse_complement: true\nmutation_rate: 0.05\n"
)
CONV_GRU = "architecture: {name: conv_gru, channels: 8, dilations: [1], hidden: 4, head: 8}\n"
CLASSES = PRIOR + "classes: {column: activity, quantiles: [0.5], dropout: 0.3}\n"
CONFIGS = {
    "prior": PRIOR,
    "classes": CLASSES,
    "transformer": TRANSFORMER,
    "predictor": PREDICTOR,
    "adversarial": PREDICTOR,
    "gru": CONV_GRU,
}


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, models: Path) -> Path:
    """Training data of one length and of several, and configurations of tiny networks."""
    monkeypatch.chdir(tmp_path)
    draw = random.Random(1)
    header = "sequence,activity,family,fold,kind\n"
    fixed, varied = [header], [header]
    for n in range(160):
        sequence = "".join(draw.choices("ACGT", (4, 1, 2, 1), k=20))
        activity = sequence.count("G") + draw.gauss(0, 0.3)
        fold = ("train", "train", "valid", "test")[n % 4]
        rest = f",{activity:.4f},f{n % 40},{fold},{'ab'[n % 2]}\n"
        fixed.append(sequence + rest)
        varied.append(sequence[: 12 + n % 9] + rest)
    Path("fixed.csv").write_text("".join(fixed))
    Path("varied.csv").write_text("".join(varied))
    for name, text in CONFIGS.items():
        Path(f"{name}.yaml").write_text(text + OPTIMIZER)
    return tmp_path


def line_for(kind: str, name: str, data: str = "fixed.csv") -> list[str]:
    label = ["--label", "activity"] if kind in ("predictor", "adversarial", "gru") else []
    label += ["--adversarial"] if kind == "adversarial" else []
    return ["pretrain", "--data", data, "--name", name, "--config", f"{kind}.yaml", *label]


def weights(home: Path, name: str) -> bytes:
    return (home / "models" / name / "1" / "model.safetensors").read_bytes()


def card(home: Path, name: str) -> dict:
    return json.loads((home / "models" / name / "1" / "model.json").read_text())


def updates(folder: Path) -> list[int]:
    """Updates at which the run in a folder was evaluated, as logged."""
    return [
        json.loads(line)["update"] for line in (folder / "metrics.jsonl").read_text().splitlines()
    ]


EVALUATED = [4, 8, 12, 16, 20, 24]


@pytest.fixture
def stop_at(monkeypatch: pytest.MonkeyPatch):
    """Ask the run to stop after so many updates of this process."""

    def install(update: int) -> None:
        asked = iter(range(1, 100_000))
        monkeypatch.setattr(StopRequest, "__call__", lambda self: next(asked) >= update)

    return install


@pytest.mark.parametrize("kind", ["prior", "classes", "predictor", "adversarial"])
def test_stops_and_resumes_end_in_the_same_weights(run, home: Path, stop_at, kind: str) -> None:
    members = ["."] if kind in ("prior", "classes") else ["member_0", "member_1"]
    stop_at(100_000)
    assert run(*line_for(kind, "whole"), "--seed", 7, "-q").exit_code == 0
    # 3: before any checkpoint or evaluation; 9, 13: on neither; 24: the last of a member.
    line = [*line_for(kind, "parts"), "-q"]
    resume: list[str] = ["--seed", "7"]
    stops = 0
    for after in (3, 9, 13, 24, 100_000):
        stop_at(after)
        outcome = run(*line, *resume)
        if outcome.exit_code == 0:
            break
        assert outcome.exit_code == 75, outcome.stderr
        assert re.search(
            r"designkit: stopped: stopped at update \d+; --resume cont", outcome.stderr
        )
        assert not (home / "models" / "parts").exists()
        resume = ["--resume"]
        stops += 1
    assert stops >= 2
    assert weights(home, "parts") == weights(home, "whole")
    for member in members:
        assert updates(Path("runs/parts") / member) == EVALUATED
    assert (
        Path("runs/parts", members[0], "metrics.jsonl").read_text()
        == Path("runs/whole", members[0], "metrics.jsonl").read_text()
    )
    ours, theirs = card(home, "parts"), card(home, "whole")
    assert ours["metrics"] == theirs["metrics"]
    assert ours["training"] == theirs["training"]


@pytest.mark.parametrize("kind", ["prior", "predictor"])
def test_killed_and_resumed(start: Starter, run, home: Path, kind: str) -> None:
    """KILL at a moment that is another in every run, then --resume: the same weights to the bit."""
    more = ["--seed", "7", "-q", "--set", "optimizer.updates=60"]
    process = start(*line_for(kind, "killed"), *more)
    member = "." if kind == "prior" else "member_0"
    first = Path("runs/killed") / member
    wait_until((first / "last.safetensors").exists, process)
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(random.random() * 0.2)
    code, _ = end(process, signal.SIGKILL)
    assert code == -signal.SIGKILL
    assert not (home / "models" / "killed").exists()
    assert run(*line_for(kind, "killed"), *more, "--resume").exit_code == 0
    assert run(*line_for(kind, "whole"), *more).exit_code == 0
    assert weights(home, "killed") == weights(home, "whole")
    logged = updates(first)
    assert logged == sorted(set(logged))
    assert logged == updates(Path("runs/whole") / member)


def test_term_leaves_a_run_to_resume(start: Starter, home: Path) -> None:
    process = start(*line_for("prior", "a"), "--set", "optimizer.updates=100000", "-q")
    wait_until(Path("runs/a/last.safetensors").exists, process)
    code, said = end(process, signal.SIGTERM)
    assert code == 75
    assert said.startswith("designkit: stopped: ")
    assert len(said.splitlines()) == 1
    assert not (home / "models").exists()


def test_max_time(run, home: Path) -> None:
    outcome = run(*line_for("prior", "a"), "--max-time", "0.001s", "-q")
    assert (outcome.exit_code, outcome.stdout) == (75, "")
    assert outcome.stderr == "designkit: stopped: stopped at update 1; --resume continues\n"
    assert run(*line_for("prior", "a"), "-q").exit_code == 2  # a run is there: say --resume
    assert run(*line_for("prior", "a"), "-q", "--resume").exit_code == 0


def test_a_run_is_resumed_only_as_it_was_started(run, home: Path, stop_at) -> None:
    line = [*line_for("prior", "a"), "-q"]
    stop_at(5)
    assert run(*line, "--seed", 1).exit_code == 75
    stop_at(100_000)
    changes = {
        "settings": ["--set", "optimizer.learning_rate=0.02"],
        "settings, architecture": ["--set", "architecture.channels=16"],
        "seed": ["--seed", 2],
    }

    def refused(what: str, more: list) -> None:
        outcome = run(*line, *more, "--resume")
        assert outcome.exit_code == 2
        assert len(outcome.stderr.splitlines()) == 1
        assert f"runs/a: the run there differs in {what};" in outcome.stderr

    for what, more in changes.items():
        refused(what, more)
    text = Path("fixed.csv").read_text()
    Path("fixed.csv").write_text(text.replace("f1,", "f2,", 1))
    refused("data", [])
    Path("fixed.csv").write_text(text)
    refused("name", ["--name", "b", "--run-dir", "runs/a"])
    assert run(*line, "--resume").exit_code == 0
    finished = weights(home, "a")
    again = run(*line_for("prior", "a"), "--resume")
    assert again.exit_code == 0
    assert "finished already; the model is a@1" in again.stderr
    assert [path.name for path in (home / "models" / "a").iterdir() if path.is_dir()] == ["1"]
    for what, more in changes.items():  # a finished run is not another one either
        refused(what, more)
    assert weights(home, "a") == finished


@pytest.mark.parametrize("kind", ["prior", "transformer", "predictor", "adversarial", "gru"])
def test_sequences_of_several_lengths(run, home: Path, kind: str) -> None:
    outcome = run(*line_for(kind, "m", "varied.csv"), "--seed", 1, "--set", "optimizer.updates=6")
    assert outcome.exit_code == 0, outcome.stderr
    assert min(map(int, card(home, "m")["length_law"])) == 12
    assert max(map(int, card(home, "m")["length_law"])) == 20
    if kind in ("prior", "transformer"):
        drawn = run("sample", "m", "-n", 12, "--seed", 1, "-q").stdout.split("\n")[1:-1:2]
        assert len({len(sequence) for sequence in drawn}) > 2
        scored = run("score", "varied.csv", "--model", "m", "--format", "csv")
    else:
        scored = run("score", "varied.csv", "--reward", "model:m", "--format", "csv")
    assert scored.exit_code == 0, scored.stderr
    assert len(scored.stdout.splitlines()) == 161


def test_card_of_a_prior(run, home: Path, folder: Path) -> None:
    line = [*line_for("prior", "m"), "--seed", 1, "--set", "stored_precision=fp16"]
    line += ["--set", "card.summary=Invented.", "--set", "card.licence=none"]
    outcome = run(*line)
    assert outcome.exit_code == 0
    found = card(home, "m")
    assert found["kind"] == "diffusion"
    assert found["licence"] == "none"
    assert found["length_law"].keys() == {"20"}
    test = found["metrics"]["test"]
    assert 0 < test["bits_per_letter"] < 2.6
    assert test["markov_0_bits_per_letter"] < 2.0  # the letters are not equally frequent
    assert {"nats_per_letter", "perplexity", "standard_error_bits", "markov_3_bits_per_letter"} <= {
        *test
    }
    training = found["training"]
    assert training["seed"] == 1
    assert training["rows"]["read"] == 160
    assert len(training["data"]["fixed.csv"]) == 64
    # Half the bytes of float32, and all finite.
    from safetensors.torch import load

    tensors = load(weights(home, "m"))
    assert {str(tensor.dtype) for tensor in tensors.values()} == {"torch.float16"}
    shown = run("models", "show", "m").stdout
    assert "Invented." in shown
    assert f"{test['bits_per_letter']:.4f}" in shown
    assert f"{test['bits_per_letter']:.4f}" in outcome.stderr
    listed = [row.split() for row in run("models", "list").stdout.splitlines()]
    assert ["m", "1", "diffusion", "dna", "20", "home", "Invented."] in listed
    assert "m@1: ok" in run("models", "verify", "m").stdout


def test_card_of_a_predictor(run, home: Path) -> None:
    line = [*line_for("predictor", "m"), "--seed", 1, "--set", "data.report_by=kind"]
    # Groups of 4 rows: enough test rows for figures by kind.
    assert run(*line, "--split-group", "family", "--set", "split.test=0.4", "-q").exit_code == 0
    found = card(home, "m")
    assert (found["kind"], found["members"]) == ("predictor", 2)
    assert found["outputs"] == [{"name": "activity", "unit": "", "direction": "maximize"}]
    assert found["training"]["split"]["by"] == "group:family"
    figures = found["metrics"]["test"]["activity"]
    for metric in ("pearson", "spearman", "r_squared"):
        assert figures[metric]["low"] <= figures[metric]["value"] <= figures[metric]["high"]
        assert metric in figures["ridge"]
    assert set(figures["spearman_by_kind"]) == {"a", "b"}
    outcome = run("sample", "tiny", "-n", 2, "--method", "svdd", "--reward", "model:m#activity")
    assert outcome.exit_code == 0
    assert "m_activity=" in outcome.stdout


def test_a_predictor_is_calibrated_and_audited(run, home: Path) -> None:
    assert run(*line_for("predictor", "m"), "--seed", 1, "-q").exit_code == 0
    found = card(home, "m")
    [fitted] = found["calibration"]
    figures = found["metrics"]["calibration"]["activity"]
    assert figures["after"]["nll"] < figures["before"]["nll"]
    natural = found["metrics"]["audit"]["activity"]["classes"]["natural"]["share"]
    held_out = [found["training"]["split"][part]["rows"] for part in ("valid", "test")]
    assert natural["count"] == sum(held_out)
    shown = run("models", "show", "m").stdout
    assert found["metrics"]["audit"]["activity"]["sentence"] in shown
    assert "| activity |" in shown
    assert "Trained with degenerate sequences" not in shown

    # The deviation beside a prediction is that of the members, calibrated.
    scored = run("score", "fixed.csv", "--reward", "model:m", "--format", "csv", "-q").stdout
    path = home / "models" / "m" / "1" / "model.json"
    text = json.dumps({**found, "calibration": []})
    path.write_text(text)  # as stored by versions that did not calibrate
    plain = run("score", "fixed.csv", "--reward", "model:m", "--format", "csv", "-q").stdout

    def deviations(table: str) -> list[float]:
        rows = list(csv.DictReader(table.splitlines()))
        return [float(row["m_std"]) for row in rows]

    expected = [(fitted["factor"] * s**2 + fitted["constant"]) ** 0.5 for s in deviations(plain)]
    assert deviations(scored) == pytest.approx(expected, rel=1e-4)


LAZY = (
    "architecture: {name: cnn, channels: 8, dilations: [1], slots: 0, head: 8}\n"
    "optimizer: {updates: 150, batch_size: 16, evaluate_every: 25, warmup: 3, learning_rate: 0.03}"
)


def test_adversarial_training_lowers_repeats(run, home: Path) -> None:
    """Activity counts G, at most 12 of 20: a lazy predictor thinks that poly-G is even better."""
    Path("lazy.yaml").write_text(LAZY)
    line = ["pretrain", "--data", "fixed.csv", "--label", "activity", "--config", "lazy.yaml"]
    line += ["--seed", 1, "-q"]
    audits = []
    for name, flags in (("lazy", []), ("wary", ["--adversarial"])):
        assert run(*line, "--name", name, *flags).exit_code == 0
        found = card(home, name)
        audits.append(found["metrics"]["audit"]["activity"])
        assert "calibration" not in found["metrics"]  # one member has no spread
        assert found["calibration"] == []
    lazy, wary = ({kind: one["best"] for kind, one in a["classes"].items()} for a in audits)
    for kind in ("homopolymers", "repeats", "truncated"):
        assert lazy[kind] > lazy["natural"] + 2
        assert wary[kind] < wary["natural"] + 1
    assert audits[0]["verdict"] == "can be fooled"
    shown = run("models", "show", "wary").stdout
    assert "Trained with degenerate sequences (0.125 of each batch" in shown
    outcome = run(*line_for("prior", "p"), "--adversarial")
    assert outcome.exit_code == 2
    assert "adversarial: not for a prior" in outcome.stderr


def test_splits(run, home: Path) -> None:
    line = [*line_for("prior", "a"), "-q", "--set", "optimizer.updates=1"]
    assert run(*line, "--set", "split.by=column:fold").exit_code == 0
    split = card(home, "a")["training"]["split"]
    assert [split[part]["rows"] for part in ("train", "valid", "test")] == [80, 40, 40]
    line[line.index("a")] = "b"
    assert run(*line, "--split-group", "family").exit_code == 0
    split = card(home, "b")["training"]["split"]
    assert split["largest_group"] == 4
    assert sum(split[part]["groups"] for part in ("train", "valid", "test")) == 40
    # Copies with one letter changed are one cluster, and stay together.
    rows = Path("fixed.csv").read_text().splitlines()
    near = [("C" if row[0] == "A" else "A") + row[1:] for row in rows[1:]]
    Path("fixed.csv").write_text("\n".join(rows + near) + "\n")
    line[line.index("b")] = "c"
    assert run(*line, "--split-group", "cluster").exit_code == 0
    training = card(home, "c")["training"]
    assert training["rows"]["used"] == 320
    assert sum(training["split"][part]["groups"] for part in ("train", "valid", "test")) <= 160


def test_dry_run_is_quick_and_leaves_nothing(folder: Path) -> None:
    before = sorted(folder.iterdir())
    line = [*line_for("predictor", "m"), "--dry-run", "--seed", "3"]
    code = (
        "import sys\nfrom designkit.cli.app import main\n"
        f"code = main({line!r})\n"
        "heavy = {'torch', 'pandas', 'Bio', 'accelerate'} & set(sys.modules)\n"
        "print('heavy:', sorted(heavy))\nsys.exit(code)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "kind: predictor" in done.stdout
    assert "seed: 3" in done.stdout
    assert "updates: 24" in done.stdout
    assert done.stdout.endswith("heavy: []\n")
    assert sorted(folder.iterdir()) == before


def test_same_seed_same_model_from_a_process(run, home: Path) -> None:
    line = [*line_for("prior", "a"), "--seed", "7", "-q", "--set", "optimizer.updates=5"]
    subprocess.run([PROGRAM, *line], check=True, capture_output=True, timeout=90)
    line[line.index("a")] = "b"
    assert run(*line).exit_code == 0
    assert weights(home, "a") == weights(home, "b")
    assert run("models", "verify").stdout.splitlines()[:2] == ["a@1: ok", "b@1: ok"]
    line[line.index("b")] = "c"
    line[line.index("7")] = "8"
    assert run(*line).exit_code == 0
    assert weights(home, "c") != weights(home, "b")


@pytest.mark.parametrize(
    ("kind", "change", "said"),
    [
        ("prior", "split.test=0", "split.test: must be above 0"),
        ("prior", "split.valid=0", "split.valid: must be above 0"),
        ("prior", "architecture.positions=19", "architecture.positions: 19, but the longest"),
        (
            "predictor",
            "architecture.pool=21",
            "architecture.pool: 21, but sequences have at most 20 letters",
        ),
        ("prior", "reverse_complement=true", "the protein alphabet has no complement"),
        ("predictor", "alphabet=protein", "the protein alphabet has no complement"),
    ],
)
def test_what_would_fail_after_training_is_refused_before(
    run, kind: str, change: str, said: str
) -> None:
    line = [*line_for(kind, "a"), "-q", "--set", change]
    if change.startswith("reverse"):
        line += ["--set", "alphabet=protein"]
    outcome = run(*line)
    assert outcome.exit_code == 2
    assert len(outcome.stderr.splitlines()) == 1
    assert said in outcome.stderr
    assert not Path("runs").exists()


def test_uniform_noise_from_training_to_designs(run, home: Path) -> None:
    """The network is told the time unasked, and the card brings the decoding along."""
    line = [*line_for("prior", "free", "varied.csv"), "--set", "process=uniform", "-q"]
    assert run(*line, "--seed", 3).exit_code == 0
    fields = card(home, "free")
    assert fields["process"] == {"name": "uniform", "size": 4, "schedule": "quadratic"}
    assert fields["architecture"]["time_conditioned"] is True
    # Letters are 4:1:2:1; a prior that ignored that would need 2 bits a letter.
    assert 1.5 < fields["metrics"]["test"]["bits_per_letter"] < 2
    drawn = run("sample", "free", "-n", 3, "--seed", 1, "-q")
    again = run("sample", "free", "-n", 3, "--seed", 1, "-q", "--set", "decoding=grid")
    assert drawn.exit_code == 0
    assert drawn.stdout == again.stdout
    guided = run(
        *("sample", "free", "-n", 3, "--seed", 1, "-q", "--length", 14, "--format", "csv"),
        *("--method", "svdd", "--reward", "gc", "-o", "guided.csv", "--set", "steps=30"),
    )
    assert guided.exit_code == 0, guided.stderr
    rows = list(csv.DictReader(Path("guided.csv").read_text().splitlines()))
    assert all(set(row["sequence"]) <= set("ACGT") for row in rows)
    scored = run("score", "guided.csv", "--model", "free", "-q", "--format", "csv")
    assert all(float(row["log_likelihood"]) < 0 for row in csv.DictReader(scored.stdout.split()))
    refused = run("sample", "free", "-n", 1, "-q", "--set", "decoding=blocks")
    assert refused.exit_code == 2
    assert "decoding=blocks: with uniform noise every step may change every" in refused.stderr
