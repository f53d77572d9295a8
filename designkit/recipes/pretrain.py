"""``designkit pretrain``: train a prior or a predictor, judge it on held-out rows, register it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import designkit
from designkit import plugins
from designkit.errors import ConfigurationError, UsageError
from designkit.io.alphabets import load_alphabet
from designkit.models._counted import CountedSettings
from designkit.models._rules import RuleSettings
from designkit.recipes._training_run import (
    Reporting,
    TrainingRun,
    finished_model,
    seed_of,
    train_and_tell,
)
from designkit.recipes.console import Console
from designkit.recipes.options import RunOptions
from designkit.recipes.pretrain_settings import PretrainSettings
from designkit.registry.store import check_name
from designkit.settings import Layer, validate

if TYPE_CHECKING:
    from torch import nn

    from designkit.alphabet import Alphabet
    from designkit.diffusion.base import DiffusionProcess
    from designkit.models.base import DenoiserSettings
    from designkit.recipes._training_data import TrainingData
    from designkit.recipes.training import TrainingResult
    from designkit.registry.store import StoredModel


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
    merged: Layer, *, sources: Sequence[str], name: str, run_dir: Path, seed: int
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
    for key in ("architecture", "process"):
        if isinstance(merged.data.get(key), str):
            merged.data[key] = {"name": merged.data[key]}
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
            made[key] = make_part(group, merged, key, {**fields, **size})
        except ConfigurationError as error:
            problems += error.problems
    if "process" in made and "architecture" in made:
        made["architecture"], untimed = _with_time(made["architecture"], made["process"], merged)
        problems += untimed
    if settings is not None:
        problems += _unusable_settings(settings, merged)
    if settings is None or problems:
        raise ConfigurationError(problems)
    process = None
    if settings.kind == "prior":

        def process(size: int) -> DiffusionProcess:
            fields = {**settings.process, "size": size}
            made: DiffusionProcess = make_part("designkit.processes", merged, "process", fields)
            return made

    return PretrainRequest(
        settings, made["architecture"], process, tuple(sources), name, run_dir, seed
    )


def _with_time(
    architecture: DenoiserSettings, process: DiffusionProcess, merged: Layer
) -> tuple[DenoiserSettings, list[str]]:
    """The network, told the time if its noise process needs that; and what is wrong with it."""
    if process.needs_time and isinstance(architecture, CountedSettings):
        where, noise = merged.origin(("process",)), type(process).__name__.lower()
        return architecture, [f"{where}: process: with {noise} noise there is nothing to count"]
    if not process.needs_time or architecture.time_conditioned:
        return architecture, []
    if "time_conditioned" in architecture.model_fields_set:
        where = merged.origin(("architecture", "time_conditioned"))
        return architecture, [
            f"{where}: architecture.time_conditioned: {type(process).__name__.lower()} noise needs "
            "a denoiser that knows the time; leave it out or say true"
        ]
    return architecture.model_copy(update={"time_conditioned": True}), []


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


def make_part(group: str, merged: Layer, key: str, fields: dict[str, Any]) -> Any:
    """The settings of the network or process that a key of the configuration names.

    Raises:
        ConfigurationError: no name, or settings that it does not have.
        UsageError: there is none of that name.
    """
    own = dict(fields)
    if "name" not in own:
        raise ConfigurationError([f"{merged.origin((key,))}: {key}.name is missing"])
    name = str(own.pop("name"))
    plugin = plugins.find(group, name)
    if issubclass(plugin, RuleSettings):
        why = f"{name} is rules, with nothing to train; draw from --model '{name}?...'"
        raise ConfigurationError([f"{merged.origin((key,))}: {key}.name: {why}"])
    return validate(plugin, Layer(key, own, merged.at(key).origins), key)


def pretrain(
    request: PretrainRequest,
    *,
    device: str,
    resume: bool,
    reporting: Reporting,
) -> StoredModel:
    """Train, judge and register a model.

    Args:
        request: what to train.
        device: as in ``runtime.choose_device``.
        resume: continue the run in the request's folder; a finished one returns its model.
        reporting: whom to tell, and who may stop it.

    Raises:
        InputError: unusable data.
        ConfigurationError: a network that cannot read the longest sequence.
        UsageError: the folder holds another run.
        Interrupted: stopped; ``resume`` continues.
    """
    from designkit.recipes._card import card_text
    from designkit.recipes._training_data import check_parts, load_training_data
    from designkit.recipes.runtime import choose_device, choose_precision

    settings = request.settings
    described = _description(request)
    stored = finished_model(request.run_dir, described, reporting.say) if resume else None
    if stored is not None:
        return stored
    target = choose_device(device)
    precision = choose_precision(settings.precision, target, training=True)
    alphabet = load_alphabet(settings.alphabet)
    data = load_training_data(request.sources, settings, alphabet)
    reporting.say(_describe_data(data))
    check_parts(data, list(settings.data.labels))
    _check_network(request, data, alphabet)
    run = TrainingRun.start(
        request.name,
        request.run_dir,
        {**described, "data": data.files, "precision": precision},
        target,
        resume=resume,
        reporting=reporting,
        precision=precision,
    )
    request = replace(request, seed=run.seed)
    if settings.kind == "prior":
        from designkit.recipes._prior import train_prior as trainer
    else:
        from designkit.recipes._predictor import train_predictor as trainer

    def fit(title: str, module: nn.Module, task: Any, folder: Path, seed: int) -> TrainingResult:
        return run.fit(title, module, task, settings.optimizer, folder, seed)

    weights, card = trainer(request, data, alphabet, fit)
    card |= _common_card(request, data, precision)
    return run.register(weights, card, card_text(request.name, card))


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


def _description(request: PretrainRequest) -> dict[str, Any]:
    return {
        "name": request.name,
        "settings": request.settings.model_dump(mode="json"),
        "architecture": request.architecture.model_dump(mode="json"),
        "seed": request.seed,
    }


def run_pretrain(
    options: RunOptions, *, sources: Sequence[str], name: str, run_dir: str | None, resume: bool
) -> None:
    """The command: resolve everything, train, say where the model is."""
    merged = options.configuration("pretrain")
    if merged.data.get("kind") == "value":
        from designkit.recipes.pretrain_value import run_pretrain_value

        if sources:
            raise UsageError("--data: a value network learns from what its prior writes")
        run_pretrain_value(options, merged, name=name, run_dir=run_dir, resume=resume)
        return
    if "prior" in merged.data:
        raise UsageError("--prior trains a value network: leave out --label")
    if not sources:
        raise UsageError("no training data: add --data FILE")
    folder = Path(run_dir) if run_dir else Path("runs") / name
    seed = seed_of(options.seed, folder, resume=resume)
    request = resolve_request(merged, sources=sources, name=name, run_dir=folder, seed=seed)
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

    def train(reporting: Reporting) -> StoredModel:
        return pretrain(request, device=options.device, resume=resume, reporting=reporting)

    train_and_tell(options, console, seed=request.seed, folder=request.run_dir, train=train)
