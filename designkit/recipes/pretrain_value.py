"""``designkit pretrain`` of a value network: draw roll-outs, score them, learn, register."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import designkit
from designkit.errors import ConfigurationError, UsageError
from designkit.recipes._training_run import (
    Reporting,
    TrainingRun,
    finished_model,
    seed_of,
    train_and_tell,
)
from designkit.recipes.console import Console
from designkit.recipes.objective import load_rewards, make_engine, reference_of, rewards_record
from designkit.recipes.options import RunOptions
from designkit.recipes.pretrain import make_part
from designkit.recipes.value_settings import ValueSettings
from designkit.registry.store import check_name
from designkit.settings import Layer, validate

if TYPE_CHECKING:
    from designkit.models.base import DiffusionModel
    from designkit.recipes._rollouts import Rollouts
    from designkit.registry.store import StoredModel


@dataclass(frozen=True)
class ValueRequest:
    """One training run of a value network.

    Attributes:
        settings: what determines the network.
        architecture: a ``PredictorSettings``.
        name: of the model in the registry.
        run_dir: for roll-outs, checkpoints and logs.
        seed: of everything random.
    """

    settings: ValueSettings
    architecture: Any
    name: str
    run_dir: Path
    seed: int

    def described(self) -> dict[str, Any]:
        """What makes it this run, as JSON values."""
        return {
            "name": self.name,
            "settings": self.settings.model_dump(mode="json", exclude={"cache"}),
            "architecture": self.architecture.model_dump(mode="json"),
            "seed": self.seed,
        }


def resolve_value_request(merged: Layer, *, name: str, run_dir: Path, seed: int) -> ValueRequest:
    """Check the whole configuration without importing torch.

    Raises:
        ConfigurationError: every problem found.
        UsageError: unknown names.
    """
    check_name(name)
    problems: list[str] = []
    settings = architecture = None
    try:
        settings = validate(ValueSettings, merged)
    except ConfigurationError as error:
        problems += error.problems
    default = ValueSettings.model_fields["architecture"].get_default(call_default_factory=True)
    fields = merged.data.get("architecture", default)
    if isinstance(fields, dict):
        try:
            architecture = make_part("designkit.predictors", merged, "architecture", fields)
        except ConfigurationError as error:
            problems += error.problems
    if settings is None or problems:
        raise ConfigurationError(problems)
    return ValueRequest(settings, architecture, name, run_dir, seed)


def pretrain_value(
    request: ValueRequest, *, device: str, resume: bool, reporting: Reporting
) -> StoredModel:
    """Draw and score roll-outs, train a value network on them, judge and register it.

    Args:
        request: what to train.
        device: as in ``runtime.choose_device``.
        resume: continue the run in the request's folder; a finished one returns its model.
        reporting: whom to tell, and who may stop it.

    Raises:
        ConfigurationError: a network that cannot read the prior's states.
        Interrupted: stopped; ``resume`` continues.
        UsageError: the folder holds another run, rewards that compare designs with each other.
    """
    from designkit.recipes._rollouts import load_rollouts
    from designkit.recipes._value import train_value
    from designkit.recipes._value_card import value_card_text
    from designkit.recipes.runtime import choose_device, choose_precision
    from designkit.registry.build import load_diffusion_model
    from designkit.registry.store import Registry

    settings = request.settings
    described = request.described()
    finished = finished_model(request.run_dir, described, reporting.say) if resume else None
    if finished is not None:
        return finished
    target = choose_device(device)
    precision = choose_precision(settings.precision, target, training=True)
    stored = Registry().find(settings.prior)
    prior = load_diffusion_model(stored, target)
    _check_network(request, prior)
    rewards = load_rewards(settings.rewards, target)
    reference = reference_of(
        settings, prior.alphabet, prior, length=settings.length, steps=settings.steps
    )
    engine = make_engine(rewards, settings, prior.alphabet, reference)
    assert engine is not None
    if engine.coupled:
        raise UsageError(
            f"{', '.join(engine.coupled_by)}: compares designs with each other, but a value is of "
            "one design; use transform=quantile"
        )
    with engine:
        recorded = json.loads(json.dumps(rewards_record(engine.rewards)))
        lineage = {"ref": stored.ref, "sha256": stored.sha256}
        run = TrainingRun.start(
            request.name,
            request.run_dir,
            {**described, "prior": lineage, "rewards": recorded, "precision": precision},
            target,
            resume=resume,
            reporting=reporting,
            precision=precision,
        )
        rollouts = load_rollouts(run, settings, prior, engine)
    run.reporting.say(_describe_rollouts(rollouts))
    weights, card = train_value(run, settings, request.architecture, prior, rollouts)
    card |= {
        "process": stored.card["process"],
        "prior": lineage,
        "rewards": recorded,
        **_common_card(request, run, stored.card, rollouts),
    }
    return run.register(weights, card, value_card_text(request.name, card))


def _common_card(
    request: ValueRequest, run: TrainingRun, prior: Mapping[str, Any], rollouts: Rollouts
) -> dict[str, Any]:
    settings = request.settings
    return {
        "alphabet": prior["alphabet"],
        "architecture": {
            "name": settings.architecture["name"],
            **request.architecture.model_dump(mode="json"),
        },
        "training": {
            "data": {"rollouts.csv": rollouts.sha256},
            "rows": {
                "drawn": len(rollouts.rewards),
                "without score": rollouts.unscored,
                "outside the bounds": rollouts.infeasible,
            },
            "seed": run.seed,
            "precision": run.precision,
            "settings": settings.model_dump(mode="json", exclude={"card", "cache"}),
        },
        "parent": prior["files"]["model.safetensors"],
        "method": "pretrain",
        "licence": settings.card.licence,
        "summary": settings.card.summary,
        "notes": settings.card.notes,
        "source": settings.card.source,
        "tool_version": designkit.__version__,
    }


def _check_network(request: ValueRequest, prior: DiffusionModel) -> None:
    """Refuse what would fail only after the roll-outs.

    Raises:
        ConfigurationError: a pool wider than the sequences, children where nothing is masked.
        UsageError: a length that the prior does not write.
    """
    settings, law = request.settings, prior.length_law
    pool = getattr(request.architecture, "pool", 1)
    if pool > law.maximum:
        raise ConfigurationError(
            [f"architecture.pool: {pool}, but sequences have at most {law.maximum} letters"]
        )
    if settings.length is not None and not law.minimum <= settings.length <= law.maximum:
        raise UsageError(
            f"length {settings.length}: {settings.prior} writes sequences of "
            f"{law.minimum} to {law.maximum} letters"
        )
    if settings.objective == "soft_q" and not hasattr(prior.process, "mask"):
        raise ConfigurationError(
            ["objective: soft_q follows single masked positions, and the prior's process has none"]
        )


def _describe_rollouts(rollouts: Rollouts) -> str:
    rewards = rollouts.rewards
    return (
        f"{len(rewards)} roll-outs, {rollouts.unscored} without score, {rollouts.infeasible} "
        f"outside the bounds; reward {float(rewards.mean()):.4g} on average, standard deviation "
        f"{float(rewards.std()):.4g}"
    )


def run_pretrain_value(
    options: RunOptions, merged: Layer, *, name: str, run_dir: str | None, resume: bool
) -> None:
    """The command: resolve everything, train, say where the model is."""
    folder = Path(run_dir) if run_dir else Path("runs") / name
    seed = seed_of(options.seed, folder, resume=resume)
    request = resolve_value_request(merged, name=name, run_dir=folder, seed=seed)
    console = Console(options.quiet)
    if options.dry_run:
        console.show(
            {
                **request.described(),
                "run_dir": str(request.run_dir),
                "device": options.device,
                "reward_rows_at_most": request.settings.rollouts,
            }
        )
        return

    def train(reporting: Reporting) -> StoredModel:
        return pretrain_value(request, device=options.device, resume=resume, reporting=reporting)

    train_and_tell(options, console, seed=request.seed, folder=request.run_dir, train=train)
