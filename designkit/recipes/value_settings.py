"""What a ``pretrain`` preset of a value network may hold."""

from __future__ import annotations

from typing import Any, Literal, Self

from pydantic import Field, model_validator

from designkit.recipes.objective import ObjectiveSettings
from designkit.recipes.optimizer import OptimizerSettings
from designkit.recipes.pretrain_settings import CardSettings


class ValueSettings(ObjectiveSettings):
    """Everything that determines a value network, apart from its seed.

    Attributes:
        kind: ``value``.
        prior: whose half-decoded sequences are valued.
        temperature: alpha of the soft value, in units of the reward; where it is not given, a fifth
            of the reward's standard deviation over the roll-outs.
        objective: ``linex`` and ``soft_q`` learn the soft value alpha log E[exp(r / alpha) | x_t],
            from the roll-outs' rewards and from the network's own values of children;
            ``mse`` learns the mean E[r | x_t].
        rollouts: designs of the prior that are drawn and scored; a tenth of them is held out to
            choose the best weights by, and a tenth for the figures on the card.
        steps: of the roll-outs; as in ``sample`` when not given. A value is that of a prior and its
            number of steps.
        length: of the roll-outs; from the prior's length law when not given.
        architecture: ``name`` of a predictor network and its settings.
        time_conditioned: show the network the time; where not given, only if noisy states do not
            show how noisy they are, as they do where they have a mask.
        exponent: (r - f) / alpha beyond which ``linex`` and ``soft_q`` go on in a straight line:
            no example's weight exceeds exp(exponent).
        children: of ``soft_q``, drawn for each state of an update.
        lag: of ``soft_q``, updates after which the copy of the network that values children is
            renewed.
        finished: of ``soft_q``, share of the examples that are finished sequences, which anchor the
            values to the rewards.
        optimizer: of the network.
        precision: arithmetic of training; ``auto`` is bf16 where the device has it.
        stored_precision: of the weights on disk.
        card: text of the model card.
    """

    kind: Literal["value"] = "value"
    prior: str
    temperature: float | None = Field(None, gt=0)
    objective: Literal["linex", "mse", "soft_q"] = "linex"
    rollouts: int = Field(10_000, ge=50)
    steps: int | None = Field(None, ge=1)
    length: int | None = Field(None, ge=1)
    architecture: dict[str, Any] = Field(default_factory=lambda: {"name": "cnn"})
    time_conditioned: bool | None = None
    exponent: float = Field(5.0, gt=0, le=20)
    children: int = Field(10, ge=1)
    lag: int = Field(100, ge=1)
    finished: float = Field(0.2, gt=0, lt=1)
    optimizer: OptimizerSettings = OptimizerSettings()
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    stored_precision: Literal["fp32", "fp16"] = "fp32"
    card: CardSettings = CardSettings()

    @model_validator(mode="after")
    def _check_parts(self) -> Self:
        if not any(reward.role != "monitor" for reward in self.rewards):
            raise ValueError("a value network needs a reward to value (--reward REF)")
        of_soft_q = [
            name for name in ("children", "lag", "finished") if name in self.model_fields_set
        ]
        if self.objective != "soft_q" and of_soft_q:
            raise ValueError(f"{', '.join(of_soft_q)}: only for objective soft_q")
        if self.max_evals is not None:
            raise ValueError("max_evals: rollouts says how many sequences are scored")
        return self
