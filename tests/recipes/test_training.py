"""The optimizer loop: a run is a function of task, settings and seed, however often stopped."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate import Accelerator
from safetensors import safe_open
from torch import Tensor, nn

from designkit.errors import DesignkitError, Interrupted, ModelError, UsageError
from designkit.randomness import Noise
from designkit.recipes.optimizer import OptimizerSettings
from designkit.recipes.training import (
    TrainingResult,
    as_stored,
    batch_rows,
    build_seeded,
    train,
    with_stored_weights,
)

SETTINGS = OptimizerSettings(
    updates=24,
    batch_size=6,
    learning_rate=0.02,
    warmup=3,
    ema_decay=0.9,
    evaluate_every=5,
    checkpoint_every=4,
)
EXAMPLES = 20


def network() -> nn.Module:
    """Dropout and batch statistics, which a resumed run must restore as well."""
    return build_seeded(
        lambda: nn.Sequential(
            nn.Linear(3, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.3), nn.Linear(8, 1)
        ),
        1,
    )


class Regression:
    """Noisy regression; ``losses`` may replace the validation loss by a script."""

    examples = EXAMPLES

    def __init__(self, losses: list[float] | None = None, poison: int | None = None):
        generator = torch.Generator().manual_seed(2)
        self.x = torch.randn(EXAMPLES, 3, generator=generator)
        self.y = self.x.sum(1, keepdim=True).sin()
        self.losses = losses
        self.poison = poison
        self.evaluations = 0
        self.rows: list[list[int]] = []

    def loss(self, module: nn.Module, rows: Tensor, noise: Noise) -> Tensor:
        self.rows.append(rows.tolist())
        assert torch.equal(noise.item, rows)
        jitter = noise.uniform("jitter", 3).float() - 0.5
        loss = (module(self.x[rows] + 0.1 * jitter) - self.y[rows]).square().squeeze(1)
        return loss * math.nan if noise.step == self.poison else loss

    def evaluate(self, module: nn.Module) -> dict[str, float]:
        self.evaluations += 1
        loss = float((module(self.x) - self.y).square().mean())
        if self.losses is not None:
            # By the update counter that the weights carry, so that resuming changes nothing.
            update = int(module[1].num_batches_tracked)  # type: ignore[index]
            loss = self.losses[update // SETTINGS.evaluate_every - 1]
        return {"loss": loss}


class Recorder:
    """Progress that keeps a copy of the weights after every update."""

    def __init__(self, module: nn.Module):
        self.module = module
        self.updates: list[int] = []
        self.weights: list[dict[str, Tensor]] = []

    def advance(self, update: int, metrics: Mapping[str, float]) -> None:
        self.updates.append(update)
        self.weights.append({k: v.clone() for k, v in self.module.state_dict().items()})


def run(
    folder: Path,
    *,
    task: Regression | None = None,
    settings: OptimizerSettings = SETTINGS,
    stop_at: int | None = None,
    **arguments: Any,
) -> TrainingResult:
    folder.mkdir(exist_ok=True)
    count = 0

    def should_stop() -> bool:
        nonlocal count
        count += 1
        return count == stop_at

    return train(
        arguments.pop("module", None) or network(),
        task or Regression(),
        settings,
        run_dir=folder,
        seed=7,
        accelerator=Accelerator(cpu=True),
        should_stop=should_stop,
        **arguments,
    )


def stored(path: Path) -> dict[str, Tensor]:
    with safe_open(path, framework="pt") as file:
        return {key: file.get_tensor(key) for key in file.keys()}


def assert_same(first: Mapping[str, Tensor], second: Mapping[str, Tensor]) -> None:
    assert first.keys() == second.keys()
    for key in first:
        assert torch.equal(first[key], second[key]), key


def assert_same_run(first: Path, second: Path) -> None:
    for name in ("last.safetensors", "best.safetensors"):
        assert_same(stored(first / name), stored(second / name))
    assert (first / "metrics.jsonl").read_text() == (second / "metrics.jsonl").read_text()


def test_a_run_learns_and_keeps_its_best_weights(tmp_path: Path) -> None:
    task = Regression()
    settings = SETTINGS.model_copy(update={"updates": 300, "evaluate_every": 25})
    with torch.no_grad():
        before = task.evaluate(network().eval())["loss"]
    result = run(tmp_path / "run", task=task, settings=settings)
    assert result.state.update == 300
    assert result.state.best_loss < 0.5 * before
    log = [json.loads(line) for line in (tmp_path / "run/metrics.jsonl").read_text().splitlines()]
    assert [line["update"] for line in log] == list(range(25, 301, 25))
    assert min(line["loss"] for line in log) == result.state.best_loss
    assert_same(result.weights, stored(tmp_path / "run/best.safetensors"))
    with torch.inference_mode():
        again = task.evaluate(with_stored_weights(network(), result.weights))["loss"]
    assert again == result.state.best_loss


@pytest.mark.parametrize("stops", [[1], [4], [5], [7, 1, 9], [20, 3], [1] * 23])
def test_a_resumed_run_ends_in_the_same_bits(tmp_path: Path, stops: list[int]) -> None:
    whole = run(tmp_path / "whole")
    for stop in stops:
        with pytest.raises(Interrupted, match="--resume continues"):
            run(tmp_path / "parts", stop_at=stop, resume=True)
    resumed = run(tmp_path / "parts", resume=True)
    assert resumed.resumed_from == sum(stops)
    assert_same(resumed.weights, whole.weights)
    assert resumed.state == whole.state
    assert_same_run(tmp_path / "parts", tmp_path / "whole")


def test_a_run_that_died_between_checkpoints_ends_in_the_same_bits(tmp_path: Path) -> None:
    """Updates after the last checkpoint are done again; log and best weights are put right."""

    class DiedError(Exception):
        pass

    class Fatal(Recorder):
        def advance(self, update: int, metrics: Mapping[str, float]) -> None:
            if update == 11:  # after the evaluation at 10, before the checkpoint at 12
                raise DiedError

    run(tmp_path / "whole")
    module = network()
    with pytest.raises(DiedError):
        run(tmp_path / "parts", module=module, progress=Fatal(module))
    resumed = run(tmp_path / "parts", resume=True)
    assert resumed.resumed_from == 8
    assert_same_run(tmp_path / "parts", tmp_path / "whole")


@pytest.mark.parametrize("stops", [[], [4], [14], [3, 8]])
def test_early_stop_is_the_same_after_interruptions(tmp_path: Path, stops: list[int]) -> None:
    losses = [3.0, 2.0, 2.5, 2.0, 1.0]  # no improvement at updates 15 and 20
    settings = SETTINGS.model_copy(update={"patience": 2})
    task = Regression(losses)
    for stop in stops:
        with pytest.raises(Interrupted):
            run(tmp_path / "run", task=task, settings=settings, stop_at=stop, resume=True)
    result = run(tmp_path / "run", task=task, settings=settings, resume=True)
    assert (result.state.update, result.state.best_update) == (20, 10)
    assert result.state.finished
    reference = tmp_path / "reference"
    module = network()
    recorder = Recorder(module)
    run(reference, task=Regression(losses), settings=settings, module=module, progress=recorder)
    assert_same_run(tmp_path / "run", reference)
    assert int(result.weights["1.num_batches_tracked"]) == 10


@pytest.mark.parametrize("patience", [0, 1])
def test_resuming_a_finished_run_does_nothing(tmp_path: Path, patience: int) -> None:
    losses = [2.0, 3.0, 3.0, 3.0, 3.0]
    settings = SETTINGS.model_copy(update={"patience": patience})
    first = run(tmp_path / "run", task=Regression(losses), settings=settings)
    files = {path.name: path.read_bytes() for path in (tmp_path / "run").iterdir()}
    task = Regression(losses)
    again = run(tmp_path / "run", task=task, settings=settings, resume=True)
    assert task.rows == []
    assert task.evaluations == 0
    assert again.resumed_from == first.state.update == (10 if patience else 24)
    assert_same(again.weights, first.weights)
    assert {path.name: path.read_bytes() for path in (tmp_path / "run").iterdir()} == files


def test_a_stop_at_the_last_update_is_no_interruption(tmp_path: Path) -> None:
    assert run(tmp_path / "run", stop_at=24).state.update == 24


def test_a_folder_with_a_run_is_not_overwritten(tmp_path: Path) -> None:
    run(tmp_path / "run")
    with pytest.raises(UsageError, match="--resume"):
        run(tmp_path / "run")


@pytest.mark.parametrize("damage", ["cut", "other network"])
def test_a_checkpoint_that_does_not_fit_is_refused(tmp_path: Path, damage: str) -> None:
    with pytest.raises(Interrupted):
        run(tmp_path / "run", stop_at=5)
    checkpoint = tmp_path / "run/last.safetensors"
    module = None
    if damage == "cut":
        checkpoint.write_bytes(checkpoint.read_bytes()[:-50])
    else:
        module = nn.Linear(3, 1)
    with pytest.raises(ModelError, match=r"last\.safetensors"):
        run(tmp_path / "run", module=module, resume=True)


def test_seeds_and_global_generators(tmp_path: Path) -> None:
    torch.manual_seed(0)
    before = torch.get_rng_state()
    first = run(tmp_path / "first")
    assert torch.equal(torch.get_rng_state(), before)
    torch.rand(5)
    second = run(tmp_path / "second")
    assert_same(first.weights, second.weights)


@pytest.mark.parametrize(
    ("examples", "batch"), [(20, 6), (20, 20), (7, 3), (5, 8), (3, 10), (12, 4)]
)
def test_every_epoch_has_each_example_once(examples: int, batch: int) -> None:
    settings = SETTINGS.model_copy(update={"batch_size": batch})
    updates = math.ceil(4 * examples / batch)
    rows = torch.cat([batch_rows(settings, examples, 3, update) for update in range(updates)])
    assert len(rows) == updates * batch
    epochs = rows[: 4 * examples].view(4, examples)
    assert torch.equal(epochs.sort(1).values, torch.arange(examples).expand(4, -1))
    assert len(epochs.unique(dim=0)) == 4
    other = torch.cat([batch_rows(settings, examples, 4, update) for update in range(updates)])
    assert not torch.equal(rows, other)


def test_training_sees_the_batches_in_order(tmp_path: Path) -> None:
    task = Regression()
    run(tmp_path / "run", task=task)
    expected = [batch_rows(SETTINGS, EXAMPLES, 7, update).tolist() for update in range(24)]
    assert task.rows == expected


def test_averaged_weights_are_the_moving_average(tmp_path: Path) -> None:
    module = network()
    recorder = Recorder(module)
    expected = {k: v.clone().double() for k, v in module.state_dict().items()}
    run(tmp_path / "run", module=module, progress=recorder)
    assert recorder.updates == list(range(1, 25))
    for update, weights in enumerate(recorder.weights):
        decay = min(0.9, (1 + update) / (10 + update))
        for key, value in weights.items():
            if value.is_floating_point():
                expected[key] = decay * expected[key] + (1 - decay) * value.double()
            else:
                expected[key] = value
    checkpoint = stored(tmp_path / "run/last.safetensors")
    for key, value in expected.items():
        averaged = checkpoint[f"averaged.{key}"]
        torch.testing.assert_close(averaged.double(), value.double(), rtol=1e-5, atol=1e-6)
        assert torch.equal(checkpoint[f"weights.{key}"], recorder.weights[-1][key])
    assert not torch.equal(checkpoint["averaged.0.weight"], checkpoint["weights.0.weight"])


def test_every_update_tells_that_weights_have_changed(tmp_path: Path) -> None:
    """Networks that keep packed copies of their weights renew them by version."""

    class Watch(Recorder):
        versions: list[int] = []  # noqa: RUF012

        def advance(self, update: int, metrics: Mapping[str, float]) -> None:
            self.versions.append(self.module[0].weight._version)

    module = network()
    watch = Watch(module)
    run(tmp_path / "run", module=module, progress=watch)
    assert watch.versions == sorted(set(watch.versions))
    assert len(watch.versions) == 24


def test_the_learning_rate_warms_up_and_falls() -> None:
    cosine = OptimizerSettings(updates=100, warmup=10, learning_rate=1.0)
    rates = [cosine.rate(update) for update in range(100)]
    assert rates[:10] == pytest.approx([(n + 1) / 10 for n in range(10)])
    assert max(rates) == pytest.approx(1.0)
    assert rates[10:] == sorted(rates[10:], reverse=True)
    assert rates[55] == pytest.approx(0.5)
    assert rates[-1] < 0.001
    constant = OptimizerSettings(schedule="constant", warmup=0, learning_rate=0.3)
    assert {constant.rate(update) for update in range(50)} == {0.3}


@pytest.mark.parametrize("poison", [0, 2, 9, 23])
def test_a_loss_that_is_not_finite_ends_the_run(tmp_path: Path, poison: int) -> None:
    with pytest.raises(DesignkitError, match="the loss is nan") as raised:
        run(tmp_path / "run", task=Regression(poison=poison))
    assert type(raised.value) is DesignkitError
    # What can be resumed are the weights before it.
    for path in (tmp_path / "run").glob("*.safetensors"):
        for key, tensor in stored(path).items():
            assert tensor.isfinite().all(), f"{path.name} {key}"


def test_a_stop_does_not_store_weights_that_are_not_finite(tmp_path: Path) -> None:
    with pytest.raises(DesignkitError, match="the loss is nan"):
        run(tmp_path / "run", task=Regression(poison=1), stop_at=3)
    assert not (tmp_path / "run/last.safetensors").exists()


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_validation_loss_that_is_never_finite_is_an_error(tmp_path: Path, value: float) -> None:
    with pytest.raises(DesignkitError, match="loss"):
        run(tmp_path / "run", task=Regression([value] * 5))


def test_stored_weights_are_what_is_read_back() -> None:
    weights = {"weight": torch.tensor([[1 / 3, 2.0]]), "bias": torch.tensor([0.1])}
    assert_same(as_stored(weights, "fp32"), weights)
    half = as_stored(weights, "fp16")
    assert {value.dtype for value in half.values()} == {torch.float16}
    read = with_stored_weights(nn.Linear(2, 1), half).state_dict()
    assert read["weight"].dtype == torch.float32
    assert torch.equal(read["weight"], half["weight"].float())


def test_initial_weights_depend_on_the_seed_alone() -> None:
    build: Callable[[], nn.Module] = lambda: nn.Linear(4, 4)  # noqa: E731
    before = torch.get_rng_state()
    first = build_seeded(build, 3).state_dict()
    assert torch.equal(torch.get_rng_state(), before)
    torch.rand(2)
    assert_same(build_seeded(build, 3).state_dict(), first)
    assert not torch.equal(build_seeded(build, 4).weight, first["weight"])
