"""What a ``finetune`` preset may hold."""

from __future__ import annotations

from typing import Any, Literal, Self

from pydantic import Field, model_validator

from designkit.recipes.objective import ObjectiveSettings, RewardSettings
from designkit.recipes.optimizer import OptimizerSettings
from designkit.recipes.pretrain_settings import CardSettings


class TuningOptimizerSettings(OptimizerSettings):
    """The optimizer, with the defaults of short runs from a trained model.

    Attributes:
        updates: optimizer updates at most.
        batch_size: designs of an update.
        patience: evaluations without a better median of the held-out reward before stopping; 0
            never stops for that.
    """

    updates: int = Field(500, ge=1)
    batch_size: int = Field(64, ge=2)
    learning_rate: float = Field(1e-4, gt=0)
    schedule: Literal["constant", "cosine"] = "constant"
    warmup: int = Field(10, ge=0)
    ema_decay: float = Field(0.99, ge=0, lt=1)
    evaluate_every: int = Field(25, ge=1)
    checkpoint_every: int = Field(25, ge=1)


class FinetuneSettings(ObjectiveSettings):
    """Everything that determines a tuned model, apart from its seed.

    Attributes:
        model: the prior that is tuned.
        method: ``name`` of the objective and its settings.
        holdout: rewards that no design is tuned for: the best weights have the highest median of
            them, and a run ends where they fall while the reward rises. Without any the last
            weights are kept.
        length: of the designs; drawn anew for every update from the prior's length law when not
            given.
        condition: the prior's class that is tuned; the model without a class when not given.
        effective_share: what ``--alpha auto`` aims at, as in ``sample``.
        designs: that are drawn and judged at each evaluation, always with the same noise.
        gap_patience: evaluations in a row with a higher reward than where the held-out reward was
            best, and a lower held-out reward, that end the run; 0 never does.
        optimizer: of the denoiser.
        precision: arithmetic; ``auto`` is bf16 where the device has it, which makes ratios of
            probabilities rough.
        stored_precision: of the weights on disk.
        on_invalid: designs that a reward cannot score count as the worst of their update; ``fail``
            stops when they are more than a fifth.
        card: text of the model card.
    """

    model: str
    method: dict[str, Any]
    holdout: list[RewardSettings] = Field(default_factory=list)
    length: int | None = Field(default=None, ge=1)
    condition: str | None = None
    effective_share: float = Field(default=0.1, gt=0, lt=1)
    designs: int = Field(default=64, ge=8)
    gap_patience: int = Field(default=5, ge=0)
    optimizer: TuningOptimizerSettings = TuningOptimizerSettings()
    precision: Literal["auto", "fp32", "bf16"] = "fp32"
    stored_precision: Literal["fp32", "fp16"] = "fp32"
    on_invalid: Literal["fail", "worst"] = "fail"
    card: CardSettings = CardSettings()

    @model_validator(mode="after")
    def _check_parts(self) -> Self:
        if not any(reward.role == "objective" for reward in self.rewards):
            raise ValueError("tuning needs a reward to raise (--reward REF)")
        if self.max_evals is not None:
            raise ValueError(
                "max_evals: optimizer.updates and optimizer.batch_size say how many designs are "
                "scored"
            )
        if self.optimizer.patience and not self.holdout:
            raise ValueError("optimizer.patience: needs a held-out reward (--holdout REF)")
        return self
