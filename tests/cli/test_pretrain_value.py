"""``designkit pretrain --prior``: roll-outs drawn once, exact resume, and networks that guide."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

from designkit.recipes.runtime import StopRequest

CONFIG = (
    "architecture: {name: cnn, channels: 8, dilations: [1], slots: 2, head: 8, dropout: 0.1}\n"
    "optimizer: {updates: 12, batch_size: 16, evaluate_every: 4, checkpoint_every: 5, warmup: 3, "
    "learning_rate: 0.01}\nrollouts: 60\n"
)


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, models: Path) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("designkit.recipes._rollouts.BATCH", 40)
    Path("value.yaml").write_text(CONFIG)
    return tmp_path


def line_for(name: str, prior: str = "tiny", reward: str = "gc") -> list[str]:
    line = ["pretrain", "--prior", prior, "--reward", reward, "--config", "value.yaml"]
    return [*line, "--name", name]


def card(home: Path, name: str, version: int = 1) -> dict:
    return json.loads((home / "models" / name / str(version) / "model.json").read_text())


def weights(home: Path, name: str) -> bytes:
    return (home / "models" / name / "1" / "model.safetensors").read_bytes()


def rollouts(name: str) -> list[dict[str, str]]:
    with Path(f"runs/{name}/rollouts.csv").open() as file:
        return list(csv.DictReader(file))


@pytest.fixture
def stop_at(monkeypatch: pytest.MonkeyPatch):
    """Ask the run to stop when it has asked so often; the first two times are after roll-outs."""

    def install(times: int) -> None:
        asked = iter(range(1, 100_000))
        monkeypatch.setattr(StopRequest, "__call__", lambda self: next(asked) >= times)

    return install


@pytest.mark.parametrize("objective", ["linex", "soft_q"])
def test_stops_and_resumes_end_in_the_same_weights(
    run, home: Path, stop_at, plugin, objective: str
) -> None:
    log = Path("calls.txt")
    counting = plugin(
        f"with open({str(log.resolve())!r}, 'a') as log:\n"
        "        log.write('x' * len(sequences))\n"
        "    return [s.count('G') - s.count('C') + 0.1 * s.count('AT') for s in sequences]"
    )
    more = ["--set", f"objective={objective}", "-q"]
    more += ["--set", "lag=3"] if objective == "soft_q" else []
    stop_at(100_000)
    assert run(*line_for("whole", reward=counting), *more, "--seed", 7).exit_code == 0
    scored = len(log.read_text())
    log.write_text("")
    resume: list = ["--seed", 7]
    said = []
    for times in (1, 4, 7, 100_000):
        stop_at(times)
        outcome = run(*line_for("parts", reward=counting), *more, *resume)
        if outcome.exit_code == 0:
            break
        assert outcome.exit_code == 75, outcome.stderr
        said.append(outcome.stderr)
        resume = ["--resume"]
    assert "stopped after 40 of 60 roll-outs; --resume continues" in said[0]
    assert "stopped at update" in said[1]
    assert len(said) >= 2
    assert weights(home, "parts") == weights(home, "whole")
    ours, theirs = card(home, "parts"), card(home, "whole")
    assert ours["metrics"] == theirs["metrics"]
    assert ours["training"] == theirs["training"]
    # Each distinct roll-out is scored once, whatever the objective and however often stopped.
    assert len(rollouts("parts")) == 60
    assert scored <= 60
    assert len(log.read_text()) <= 60
    assert run(*line_for("parts", reward=counting), *more, "--resume").exit_code == 0
    assert not (home / "models/parts/2").exists()
    assert len(log.read_text()) <= 60


def test_the_card_says_what_is_valued(run, home: Path) -> None:
    outcome = run(*line_for("v"), "--seed", 1)
    assert outcome.exit_code == 0, outcome.stderr
    found = card(home, "v")
    rewards = [float(row["reward"]) for row in rollouts("v")]
    assert found["kind"] == "value"
    assert found["prior"]["ref"] == "tiny@1"
    assert len(found["prior"]["sha256"]) == 64
    assert found["parent"] == found["prior"]["sha256"]
    assert [one["name"] for one in found["rewards"]] == ["gc"]
    assert found["length_law"] == {"20": 100}
    assert found["objective"] == "linex"
    assert not found["time_conditioned"]
    train = rewards[:48]
    mean = sum(train) / 48
    spread = (sum((one - mean) ** 2 for one in train) / 47) ** 0.5
    assert found["statistics"]["mean"] == pytest.approx(mean)
    assert found["statistics"]["scale"] == pytest.approx(spread)
    assert found["temperature"] == pytest.approx(spread / 5, rel=0.01)
    assert f"alpha {found['temperature']:g}, a fifth of the reward's standard" in outcome.stderr
    test = found["metrics"]["test"]
    assert test["rollouts"] == 6
    assert set(test["by_share_gone"]) == {"0", "0.1", "0.5", "0.9"}
    shown = run("models", "show", "v").stdout
    assert "kind: value" in shown
    assert "- prior `tiny@1`" in shown
    assert run("models", "verify", "v").exit_code == 0
    half = run(*line_for("w"), "--alpha", "0.3", "--set", "stored_precision=fp16", "-q")
    assert half.exit_code == 0
    assert card(home, "w")["temperature"] == 0.3


@pytest.mark.parametrize("prior", ["tiny", "vari"])
@pytest.mark.parametrize("method", ["svdd", "smc"])
def test_a_network_guides(run, home: Path, prior: str, method: str) -> None:
    assert run(*line_for("v", prior), "--seed", 1, "-q").exit_code == 0
    steer = ["--method", method, "--reward", "gc", "--seed", 1]
    steer += ["--set", "value.name=learned", "--set", "value.model=v"]
    steer += ["--set", "particles=8"] if method == "smc" else ["--set", "candidates=3"]
    outcome = run("sample", prior, "-n", 8, *steer, "-o", "out.csv")
    assert outcome.exit_code == 0, outcome.stderr
    assert "warning" not in outcome.stderr
    record = json.loads(Path("out.csv.meta.json").read_text())
    assert record["value_network"]["name"] == "v"
    assert record["calls"]["denoiser_rows"] <= 8 * 20 + 1
    if method == "smc":  # the network's own, not measured anew
        assert record["temperature"] == card(home, "v")["temperature"]
        assert record["calls"]["reward_rows_scored"] <= 8
    else:
        assert record["calls"]["reward_rows_scored"] <= 24


def test_doubts_are_told_and_misfits_refused(run, home: Path) -> None:
    assert run(*line_for("v"), "--alpha", "0.2", "-q").exit_code == 0
    value = ["--set", "value.name=learned", "--set", "value.model=v", "-q"]

    def sample(prior: str, reward: str, *more: object):
        return run("sample", prior, "-n", 2, "--method", "svdd", "--reward", reward, *value, *more)

    other = sample("tiny", "gc?low=0.5")
    assert other.exit_code == 0
    assert "warning: value network v was trained for another reward" in other.stderr
    hot = sample("tiny", "gc", "--alpha", 0.3)
    assert "was trained for alpha 0.2, this run has 0.3" in hot.stderr
    assert "warning" not in sample("tiny", "gc", "--alpha", 0.21).stderr
    for prior, message in (
        ("vari", "is for the prior tiny@1"),
        ("prot", "is for the prior tiny@1, not for prot"),
    ):
        outcome = sample(prior, "gc" if prior == "vari" else "gravy")
        assert outcome.exit_code == 4
        assert message in outcome.stderr
        assert len(outcome.stderr.splitlines()) == 1
    absent = run("sample", "tiny", "--method", "svdd", "--reward", "gc", "--set", "value=learned")
    assert absent.exit_code == 2
    assert "model" in absent.stderr
    reward = run("sample", "tiny", "--method", "best_of_n", "--reward", "model:v", "-q")
    assert reward.exit_code == 4
    assert "'v' is a value network" in reward.stderr


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--data", "x.csv"], "--data: a value network learns from what its prior writes"),
        (["--label", "x"], "--prior trains a value network: leave out --label"),
        (["--set", "children=4"], "children: only for objective soft_q"),
        (["--set", "objective=linexx"], "objective"),
        (["--set", "architecture.pool=21"], "architecture.pool: 21, but sequences have at most 20"),
        (["--set", "length=19"], "length 19: tiny writes sequences of 20 to 20 letters"),
        (["--set", "rollouts=3"], "rollouts"),
        (["--alpha", "-1"], "--alpha"),
        (["--reward", "gc?transform=rank"], "compares designs with each other"),
    ],
)
def test_what_cannot_be_trained_is_refused(run, more: list[str], message: str) -> None:
    outcome = run(*line_for("v"), *more)
    assert outcome.exit_code == 2
    assert message in outcome.stderr
    assert "Traceback" not in outcome.stderr


def test_other_refusals(run, plugin) -> None:
    none = run("pretrain", "--prior", "tiny", "--name", "v")
    assert (none.exit_code, "needs a reward" in none.stderr) == (2, True)
    assert run("pretrain", "--name", "v").stderr.endswith("no training data: add --data FILE\n")
    assert run(*line_for("v", "tinny")).exit_code == 4
    same = run(*line_for("v", reward=plugin("return [1.0] * len(sequences)")), "-q")
    assert (same.exit_code, "there is nothing to learn" in same.stderr) == (2, True)
    lost = plugin("return [float('nan') if s[0] in 'ACG' else 1.0 for s in sequences]", "lost")
    outcome = run(*line_for("w", reward=lost), "-q")
    assert outcome.exit_code == 4
    assert "roll-outs have no score" in outcome.stderr


def test_dry_run_trains_nothing(run, home: Path) -> None:
    outcome = run(*line_for("v"), "--dry-run")
    assert outcome.exit_code == 0
    assert "reward_rows_at_most: 60" in outcome.stdout
    assert not Path("runs").exists()
