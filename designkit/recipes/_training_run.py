"""What every command that trains does around the optimizer loop: folder, processes, registry.

A run lives in a folder: ``run.json`` says what it is, so that nothing else is continued there;
``registered.json`` names the model once it is in the registry.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from designkit.errors import OutputError, UsageError
from designkit.io.provenance import write_json_atomic
from designkit.recipes.runtime import draw_seed, set_threads, stop_on_signals

if TYPE_CHECKING:
    import torch
    from accelerate import Accelerator
    from torch import Tensor, nn

    from designkit.recipes.console import Console
    from designkit.recipes.optimizer import OptimizerSettings
    from designkit.recipes.options import RunOptions
    from designkit.recipes.training import Progress, TrainingResult
    from designkit.registry.store import StoredModel

RUN_FILE = "run.json"
REGISTERED_FILE = "registered.json"


def silent(line: str) -> None:
    """Say nothing."""


def never() -> bool:
    """Do not stop."""
    return False


@dataclass(frozen=True)
class Reporting:
    """Whom a run tells what, and who may stop it.

    Attributes:
        progress: makes the progress display of a title and a number of updates.
        say: told what happens, line by line.
        should_stop: True checkpoints and raises ``Interrupted``.
    """

    progress: Callable[[str, int], Progress] | None = None
    say: Callable[[str], None] = silent
    should_stop: Callable[[], bool] = never


@dataclass
class TrainingRun:
    """A run in its folder.

    Attributes:
        name: of the model.
        folder: for checkpoints and logs.
        seed: of everything random.
        resume: continue what the folder holds.
        reporting: see there; that of the main process.
        accelerator: the processes.
        precision: arithmetic of training.
    """

    name: str
    folder: Path
    seed: int
    resume: bool
    reporting: Reporting
    accelerator: Accelerator
    precision: str

    @classmethod
    def start(
        cls,
        name: str,
        folder: Path,
        described: Mapping[str, Any],
        device: torch.device,
        *,
        resume: bool,
        reporting: Reporting,
        precision: str,
    ) -> TrainingRun:
        """Claim the folder, or check that it holds this very run.

        Args:
            name: of the model.
            folder: of the run.
            described: what makes it this run, JSON values, ``seed`` among them.
            device: to train on.
            resume: continue what the folder holds.
            reporting: see there.
            precision: arithmetic of training.

        Raises:
            UsageError: the folder holds another run, or one that is not to be resumed.
            OutputError: it cannot be written.
        """
        from accelerate import Accelerator

        accelerator = Accelerator(cpu=device.type == "cpu")
        if accelerator.is_main_process:
            _claim(folder, described, resume)
        accelerator.wait_for_everyone()
        if not accelerator.is_main_process:  # the main process speaks
            reporting = Reporting(should_stop=reporting.should_stop)
        seed = saved_seed(folder)  # that of the main process is everyone's
        assert seed is not None
        return cls(name, folder, seed, resume, reporting, accelerator, precision)

    def fit(
        self,
        title: str,
        module: nn.Module,
        task: Any,
        optimizer: OptimizerSettings,
        folder: Path,
        seed: int,
    ) -> TrainingResult:
        """Train a module on a task in a folder of the run.

        Raises:
            Interrupted: stopped; resuming continues.
        """
        from designkit.recipes.training import train

        folder.mkdir(parents=True, exist_ok=True)
        display = self.reporting.progress
        result = train(
            module,
            task,
            optimizer,
            run_dir=folder,
            seed=seed,
            accelerator=self.accelerator,
            precision=self.precision,
            resume=self.resume,
            progress=display(title, optimizer.updates) if display else None,
            should_stop=self.reporting.should_stop,
        )
        state = result.state
        best = "the last weights are kept"
        if math.isfinite(state.best_loss):
            best = f"best validation loss {state.best_loss:.4f} at update {state.best_update}"
        self.reporting.say(f"{title}: {state.update} updates, {best}")
        return result

    def register(
        self, weights: Mapping[str, Tensor], card: dict[str, Any], readme: str
    ) -> StoredModel:
        """Put the trained model into the registry, once for all processes."""
        from designkit.registry.store import Registry

        finished = self.folder / REGISTERED_FILE
        if self.accelerator.is_main_process:
            stored = Registry().save(self.name, card, weights, readme)
            write_json_atomic(finished, {"model": f"{stored.name}@{stored.version}"})
        self.accelerator.wait_for_everyone()
        if not self.accelerator.is_main_process:
            stored = Registry().find(json.loads(finished.read_text())["model"])
        return stored


def train_and_tell(
    options: RunOptions,
    console: Console,
    *,
    seed: int,
    folder: Path,
    train: Callable[[Reporting], StoredModel],
) -> None:
    """Train under the options of a command, and say where the model is.

    Args:
        options: of the command.
        console: told what happens.
        seed: of the run.
        folder: of the run.
        train: given whom to tell, and who may stop it.

    Raises:
        Interrupted: stopped; resuming continues.
    """
    console.say(f"seed {seed}, run in {folder}")
    set_threads(options.threads)
    with stop_on_signals(options.seconds) as stop:
        stored = train(Reporting(console.progress, console.say, stop))
    console.say(f"saved {stored.name}@{stored.version} in {stored.path}")
    console.say((stored.path / "README.md").read_text())


def finished_model(
    folder: Path, described: Mapping[str, Any], say: Callable[[str], None]
) -> StoredModel | None:
    """The model of a run that is finished already, None where there is work left.

    Raises:
        UsageError: the folder holds another run.
    """
    from designkit.registry.store import Registry

    finished = folder / REGISTERED_FILE
    if not finished.exists():
        return None
    check_same_run(folder, described)
    stored = Registry().find(json.loads(finished.read_text())["model"])
    say(f"{folder}: finished already; the model is {stored.name}@{stored.version}")
    return stored


def check_same_run(folder: Path, described: Mapping[str, Any]) -> None:
    """Refuse to continue a folder with what would train another model.

    Raises:
        UsageError: names what differs.
    """
    before = json.loads((folder / RUN_FILE).read_text())
    changed = [key for key in described if before.get(key) != described[key]]
    if changed:
        raise UsageError(
            f"{folder}: the run there differs in {', '.join(changed)}; "
            "resume it with what it was started with, or use another --run-dir"
        )


def seed_of(asked: int | None, folder: Path, *, resume: bool) -> int:
    """The seed that was asked for, that of the run to be resumed, or a new one."""
    return draw_seed(saved_seed(folder) if asked is None and resume else asked)


def saved_seed(folder: Path) -> int | None:
    """The seed of the run in a folder, so that resuming needs no --seed."""
    try:
        return int(json.loads((folder / RUN_FILE).read_text())["seed"])
    except (OSError, ValueError, KeyError):
        return None


def _claim(folder: Path, described: Mapping[str, Any], resume: bool) -> None:
    path = folder / RUN_FILE
    if path.exists():
        if not resume:
            raise UsageError(f"{folder}: holds a run already; use --resume, or another --run-dir")
        check_same_run(folder, described)
        return
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_json_atomic(path, dict(described))
    except OSError as error:
        raise OutputError(f"cannot write {folder}: {error.strerror}") from error
