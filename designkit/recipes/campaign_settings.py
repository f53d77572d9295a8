"""Settings of a campaign: designs that a laboratory measures, batch after batch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, Self

from pydantic import Field, model_validator

from designkit import plugins
from designkit.errors import DesignkitError
from designkit.recipes._until import Until, UntilOption
from designkit.recipes.optimizer import OptimizerSettings
from designkit.recipes.refine import RefineSettings
from designkit.settings import Layer, Settings, validate

if TYPE_CHECKING:
    from designkit.models.base import PredictorSettings

_LOOKED_AT_APART = ("label", "model")
CHANGEABLE = frozenset(
    "acquisition beta pool until method ensemble num per_input batch_size precision cache "
    "max_evals likelihood_draws diversity".split()
)
"""Settings that may be others from batch to batch."""

_NETWORK = {
    "name": "cnn",
    "channels": 32,
    "stem": 5,
    "kernel": 3,
    "dilations": [1, 2],
    "head": 32,
}


class EnsembleSettings(Settings):
    """The predictor of a campaign.

    Attributes:
        members: of the ensemble, each on its own resample of the measured sequences.
        kind: ``linear`` is ridge regression on letters at positions and words; ``network`` is the
            architecture below; ``auto`` takes what predicts unseen sequences better, and does not
            try the network with few rows.
        network_rows: fewest measured sequences with which ``auto`` tries the network.
        linear_rows: most with which it tries ridge regression.
        architecture: ``name`` of the network and its settings.
        optimizer: of every member of the network.
    """

    members: int = Field(6, ge=3)
    kind: Literal["auto", "linear", "network"] = "auto"
    network_rows: int = Field(100, ge=8)
    linear_rows: int = Field(2000, ge=8)
    architecture: dict[str, Any] = Field(default_factory=lambda: dict(_NETWORK))
    optimizer: OptimizerSettings = OptimizerSettings(
        updates=200,
        batch_size=64,
        learning_rate=3e-3,
        warmup=20,
        weight_decay=0.01,
        ema_decay=0.95,
        evaluate_every=25,
        patience=4,
        checkpoint_every=1_000_000,
    )

    @model_validator(mode="after")
    def _check_architecture(self) -> Self:
        if "name" not in self.architecture:
            raise ValueError("ensemble.architecture.name is missing")
        try:
            _ = self.network
        except DesignkitError as problem:
            raise ValueError(str(problem)) from problem
        return self

    @property
    def network(self) -> PredictorSettings:
        """Settings of the network."""
        own = {key: value for key, value in self.architecture.items() if key != "name"}
        plugin = plugins.find("designkit.predictors", str(self.architecture["name"]))
        found: PredictorSettings = validate(plugin, Layer("ensemble.architecture", own))
        return found

    def architecture_name(self, kind: str) -> str:
        """What the architecture of a kind is called."""
        return str(self.architecture["name"]) if kind == "network" else "linear"

    def kinds(self, rows: int) -> list[str]:
        """The kinds that are tried with so many measured sequences."""
        if self.kind != "auto":
            return [self.kind]
        tried = ["linear"] if rows <= self.linear_rows else []
        return tried + ["network"] * (rows >= self.network_rows or not tried)


class CampaignSettings(RefineSettings):
    """What a preset of a campaign may hold.

    Attributes:
        label: column of the measured values.
        direction: whether more or less of the label is better.
        acquisition: what a measurement is worth: ``ucb`` is the predicted mean plus ``beta``
            calibrated standard deviations, ``thompson`` what one member of the ensemble predicts,
            the members taking turns.
        beta: of ``ucb``.
        pool: candidates for each sequence that is asked for.
        ensemble: what predicts.
        until: when looking for candidates ends.
    """

    label: str | None = None
    direction: Literal["maximize", "minimize"] = "maximize"
    acquisition: Literal["ucb", "thompson"] = "ucb"
    beta: float = Field(default=1.0, ge=0)
    pool: int = Field(default=10, ge=1)
    ensemble: EnsembleSettings = EnsembleSettings()
    until: UntilOption = Field(default_factory=lambda: Until(rounds=10))

    @property
    def sign(self) -> int:
        """1 where more is better, -1 where less is."""
        return 1 if self.direction == "maximize" else -1

    @property
    def kept(self) -> dict[str, Any]:
        """What later batches begin with."""
        own = {"num", "per_input", "rewards"}
        return self.model_dump(mode="json", exclude_none=True, exclude=own)

    @property
    def fixed(self) -> dict[str, Any]:
        """What must be the same in all batches of a campaign."""
        apart = CHANGEABLE.union(_LOOKED_AT_APART)
        return {key: value for key, value in self.kept.items() if key not in apart}
