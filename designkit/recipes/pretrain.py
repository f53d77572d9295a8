"""``designkit pretrain``: train a prior or a predictor, judge it on held-out rows, register it."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import designkit
from designkit import plugins
from designkit.errors import ConfigurationError, OutputError, UsageError
from designkit.io.alphabets import load_alphabet
from designkit.recipes.console import Console
from designkit.recipes.options import RunOptions
from designkit.recipes.pretrain_settings import PretrainSettings
from designkit.recipes.runtime import draw_seed, set_threads, stop_on_signals
from designkit.registry.store import check_name
from designkit.settings import Layer, validate

if TYPE_CHECKING:
    from torch import nn

    from designkit.alphabet import Alphabet
    from designkit.diffusion.base import DiffusionProcess
    from designkit.recipes._training_data import TrainingData
    from designkit.recipes.training import Progress, TrainingResult
    from designkit.registry.store import StoredModel

RUN_FILE = "run.json"
REGISTERED_FILE = "registered.json"


@dataclass(frozen=True)
class PretrainRequest:
    """One training run.

    Attributes:
        settings: what determines the model.
        architecture: settings of the network, a DenoiserSettings or PredictorSettings.
        process: makes the noise process of an alphabet size; None for a predictor.
        sources: training files.
        name: of the model in the registry.
        run_dir: for checkpoints and logs.
        seed: of everything random.
    """

    settings: PretrainSettings
    architecture: Any
    process: Callable[[int], DiffusionProcess] | None
    sources: Sequence[str]
    name: str
    run_dir: Path
    seed: int


def resolve_request(
    merged: Layer, *, sources: Sequence[str], name: str, run_dir: str | None, seed: int
) -> PretrainRequest:
    """Check the whole configuration, networks included, without importing torch.

    Raises:
        ConfigurationError: every problem found.
        UsageError: unknown names.
    """
    check_name(name)
    problems: list[str] = []
    parts = {"architecture": "designkit.denoisers", "process": "designkit.processes"}
    if merged.data.get("kind") == "predictor":
        parts = {"architecture": "designkit.predictors"}
    made: dict[str, Any] = {}
    settings = None
    try:
        settings = validate(PretrainSettings, merged)
    except ConfigurationError as error:
        problems += error.problems
    for key, group in parts.items():
        default = PretrainSettings.model_fields[key].get_default(call_default_factory=True)
        fields = merged.data.get(key, default)
        if not isinstance(fields, dict):  # listed already
            continue
        try:
            size = {"size": 2} if key == "process" else {}
            made[key] = _component(group, merged, key, {**fields, **size})
        except ConfigurationError as error:
            problems += error.problems
    if settings is not None:
        problems += _unusable_settings(settings, merged)
    if settings is None or problems:
        raise ConfigurationError(problems)
    process = None
    if settings.kind == "prior":

        def process(size: int) -> DiffusionProcess:
            fields = {**settings.process, "size": size}
            made: DiffusionProcess = _component("designkit.processes", merged, "process", fields)
            return made

    folder = Path(run_dir) if run_dir else Path("runs") / name
    return PretrainRequest(
        settings, made["architecture"], process, tuple(sources), name, folder, seed
    )


def _unusable_settings(settings: PretrainSettings, merged: Layer) -> list[str]:
    """Problems that would otherwise show only after all training."""
    problems = []
    if not settings.split.by.startswith("column:"):
        for part, why in (
            ("valid", "best weights are chosen by"),
            ("test", "figures on the card are of"),
        ):
            if getattr(settings.split, part) == 0:
                problems.append(
                    f"{merged.origin(('split', part))}: split.{part}: must be above 0; "
                    f"the {why} held-out rows"
                )
    alphabet = load_alphabet(settings.alphabet)
    if settings.reverse_complement and not alphabet.complement:
        problems.append(
            f"{merged.origin(('reverse_complement',))}: reverse_complement: "
            f"the {alphabet.name} alphabet has no complement"
        )
    return problems


def _component(group: str, merged: Layer, key: str, fields: dict[str, Any]) -> Any:
    own = dict(fields)
    if "name" not in own:
        raise ConfigurationError([f"{merged.origin((key,))}: {key}.name is missing"])
    plugin = plugins.find(group, str(own.pop("name")))
    return validate(plugin, Layer(key, own, merged.at(key).origins), key)


def pretrain(
    request: PretrainRequest,
    *,
    device: str = "auto",
    resume: bool = False,
    progress: Callable[[str, int], Progress] | None = None,
    say: Callable[[str], None] = lambda line: None,
    should_stop: Callable[[], bool] = lambda: False,
) -> StoredModel:
    """Train, judge and register a model.

    Args:
        request: what to train.
        device: as in ``runtime.choose_device``.
        resume: continue the run in the request's folder; a finished one returns its model.
        progress: makes the progress display of a title and a number of updates.
        say: told what happens, line by line.
        should_stop: True checkpoints and raises ``Interrupted``.

    Raises:
        InputError: unusable data.
        ConfigurationError: a network that cannot read the longest sequence.
        UsageError: the folder holds another run.
        Interrupted: stopped; ``resume`` continues.
    """
    from accelerate import Accelerator

    from designkit.recipes._training_data import check_parts, load_training_data
    from designkit.recipes.runtime import choose_device, choose_precision
    from designkit.registry.store import Registry

    settings = request.settings
    finished = request.run_dir / REGISTERED_FILE
    if resume and finished.exists():
        _check_same_run(request.run_dir, _description(request))
        stored = Registry().find(json.loads(finished.read_text())["model"])
        say(f"{request.run_dir}: finished already; the model is {stored.name}@{stored.version}")
        return stored
    target = choose_device(device)
    precision = choose_precision(settings.precision, target, training=True)
    alphabet = load_alphabet(settings.alphabet)
    data = load_training_data(request.sources, settings, alphabet)
    say(_describe_data(data))
    check_parts(data, list(settings.data.labels))
    _check_network(request, data, alphabet)
    accelerator = Accelerator(cpu=target.type == "cpu")
    if accelerator.is_main_process:
        _claim_run_dir(request, data, precision, resume)
    accelerator.wait_for_everyone()
    if not accelerator.is_main_process:  # the main process speaks, and its seed is everyone's
        request = replace(
            request, seed=json.loads((request.run_dir / RUN_FILE).read_text())["seed"]
        )
        progress, say = None, _silent
    if settings.kind == "prior":
        from designkit.recipes._prior import train_prior as trainer
    else:
        from designkit.recipes._predictor import train_predictor as trainer

    def fit(title: str, module: nn.Module, task: Any, folder: Path, seed: int) -> TrainingResult:
        from designkit.recipes.training import train

        folder.mkdir(parents=True, exist_ok=True)
        display = progress(title, settings.optimizer.updates) if progress else None
        result = train(
            module,
            task,
            settings.optimizer,
            run_dir=folder,
            seed=seed,
            accelerator=accelerator,
            precision=precision,
            resume=resume,
            progress=display,
            should_stop=should_stop,
        )
        state = result.state
        say(
            f"{title}: {state.update} updates, best validation loss {state.best_loss:.4f} "
            f"at update {state.best_update}"
        )
        return result

    weights, card = trainer(request, data, alphabet, fit)
    card |= _common_card(request, data, precision)
    from designkit.recipes._card import card_text

    if accelerator.is_main_process:
        stored = Registry().save(request.name, card, weights, card_text(request.name, card))
        _write_json(finished, {"model": f"{stored.name}@{stored.version}"})
    accelerator.wait_for_everyone()
    if not accelerator.is_main_process:
        stored = Registry().find(json.loads(finished.read_text())["model"])
    return stored


def _silent(line: str) -> None:
    """Say nothing."""


def _common_card(request: PretrainRequest, data: TrainingData, precision: str) -> dict[str, Any]:
    settings = request.settings
    return {
        "alphabet": load_alphabet(settings.alphabet).to_dict(),
        "architecture": {
            "name": settings.architecture["name"],
            **request.architecture.model_dump(mode="json"),
        },
        "training": {
            "data": data.files,
            "rows": data.counts,
            "split": {"by": settings.split.by, "part": list(settings.split.part), **data.split},
            "seed": request.seed,
            "precision": precision,
            "settings": settings.model_dump(mode="json", exclude={"card"}),
        },
        "parent": None,
        "method": "pretrain",
        "rewards": [],
        "licence": settings.card.licence,
        "summary": settings.card.summary,
        "notes": settings.card.notes,
        "source": settings.card.source,
        "tool_version": designkit.__version__,
    }


def _describe_data(data: TrainingData) -> str:
    counts = ", ".join(f"{number} {what}" for what, number in data.counts.items())
    parts = ", ".join(
        f"{name} {data.split[name]['rows']} rows in {data.split[name]['groups']} groups"
        for name in ("train", "valid", "test")
    )
    return f"rows: {counts}\nsplit: {parts}"


def _check_network(request: PretrainRequest, data: TrainingData, alphabet: Alphabet) -> None:
    """Refuse sizes with which the network cannot read the sequences."""
    longest = int(data.lengths.max())
    canvas = longest + sum(len(alphabet.split(flank)) for flank in request.settings.flanks)
    positions = getattr(request.architecture, "positions", 0)
    pool = getattr(request.architecture, "pool", 1)
    if 0 < positions < longest:
        raise ConfigurationError(
            [f"architecture.positions: {positions}, but the longest sequence has {longest} letters"]
        )
    if pool > canvas:
        raise ConfigurationError(
            [f"architecture.pool: {pool}, but sequences have at most {canvas} letters"]
        )


def _claim_run_dir(
    request: PretrainRequest, data: TrainingData, precision: str, resume: bool
) -> None:
    """Write what the run is, or check that the folder holds this very run."""
    described = {**_description(request), "data": data.files, "precision": precision}
    path = request.run_dir / RUN_FILE
    if path.exists():
        if not resume:
            raise UsageError(
                f"{request.run_dir}: holds a run already; use --resume, or another --run-dir"
            )
        _check_same_run(request.run_dir, described)
        return
    try:
        request.run_dir.mkdir(parents=True, exist_ok=True)
        _write_json(path, described)
    except OSError as error:
        raise OutputError(f"cannot write {request.run_dir}: {error.strerror}") from error


def _description(request: PretrainRequest) -> dict[str, Any]:
    return {
        "name": request.name,
        "settings": request.settings.model_dump(mode="json"),
        "architecture": request.architecture.model_dump(mode="json"),
        "seed": request.seed,
    }


def _check_same_run(folder: Path, described: dict[str, Any]) -> None:
    before = json.loads((folder / RUN_FILE).read_text())
    changed = [key for key in described if before.get(key) != described[key]]
    if changed:
        raise UsageError(
            f"{folder}: the run there differs in {', '.join(changed)}; "
            "resume it with what it was started with, or use another --run-dir"
        )


def _write_json(path: Path, fields: dict[str, Any]) -> None:
    from designkit.io.provenance import write_json_atomic

    write_json_atomic(path, fields)


def run_pretrain(
    options: RunOptions, *, sources: Sequence[str], name: str, run_dir: str | None, resume: bool
) -> None:
    """The command: resolve everything, train, say where the model is."""
    seed = options.seed
    if seed is None and resume:
        seed = _saved_seed(Path(run_dir) if run_dir else Path("runs") / name)
    request = resolve_request(
        options.configuration(), sources=sources, name=name, run_dir=run_dir, seed=draw_seed(seed)
    )
    console = Console(options.quiet)
    if options.dry_run:
        console.show(
            {
                "name": name,
                "run_dir": str(request.run_dir),
                "seed": request.seed,
                "device": options.device,
                "settings": request.settings.model_dump(mode="json"),
                "architecture": request.architecture.model_dump(mode="json"),
            }
        )
        return
    console.say(f"seed {request.seed}, run in {request.run_dir}")
    set_threads(options.threads)
    with stop_on_signals(options.seconds) as stop:
        stored = pretrain(
            request,
            device=options.device,
            resume=resume,
            progress=console.progress,
            say=console.say,
            should_stop=stop,
        )
    console.say(f"saved {stored.name}@{stored.version} in {stored.path}")
    console.say((stored.path / "README.md").read_text())


def _saved_seed(folder: Path) -> int | None:
    """The seed of the run in a folder, so that resuming needs no --seed."""
    try:
        return int(json.loads((folder / RUN_FILE).read_text())["seed"])
    except (OSError, ValueError, KeyError):
        return None
