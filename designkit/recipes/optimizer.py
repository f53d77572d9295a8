"""Settings of the optimizer loop in ``training``; apart from it because that module needs torch."""

from __future__ import annotations

import math
from typing import Literal

from pydantic import Field

from designkit.settings import Settings


class OptimizerSettings(Settings):
    """AdamW with warm-up, gradient clipping and an exponential moving average of the weights.

    Attributes:
        updates: optimizer updates at most.
        batch_size: examples per update, over all processes.
        learning_rate: at the end of the warm-up.
        schedule: ``cosine`` falls to 0 at the last update.
        warmup: updates of linear warm-up.
        weight_decay: decoupled, as in AdamW.
        betas: decay of the first and second moment.
        gradient_clip: largest norm of the gradient.
        ema_decay: of the averaged weights; warmed up as min(decay, (1 + n) / (10 + n)).
        evaluate_every: updates between evaluations on the validation set.
        patience: evaluations without improvement before stopping; 0 never stops early.
        checkpoint_every: updates between checkpoints.
    """

    updates: int = Field(10_000, ge=1)
    batch_size: int = Field(128, ge=1)
    learning_rate: float = Field(3e-4, gt=0)
    schedule: Literal["constant", "cosine"] = "cosine"
    warmup: int = Field(100, ge=0)
    weight_decay: float = Field(0.0, ge=0)
    betas: tuple[float, float] = (0.9, 0.999)
    gradient_clip: float = Field(1.0, gt=0)
    ema_decay: float = Field(0.999, ge=0, lt=1)
    evaluate_every: int = Field(200, ge=1)
    patience: int = Field(0, ge=0)
    checkpoint_every: int = Field(200, ge=1)

    def rate(self, update: int) -> float:
        """Learning rate of update 0, 1, ..."""
        warm = min(1.0, (update + 1) / self.warmup) if self.warmup else 1.0
        if self.schedule == "constant":
            return self.learning_rate * warm
        done = max(0, update - self.warmup) / max(1, self.updates - self.warmup)
        return self.learning_rate * warm * 0.5 * (1 + math.cos(math.pi * min(1.0, done)))
