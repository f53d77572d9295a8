"""What ``finetune --dry-run`` prints: the calls of a run, and the memory that it takes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from designkit.recipes._temperature import is_measured
from designkit.registry.build import load_diffusion_model
from designkit.registry.rules import RulePrior, find_prior

if TYPE_CHECKING:
    from designkit.models.base import DiffusionModel
    from designkit.recipes.finetune import FinetuneRequest

COPIES = 7
"""Of the weights: trained, gradient, two moments, averaged, frozen, and the best on their way to
disk."""


def finetuning_plan(request: FinetuneRequest, device: str) -> dict[str, Any]:
    """The resolved settings, rows of each model and of the reward, and bytes.

    Rewards are not loaded: they may be programs.
    """
    from designkit.errors import UsageError

    settings = request.settings
    stored = find_prior(settings.model)
    if isinstance(stored, RulePrior):
        raise UsageError(f"{settings.model}: is rules, with nothing to train")
    model = load_diffusion_model(stored)
    finetuner = request.finetuner.suited(model.process)
    length = settings.length or model.length_law.maximum
    rows, updates = settings.optimizer.batch_size, settings.optimizer.updates
    calls = finetuner.calls_per_update(rows, length)
    evaluations = -(-updates // settings.optimizer.evaluate_every)
    references = settings.reference_num if is_measured(finetuner) else 0
    each, weights = memory_of(model, length)
    return {
        **request.described(),
        "run_dir": str(request.run_dir),
        "device": device,
        "steps": finetuner.steps_for(length),
        "per_update": {
            "denoiser_rows": round(calls.policy),
            "denoiser_rows_with_gradients": round(calls.trained),
            "prior_rows": round(calls.pretrained),
            "reward_rows": round(calls.reward, 2),
        },
        "reward_rows_at_most": round(calls.reward * updates)
        + settings.designs * (evaluations + 2)
        + references,
        "memory_mebibytes": {
            "weights": round(COPIES * weights / 2**20, 1),
            "activations": round(each * calls.trained / 2**20, 1),
        },
    }


def memory_of(model: DiffusionModel, length: int) -> tuple[int, int]:
    """Bytes of what one row keeps for its gradient, measured, and bytes of the weights."""
    kept: dict[int, int] = {}

    def count(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    weights = {p.untyped_storage().data_ptr() for p in model.denoiser.parameters()}
    rows = 16
    x_t = torch.full((rows, length), model.process.states - 1)
    with torch.enable_grad(), torch.autograd.graph.saved_tensors_hooks(count, lambda kept: kept):
        logits = model.logits(x_t, torch.ones(rows))
        loss = logits.log_softmax(-1).sum()
    del loss
    activations = sum(size for place, size in kept.items() if place not in weights)
    size = sum(p.numel() * p.element_size() for p in model.denoiser.parameters())
    return activations // rows, size
