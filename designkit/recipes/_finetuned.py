"""Training, judging and registering a tuned model."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import torch

import designkit
from designkit.recipes._finetuned_card import finetuned_card_text
from designkit.recipes._finetuning_judge import Judge
from designkit.recipes._finetuning_task import FinetuningTask, TrainingReward
from designkit.recipes.objective import rewards_record
from designkit.recipes.training import METRICS, as_stored, with_stored_weights

if TYPE_CHECKING:
    from torch import Tensor

    from designkit.recipes._training_run import TrainingRun
    from designkit.recipes.finetune import FinetuneRequest, Tuning
    from designkit.registry.store import StoredModel

NEW_DESIGNS = 2**20
"""Number of the first design of the card's figures, counted from those of the evaluations."""

_DENOISER = "denoiser."


def train_tuned(run: TrainingRun, request: FinetuneRequest, tuning: Tuning) -> StoredModel:
    """Tune a prior.

    Args:
        run: its folder and processes.
        request: what to tune.
        tuning: everything loaded.
    """
    settings, finetuner, say = request.settings, tuning.finetuner, run.reporting.say
    say(
        f"tuning {tuning.stored.ref} by {settings.method['name']} ({finetuner.describe()}), "
        f"{settings.optimizer.updates} updates of {settings.optimizer.batch_size} designs"
    )
    judge = Judge(
        finetuner,
        tuning.pretrained,
        tuning.engine,
        tuning.holdout,
        designs=settings.designs,
        seed=run.seed,
        length=settings.length,
        log=run.folder / METRICS,
        gap_patience=settings.gap_patience,
    )
    reward = TrainingReward(tuning.engine, settings.on_invalid == "fail")
    task = FinetuningTask(
        finetuner, tuning.pretrained, reward, settings.optimizer, settings.length, judge
    )
    parts = task.module()
    result = run.fit(run.name, parts, task, settings.optimizer, run.folder, run.seed)
    if result.state.metrics.get("stop"):
        say(
            f"stopped at update {result.state.update}: the reward rose and the held-out reward "
            f"fell; the weights of update {result.state.best_update} are kept"
        )
    own = {
        key.removeprefix(_DENOISER): value
        for key, value in result.weights.items()
        if key.startswith(_DENOISER)
    }
    weights = as_stored(own, settings.stored_precision)
    with_stored_weights(parts.denoiser, weights)
    with torch.inference_mode():
        metrics = {
            "before": judge.figures(tuning.pretrained, NEW_DESIGNS),
            "after": judge.figures(task.policy(parts), NEW_DESIGNS),
            "designs": settings.designs,
            "best_update": result.state.best_update,
        }
    card = _card(request, run, tuning, metrics)
    stored = run.register(_on_cpu(weights), card, finetuned_card_text(request.name, card))
    say(f"rewards: {tuning.engine.rows_scored} distinct designs scored, {reward.rows} asked for")
    return stored


def _on_cpu(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: value.cpu() for name, value in weights.items()}


def _card(
    request: FinetuneRequest, run: TrainingRun, tuning: Tuning, metrics: dict[str, Any]
) -> dict[str, Any]:
    settings, before = request.settings, tuning.stored.card
    kept = ("alphabet", "architecture", "process", "length_law", "classes", "licence", "source")
    held_out = rewards_record(tuning.holdout.rewards) if tuning.holdout else []
    return {
        "kind": "diffusion",
        **{key: before[key] for key in kept if key in before},
        "training": {
            "seed": run.seed,
            "settings": settings.model_dump(mode="json", exclude={"card", "cache"}),
            "method": tuning.finetuner.model_dump(mode="json"),
        },
        "parent": tuning.stored.sha256,
        "prior": {"ref": tuning.stored.ref, "sha256": tuning.stored.sha256},
        "method": settings.method["name"],
        "temperature": tuning.finetuner.temperature,
        "rewards": json.loads(json.dumps(rewards_record(tuning.engine.rewards))),
        "holdout": json.loads(json.dumps(held_out)),
        "metrics": metrics,
        "summary": settings.card.summary
        or f"{tuning.stored.ref} tuned by {settings.method['name']}",
        "notes": settings.card.notes,
        "tool_version": designkit.__version__,
    }
