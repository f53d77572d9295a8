"""``designkit finetune``: exact resume, lineage, guards, and models that ``sample`` draws from."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from designkit.plugins import names
from designkit.recipes.runtime import StopRequest

CONFIG = (
    "optimizer: {updates: 9, batch_size: 8, evaluate_every: 4, checkpoint_every: 2, warmup: 0, "
    "learning_rate: 0.003, ema_decay: 0.5}\ndesigns: 16\nreference_num: 40\n"
)
METHODS = names("designkit.finetuners")


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, models: Path) -> Path:
    monkeypatch.chdir(tmp_path)
    Path("tune.yaml").write_text(CONFIG)
    return tmp_path


def line_for(name: str, method: str = "tb", prior: str = "tiny", reward: str = "gc") -> list[str]:
    line = ["finetune", prior, "--method", method, "--reward", reward, "--config", "tune.yaml"]
    return [*line, "--name", name]


def card(home: Path, name: str) -> dict:
    return json.loads((home / "models" / name / "1" / "model.json").read_text())


def weights(home: Path, name: str) -> bytes:
    return (home / "models" / name / "1" / "model.safetensors").read_bytes()


def log(name: str) -> list[dict]:
    return [
        json.loads(line) for line in Path(f"runs/{name}/metrics.jsonl").read_text().split("\n")[:-1]
    ]


@pytest.fixture
def stop_at(monkeypatch: pytest.MonkeyPatch):
    """Ask the run to stop when it has asked so often."""

    def install(times: int) -> None:
        asked = iter(range(1, 100_000))
        monkeypatch.setattr(StopRequest, "__call__", lambda self: next(asked) >= times)

    return install


@pytest.mark.parametrize("method", METHODS)
def test_stops_and_resumes_end_in_the_same_weights(run, home: Path, stop_at, method: str) -> None:
    more = ["--seed", 7, "--holdout", "cpg", "-q"]
    stop_at(100_000)
    assert run(*line_for("whole", method), *more).exit_code == 0
    stopped = 0
    for times in (1, 2, 100_000):
        stop_at(times)
        again = ["--resume"] if stopped else []
        outcome = run(*line_for("parts", method), *more, *again)
        stopped += outcome.exit_code == 75
    assert outcome.exit_code == 0, outcome.stderr
    assert stopped == 2
    assert weights(home, "parts") == weights(home, "whole")
    ours, theirs = card(home, "parts"), card(home, "whole")
    assert ours["metrics"] == theirs["metrics"]
    assert log("parts") == log("whole")
    assert run(*line_for("parts", method), *more, "--resume").exit_code == 0
    assert not (home / "models/parts/2").exists()
    other = run(*line_for("parts", method), *more, "--alpha", 3, "--resume")
    assert (other.exit_code, "differs in" in other.stderr) == (2, True)


def test_the_model_is_a_prior_with_its_lineage(run, home: Path, models: Path) -> None:
    outcome = run(*line_for("tuned"), "--seed", 1, "--holdout", "cpg", "--alpha", 0.2)
    assert outcome.exit_code == 0, outcome.stderr
    found = card(home, "tuned")
    prior = json.loads((models / "models/tiny/1/model.json").read_text())
    assert found["kind"] == "diffusion"
    assert found["parent"] == prior["files"]["model.safetensors"]
    assert found["prior"]["ref"] == "tiny@1"
    assert found["architecture"] == prior["architecture"]
    assert (found["method"], found["temperature"]) == ("tb", 0.2)
    assert [one["name"] for one in found["rewards"]] == ["gc"]
    assert [one["name"] for one in found["holdout"]] == ["cpg"]
    after = found["metrics"]["after"]
    assert set(after) >= {"reward", "holdout", "log_likelihood", "path_kl", "hamming", "distinct"}
    assert found["metrics"]["before"]["path_kl"] == 0
    assert after["path_kl"] > 0
    evaluations = log("tuned")
    assert [one["update"] for one in evaluations] == [4, 8, 9]
    best = max(evaluations, key=lambda one: one["holdout"])
    assert found["metrics"]["best_update"] == best["update"]
    assert "tuning tiny@1 by tb" in outcome.stderr
    shown = run("models", "show", "tuned").stdout
    assert "A tuned prior of dna sequences." in shown
    drawn = run("sample", "tuned", "-n", 3, "--seed", 1)
    assert drawn.exit_code == 0
    assert drawn.stdout != run("sample", "tiny", "-n", 3, "--seed", 1).stdout
    again = run(*line_for("twice", prior="tuned"), "--seed", 1, "-q")
    assert again.exit_code == 0
    assert card(home, "twice")["prior"]["ref"] == "tuned@1"


def test_without_a_holdout_the_last_weights_are_kept(run, home: Path) -> None:
    outcome = run(*line_for("tuned"), "--seed", 1)
    assert outcome.exit_code == 0
    assert "the last weights are kept" in outcome.stderr
    assert card(home, "tuned")["metrics"]["best_update"] == 9
    assert "loss" not in log("tuned")[0]


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("prior", ["tiny", "vari"])
def test_tuning_raises_the_reward(run, home: Path, method: str, prior: str) -> None:
    more = ["--set", "optimizer.updates=30", "--set", "optimizer.batch_size=32", "--alpha", 0.02]
    more += ["--set", "optimizer.learning_rate=0.01", "--set", "steps=4", "--seed", 3, "-q"]
    outcome = run(*line_for("tuned", method, prior, "gc?low=0.9&high=1"), *more)
    assert outcome.exit_code == 0, outcome.stderr
    metrics = card(home, "tuned")["metrics"]
    assert metrics["after"]["reward"] > metrics["before"]["reward"] + 0.05
    assert metrics["after"]["path_kl"] > 0.1


def test_a_falling_holdout_ends_the_run(run, home: Path) -> None:
    more = ["--holdout", "gc?low=0.9&high=1&weight=-1", "--set", "gap_patience=2", "--seed", 3]
    more += ["--set", "optimizer.updates=60", "--set", "optimizer.batch_size=32"]
    more += ["--set", "optimizer.learning_rate=0.02", "--alpha", 0.02, "--set", "steps=4"]
    outcome = run(*line_for("tuned", reward="gc?low=0.9&high=1"), *more)
    assert outcome.exit_code == 0, outcome.stderr
    evaluations = log("tuned")
    last = evaluations[-1]
    assert (last["gap"], last["stop"]) == (2, 1)
    assert last["update"] < 60
    best = max(evaluations, key=lambda one: one["holdout"])
    assert card(home, "tuned")["metrics"]["best_update"] == best["update"] < last["update"]
    assert "the reward rose and the held-out reward fell" in outcome.stderr


def test_collapse_and_divergence_say_what_to_lower(run, home: Path) -> None:
    more = ["--alpha", 1e-4, "--set", "optimizer.learning_rate=3", "--seed", 1, "-q"]
    outcome = run(*line_for("tuned"), *more, "--set", "optimizer.updates=60")
    assert outcome.exit_code == 1
    assert "lower optimizer.learning_rate" in outcome.stderr
    assert "Traceback" not in outcome.stderr
    assert not (home / "models/tuned").exists()


def test_dry_run_tells_calls_and_memory(run) -> None:
    outcome = run(*line_for("tuned"), "--dry-run")
    assert outcome.exit_code == 0, outcome.stderr
    assert "denoiser_rows: 80" in outcome.stdout  # 8 designs of 10 steps
    assert "denoiser_rows_with_gradients: 64" in outcome.stdout
    assert "reward_rows_at_most: 192" in outcome.stdout  # 9 * 8 + 5 * 16 + 40
    assert "activations" in outcome.stdout
    assert not Path("runs").exists()


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--method", "tbb"], "unknown finetuner 'tbb'"),
        (["--alpha", "0"], "--alpha"),
        (["--set", "max_evals=10"], "max_evals"),
        (["--set", "method.trainsteps=3"], "train_steps"),
        (["--set", "optimizer.patience=3"], "needs a held-out reward"),
        (["--set", "length=19"], "length 19: tiny writes sequences of 20 to 20 letters"),
        (["--condition", "x"], "no class 'x'"),
        (["--holdout", "gc?transform=rank"], "compares designs with each other"),
        (["--holdout", "gc?lwo=1"], "low"),
    ],
)
def test_what_cannot_be_tuned_is_refused(run, more: list[str], message: str) -> None:
    outcome = run(*line_for("tuned"), *more)
    assert outcome.exit_code in (2, 4)
    assert message in outcome.stderr
    assert "Traceback" not in outcome.stderr


def test_other_refusals(run, plugin) -> None:
    base = ["finetune", "tiny", "--name", "tuned"]
    none = run(*base, "--reward", "gc")
    assert (none.exit_code, "no method: add --method NAME (known: " in none.stderr) == (2, True)
    assert "needs a reward to raise" in run(*base, "--method", "tb").stderr
    assert "no model to tune" in run("finetune", "--name", "x", "--method", "tb").stderr
    assert run(*line_for("tuned", prior="tinny")).exit_code == 4
    lost = plugin("return [float('nan') if s[0] in 'ACG' else 1.0 for s in sequences]", "lost")
    outcome = run(*line_for("tuned", reward=lost), "--alpha", 1, "-q")
    assert outcome.exit_code == 4
    assert "designs have no score" in outcome.stderr
    rules = run(*line_for("tuned", prior="base_pairs?structure=(((....)))"), "-q")
    assert (rules.exit_code, "nothing to train" in rules.stderr) == (2, True)
