"""``designkit finetune``: move the weights of a prior towards p(x) exp(reward / alpha)."""

from __future__ import annotations

import json
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from designkit.errors import ConfigurationError, UsageError
from designkit.recipes._methods import check_condition, named_method, resolve_method
from designkit.recipes._temperature import with_temperature
from designkit.recipes._training_run import (
    Reporting,
    TrainingRun,
    finished_model,
    seed_of,
    train_and_tell,
)
from designkit.recipes.console import Console
from designkit.recipes.finetune_settings import FinetuneSettings
from designkit.recipes.objective import (
    expand_rewards,
    load_rewards,
    make_engine,
    reference_of,
    rewards_record,
)
from designkit.recipes.options import RunOptions
from designkit.registry.store import check_name
from designkit.settings import Layer

if TYPE_CHECKING:
    import torch

    from designkit.algorithms.finetuning.base import Finetuner
    from designkit.models.base import DiffusionModel
    from designkit.registry.store import StoredModel
    from designkit.rewards import RewardEngine

NO_METHOD = "no method: add --method NAME"


@dataclass(frozen=True)
class FinetuneRequest:
    """One run.

    Attributes:
        settings: what determines the model.
        finetuner: the objective.
        name: of the new model in the registry.
        run_dir: for checkpoints and logs.
        seed: of everything random.
    """

    settings: FinetuneSettings
    finetuner: Finetuner
    name: str
    run_dir: Path
    seed: int

    def described(self) -> dict[str, Any]:
        """What makes it this run, as JSON values."""
        return {
            "name": self.name,
            "settings": self.settings.model_dump(mode="json", exclude={"cache"}),
            "method": self.finetuner.model_dump(mode="json"),
            "seed": self.seed,
        }


def resolve_finetune_request(
    merged: Layer, *, name: str, run_dir: Path, seed: int
) -> FinetuneRequest:
    """Check the whole configuration without importing torch.

    Raises:
        ConfigurationError: every problem found.
        UsageError: unknown names.
    """
    check_name(name)
    method = named_method(merged, "")
    if not method.data["name"]:
        from designkit.plugins import names

        known = ", ".join(names("designkit.finetuners"))
        raise ConfigurationError([f"{NO_METHOD} (known: {known})"])
    _expand_holdout(merged)
    settings, finetuner = resolve_method(
        merged,
        method,
        FinetuneSettings,
        "designkit.finetuners",
        "no model to tune: designkit finetune MODEL",
    )
    return FinetuneRequest(settings, finetuner, name, run_dir, seed)


def _expand_holdout(merged: Layer) -> None:
    """Write the held-out rewards out, as ``expand_rewards`` does those that are raised."""
    if "holdout" not in merged.data:
        return
    origins = {
        ("rewards", *path[1:]): origin
        for path, origin in merged.origins.items()
        if path[0] == "holdout"
    }
    layer = Layer(merged.label, {"rewards": merged.data["holdout"]}, origins)
    expand_rewards(layer)
    merged.data["holdout"] = layer.data["rewards"]


@dataclass
class Tuning:
    """What a run works with, once everything is loaded.

    Attributes:
        stored: the prior.
        pretrained: the same, built.
        engine: of the reward to be raised.
        holdout: of the held-out rewards; None without any.
        finetuner: the objective, its temperature and decoding known.
    """

    stored: StoredModel
    pretrained: DiffusionModel
    engine: RewardEngine
    holdout: RewardEngine | None
    finetuner: Finetuner


def load_tuning(request: FinetuneRequest, device: torch.device, opened: ExitStack) -> Tuning:
    """Load the prior and the rewards, and measure the temperature where it is not given.

    Raises:
        UsageError: a prior, a reward or a length that cannot be used.
        ModelError: no such prior.
        RewardError: no such reward, or one without a derivative where that is needed.
    """
    from designkit.recipes.runtime import choose_precision
    from designkit.registry.build import load_diffusion_model
    from designkit.registry.rules import RulePrior, find_prior

    settings, finetuner = request.settings, request.finetuner
    stored = find_prior(settings.model)
    if isinstance(stored, RulePrior):
        raise UsageError(f"{settings.model}: is rules, with nothing to train")
    check_condition(settings.condition, stored, None)
    precision = choose_precision(settings.precision, device, training=True)
    pretrained = load_diffusion_model(stored, device, precision)
    law = pretrained.length_law
    if settings.length is not None and not law.minimum <= settings.length <= law.maximum:
        raise UsageError(
            f"length {settings.length}: {settings.model} writes sequences of "
            f"{law.minimum} to {law.maximum} letters"
        )
    if settings.condition is not None:
        pretrained = pretrained.conditioned(settings.condition)
    finetuner = finetuner.suited(pretrained.process)
    reference = reference_of(
        settings,
        pretrained.alphabet,
        pretrained,
        length=settings.length,
        steps=finetuner.steps,
        decoding=finetuner.decoding,
    )
    engines = []
    for listed in (settings.rewards, settings.holdout):
        engine = make_engine(load_rewards(listed, device), settings, pretrained.alphabet, reference)
        engines.append(None if engine is None else opened.enter_context(engine))
        if engine is not None and engine.coupled:
            raise UsageError(
                f"{', '.join(engine.coupled_by)}: compares designs with each other, but a prior is "
                "tuned to what each is worth; use transform=quantile"
            )
    engine, holdout = engines
    assert engine is not None
    if finetuner.needs_gradient:
        engine.check_differentiable()
    finetuner = with_temperature(finetuner, engine, settings.effective_share)
    return Tuning(stored, pretrained, engine, holdout, finetuner)


def finetune(
    request: FinetuneRequest, *, device: str, resume: bool, reporting: Reporting
) -> StoredModel:
    """Tune, judge and register a model.

    Args:
        request: what to tune.
        device: as in ``runtime.choose_device``.
        resume: continue the run in the request's folder; a finished one returns its model.
        reporting: whom to tell, and who may stop it.

    Raises:
        DesignkitError: the model has collapsed, or the loss is not finite.
        Interrupted: stopped; ``resume`` continues.
        UsageError: see ``load_tuning``; the folder holds another run.
    """
    from designkit.recipes._finetuned import train_tuned
    from designkit.recipes.runtime import choose_device

    described = request.described()
    finished = finished_model(request.run_dir, described, reporting.say) if resume else None
    if finished is not None:
        return finished
    target = choose_device(device)
    with ExitStack() as opened:
        tuning = load_tuning(request, target, opened)
        recorded = json.loads(json.dumps(rewards_record(tuning.engine.rewards)))
        held_out = rewards_record(tuning.holdout.rewards) if tuning.holdout else []
        run = TrainingRun.start(
            request.name,
            request.run_dir,
            {
                **described,
                "prior": {"ref": tuning.stored.ref, "sha256": tuning.stored.sha256},
                "rewards": recorded,
                "holdout": json.loads(json.dumps(held_out)),
                "temperature": tuning.finetuner.temperature,
            },
            target,
            resume=resume,
            reporting=reporting,
            precision="fp32",  # the models choose their own
        )
        if run.accelerator.num_processes > 1:
            raise UsageError("finetune runs in one process: start it without torchrun")
        return train_tuned(run, request, tuning)


def run_finetune(options: RunOptions, *, name: str, run_dir: str | None, resume: bool) -> None:
    """The command: resolve everything, tune, say where the model is."""
    merged = options.configuration("finetune")
    folder = Path(run_dir) if run_dir else Path("runs") / name
    seed = seed_of(options.seed, folder, resume=resume)
    request = resolve_finetune_request(merged, name=name, run_dir=folder, seed=seed)
    console = Console(options.quiet)
    if options.dry_run:
        from designkit.recipes._finetuning_plan import finetuning_plan

        console.show(finetuning_plan(request, options.device))
        return

    def train(reporting: Reporting) -> StoredModel:
        return finetune(request, device=options.device, resume=resume, reporting=reporting)

    train_and_tell(options, console, seed=request.seed, folder=request.run_dir, train=train)
