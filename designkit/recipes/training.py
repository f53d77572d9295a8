"""The only optimizer loop: priors, predictors and fine-tuning all step through it.

A run is a function of (task, settings, seed). The order of the data, the noise of the loss, dropout
and the learning rate are all functions of the update number, so a checkpoint holds weights,
optimizer moments and that number, and a resumed run ends in the same weights bit for bit (on a CPU
with the same number of threads).
"""

from __future__ import annotations

import copy
import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import torch
from accelerate import Accelerator
from safetensors import safe_open
from safetensors.torch import save

from designkit.errors import DesignkitError, Interrupted, ModelError, UsageError
from designkit.randomness import Noise, noise_for

if TYPE_CHECKING:
    from torch import Tensor, nn

    from designkit.recipes.optimizer import OptimizerSettings

CHECKPOINT = "last.safetensors"
BEST = "best.safetensors"
METRICS = "metrics.jsonl"


class Task(Protocol):
    """What is trained: a loss over numbered examples, and a held-out evaluation."""

    examples: int

    def loss(self, module: nn.Module, rows: Tensor, noise: Noise) -> Tensor:
        """Loss (B,) of the examples ``rows`` (B,); ``noise`` has one item per example."""
        ...

    def evaluate(self, module: nn.Module) -> dict[str, float]:
        """Validation metrics.

        ``loss`` (lower is better) chooses the best weights; without one the newest are taken for
        the best. ``stop`` ends the run.
        """
        ...


class Progress(Protocol):
    """Where a run reports to."""

    def advance(self, update: int, metrics: Mapping[str, float]) -> None:
        """One update is done; ``metrics`` are the latest known."""
        ...


@dataclass
class State:
    """Where a run stands; stored in the checkpoint's header."""

    update: int = 0
    best_update: int = 0
    best_loss: float = math.inf
    since_best: int = 0
    finished: bool = False
    metrics: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class TrainingResult:
    """Weights with the best validation loss, and how the run went."""

    weights: dict[str, Tensor]
    state: State
    resumed_from: int


def batch_rows(settings: OptimizerSettings, examples: int, seed: int, update: int) -> Tensor:
    """Examples of one update: consecutive places in an endless row of shuffled epochs.

    Returns:
        (batch_size,) int64.
    """
    place = torch.arange(settings.batch_size) + update * settings.batch_size
    epochs = place // examples
    return torch.cat(
        [
            _epoch_order(examples, seed, epoch)[place[epochs == epoch] % examples]
            for epoch in epochs.unique().tolist()
        ]
    )


@lru_cache(maxsize=2)  # an update reaches into the next epoch at most, unless epochs are tiny
def _epoch_order(examples: int, seed: int, epoch: int) -> Tensor:
    return noise_for(seed, examples).at(epoch).uniform("epoch-order").argsort()


def train(
    module: nn.Module,
    task: Task,
    settings: OptimizerSettings,
    *,
    run_dir: Path,
    seed: int,
    accelerator: Accelerator,
    precision: str = "fp32",
    resume: bool = False,
    progress: Progress | None = None,
    should_stop: Callable[[], bool] = lambda: False,
) -> TrainingResult:
    """Train a module, keeping a checkpoint, the best weights and a log in ``run_dir``.

    Args:
        module: starts from its present weights unless a checkpoint is resumed.
        task: the loss and the evaluation.
        settings: of the optimizer.
        run_dir: existing folder for ``last.safetensors``, ``best.safetensors``, ``metrics.jsonl``.
        seed: of the data order, the noise and dropout.
        accelerator: device placement and gradient averaging over processes.
        precision: ``fp32`` or ``bf16`` (autocast).
        resume: continue from the checkpoint in ``run_dir``, if there is one.
        progress: told of every update.
        should_stop: asked after every update; True checkpoints and stops.

    Raises:
        Interrupted: ``should_stop`` said so.
        DesignkitError: the loss is not finite, or the validation loss never was.
        ModelError: a checkpoint that does not fit the module.
    """
    state = State()
    averaged = copy.deepcopy(module)
    # Scales, biases and norms are not pulled towards 0, only matrices.
    decayed = [p for p in module.parameters() if p.ndim > 1]
    others = [p for p in module.parameters() if p.ndim <= 1]
    optimizer = torch.optim.AdamW(
        [
            {"params": decayed, "weight_decay": settings.weight_decay},
            {"params": others, "weight_decay": 0.0},
        ],
        lr=settings.learning_rate,
        betas=settings.betas,
        fused=True,  # one pass over the weights: a third of the time on a CPU
    )
    if resume and (run_dir / CHECKPOINT).exists():
        state = load_checkpoint(run_dir / CHECKPOINT, module, averaged, optimizer)
    elif (run_dir / CHECKPOINT).exists():
        raise UsageError(f"{run_dir}: holds a run already; use --resume or another --run-dir")
    started = state.update
    _truncate_log(run_dir / METRICS, started)
    prepared, optimizer = accelerator.prepare(module, optimizer)
    averaged.to(accelerator.device)
    inner = accelerator.unwrap_model(prepared)
    share = slice(accelerator.process_index, None, accelerator.num_processes)

    def save() -> None:
        if accelerator.is_main_process:
            save_checkpoint(run_dir / CHECKPOINT, inner, averaged, optimizer.optimizer, state)

    with torch.random.fork_rng(devices=[]):
        while state.update < settings.updates and not state.finished:
            update = state.update
            rows = batch_rows(settings, task.examples, seed, update)[share].to(accelerator.device)
            torch.manual_seed((seed << 32) + update)  # dropout
            for group in optimizer.param_groups:
                group["lr"] = settings.rate(update)
            prepared.train()
            with torch.autocast(
                accelerator.device.type, torch.bfloat16, enabled=precision == "bf16"
            ):
                loss = task.loss(prepared, rows, Noise(seed, rows, update)).mean()
            optimizer.zero_grad()
            accelerator.backward(loss)
            accelerator.clip_grad_norm_(prepared.parameters(), settings.gradient_clip)
            optimizer.step()
            for parameter in inner.parameters():  # fused steps do not tell those who keep copies
                torch.autograd.graph.increment_version(parameter)
            _average(averaged, inner, min(settings.ema_decay, (1 + update) / (10 + update)))
            state.update += 1
            last = state.update == settings.updates
            if state.update % settings.evaluate_every == 0 or last:
                train_loss = _finite(loss, update)
                _evaluate(task, averaged, settings, state, run_dir, train_loss, accelerator)
            if progress is not None:
                progress.advance(state.update, state.metrics)
            stop = should_stop()
            if stop or last or state.finished or state.update % settings.checkpoint_every == 0:
                _finite(loss, update)  # a run cannot be resumed from weights that are not numbers
                save()
            if stop and not (last or state.finished):
                raise Interrupted(f"stopped at update {state.update}; --resume continues")
    accelerator.wait_for_everyone()
    if "loss" in state.metrics and not math.isfinite(state.best_loss):
        raise DesignkitError(f"{run_dir}: no evaluation gave a finite validation loss")
    return TrainingResult(_read(run_dir / BEST), state, started)


def _finite(loss: Tensor, update: int) -> float:
    value = loss.item()
    if not math.isfinite(value):
        raise DesignkitError(f"update {update}: the loss is {value}; lower optimizer.learning_rate")
    return value


def _evaluate(
    task: Task,
    averaged: nn.Module,
    settings: OptimizerSettings,
    state: State,
    run_dir: Path,
    train_loss: float,
    accelerator: Accelerator,
) -> None:
    averaged.eval()
    with torch.inference_mode():
        state.metrics = {"train_loss": train_loss, **task.evaluate(averaged)}
    loss = state.metrics.get("loss")
    if loss is None or loss < state.best_loss:
        state.best_loss = math.inf if loss is None else loss
        state.best_update, state.since_best = state.update, 0
        if accelerator.is_main_process:
            _write(run_dir / BEST, averaged.state_dict(), {})
    else:
        state.since_best += 1
    tired = 0 < settings.patience <= state.since_best
    state.finished = tired or bool(state.metrics.get("stop"))
    if accelerator.is_main_process:
        with (run_dir / METRICS).open("a") as log:
            log.write(json.dumps({"update": state.update, **state.metrics}) + "\n")


def _average(averaged: nn.Module, current: nn.Module, decay: float) -> None:
    with torch.no_grad():
        for target, source in zip(
            averaged.state_dict().values(), current.state_dict().values(), strict=True
        ):
            if target.is_floating_point():
                target.lerp_(source, 1 - decay)
            else:
                target.copy_(source)


def _truncate_log(path: Path, update: int) -> None:
    if path.exists():
        kept = [line for line in path.read_text().splitlines() if _update_of(line) <= update]
        path.write_text("".join(line + "\n" for line in kept))


def _update_of(line: str) -> float:
    try:
        return float(json.loads(line)["update"])
    except (ValueError, KeyError):
        return math.inf


def _write(path: Path, tensors: Mapping[str, Tensor], header: Mapping[str, str]) -> None:
    part = path.with_name(path.name + ".part")
    part.write_bytes(save({k: v.contiguous() for k, v in tensors.items()}, dict(header)))
    part.replace(path)


def _read(path: Path) -> dict[str, Tensor]:
    with safe_open(path, framework="pt") as file:
        return {key: file.get_tensor(key) for key in file.keys()}


def save_checkpoint(
    path: Path,
    module: nn.Module,
    averaged: nn.Module,
    optimizer: torch.optim.Optimizer,
    state: State,
) -> None:
    """Write weights, averaged weights, optimizer moments and the state, atomically."""
    tensors = {f"weights.{k}": v for k, v in module.state_dict().items()}
    tensors |= {f"averaged.{k}": v for k, v in averaged.state_dict().items()}
    for number, moments in optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer.{number}.{k}": v for k, v in moments.items()}
    _write(path, tensors, {"state": json.dumps(vars(state))})


def load_checkpoint(
    path: Path, module: nn.Module, averaged: nn.Module, optimizer: torch.optim.Optimizer
) -> State:
    """Read what ``save_checkpoint`` wrote into the given objects.

    Raises:
        ModelError: the file is damaged or belongs to another network.
    """
    try:
        tensors = _read(path)
        with safe_open(path, framework="pt") as file:
            state = State(**json.loads(file.metadata()["state"]))
        for name, target in (("weights.", module), ("averaged.", averaged)):
            target.load_state_dict(
                {k.removeprefix(name): v for k, v in tensors.items() if k.startswith(name)}
            )
        moments: dict[int, dict[str, Tensor]] = {}
        for key, value in tensors.items():
            if key.startswith("optimizer."):
                _, number, field_name = key.split(".")
                moments.setdefault(int(number), {})[field_name] = value
        optimizer.load_state_dict({**optimizer.state_dict(), "state": moments})
    except Exception as error:
        raise ModelError(
            f"{path}: not a checkpoint of this run ({str(error).splitlines()[0]}); "
            "use the settings it was started with, or start again in another --run-dir"
        ) from error
    return state


def build_seeded(build: Callable[[], nn.Module], seed: int) -> nn.Module:
    """A network whose initial weights depend on the seed alone; the global generator is kept."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return build()


def as_stored(weights: Mapping[str, Tensor], precision: str) -> dict[str, Tensor]:
    """Weights as they go to disk: ``fp32`` as they are, ``fp16`` rounded."""
    half = precision == "fp16"
    return {k: v.half() if half and v.is_floating_point() else v for k, v in weights.items()}


def with_stored_weights(network: nn.Module, weights: Mapping[str, Tensor]) -> nn.Module:
    """The network as it will be read back, so that figures are of what is stored."""
    full = {k: v.float() if v.is_floating_point() else v for k, v in weights.items()}
    network.load_state_dict(full)
    return network.eval()
