"""What a ``pretrain`` preset may hold."""

from __future__ import annotations

from typing import Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from designkit.recipes.optimizer import OptimizerSettings
from designkit.recipes.splits import SplitSettings
from designkit.settings import Settings


class LabelSettings(Settings):
    """A measured quantity that a predictor learns.

    Attributes:
        column: of the measurement, where it is not the label's own name.
        where: the rows on which it was measured, by allowed values of columns: one column measured
            under several conditions becomes several labels.
        unit: of the label, for tables and cards.
        direction: which way is better.
    """

    column: str | None = None
    where: dict[str, list[str]] = Field(default_factory=dict)
    unit: str = ""
    direction: Literal["maximize", "minimize"] = "maximize"


class DataSettings(Settings):
    """Which rows and columns of the training files are used.

    Attributes:
        column: of the sequences, in tables.
        labels: what a predictor learns, the first being its reward; an empty cell is left out of
            the loss.
        weight: column of the weights of the training rows; all 1 without one.
        where: allowed values of a column; a file without the column passes whole.
        convert_t_u: read T as U in RNA and U as T in DNA.
        uppercase: accept lower-case letters.
        on_invalid: what to do with rows that hold no usable sequence.
        report_by: column whose values get figures of their own on the card.
    """

    column: str = "sequence"
    labels: dict[str, LabelSettings] = Field(default_factory=dict)
    weight: str | None = None
    where: dict[str, list[str]] = Field(default_factory=dict)
    convert_t_u: bool = False
    uppercase: bool = False
    on_invalid: Literal["fail", "skip"] = "fail"
    report_by: str | None = None


class ClassSettings(Settings):
    """Classes of the sequences, on which a prior can be conditioned.

    Attributes:
        column: of the classes, or of the numbers that are cut into classes; an empty cell is no
            class, and such rows train the null class only.
        edges: cut numbers here; a number equal to an edge is above it.
        quantiles: cut numbers at these quantiles of the training rows.
        names: of the intervals, the lowest first; made from the cuts when not given.
        where: the rows whose class counts, by allowed values of columns; others have none.
        dropout: share of examples that are shown without their class, from which the null class
            (all sequences, what classifier-free guidance compares with) is learned.
    """

    column: str
    edges: tuple[float, ...] = ()
    quantiles: tuple[float, ...] = ()
    names: tuple[str, ...] = ()
    where: dict[str, list[str]] = Field(default_factory=dict)
    dropout: float = Field(0.1, ge=0, lt=1)

    @property
    def is_cut(self) -> bool:
        """Whether the column holds numbers that are cut."""
        return bool(self.edges or self.quantiles)

    @field_validator("edges", "quantiles")
    @classmethod
    def _check_rising(cls, cuts: tuple[float, ...]) -> tuple[float, ...]:
        if list(cuts) != sorted(set(cuts)):
            raise ValueError(f"must be rising numbers, not {list(cuts)}")
        return cuts

    @field_validator("quantiles")
    @classmethod
    def _check_quantiles(cls, quantiles: tuple[float, ...]) -> tuple[float, ...]:
        if quantiles and not 0 < quantiles[0] <= quantiles[-1] < 1:
            raise ValueError(f"must be between 0 and 1, not {list(quantiles)}")
        return quantiles

    @model_validator(mode="after")
    def _check_cuts(self) -> Self:
        cuts = self.edges or self.quantiles
        if self.edges and self.quantiles:
            raise ValueError("give edges or quantiles, not both")
        if self.names and not cuts:
            raise ValueError("names are for numbers that are cut: give edges or quantiles too")
        if self.names and len(set(self.names)) != len(cuts) + 1:
            raise ValueError(
                f"{len(cuts)} cuts make {len(cuts) + 1} classes, "
                f"but there are {len(set(self.names))} different names"
            )
        return self


class CardSettings(Settings):
    """What the card of the trained model says beside its figures.

    Attributes:
        summary: what the model is and what its sequences are.
        notes: what else is worth knowing, such as how it came to be.
        source: where the data come from.
        licence: of the data, and how the weights may be used.
    """

    summary: str = ""
    notes: str = ""
    source: str = ""
    licence: str = ""


class AdversarialSettings(Settings):
    """Sequences without a label that a predictor must not score high, mixed into its training.

    Tandem repeats, truncated and dinucleotide-shuffled training sequences are made anew for every
    update. What they would measure is unknown, and some repeats are truly good: the error is
    one-sided, max(0, prediction - ceiling)^2, a margin of safety and no measurement.

    Attributes:
        share: of them, added to each batch; what they cost in time.
        weight: of the error of one of them, an example's being 1.
        ceiling: quantile of the training labels, in the better direction, that repeats and
            truncated sequences may reach.
        shuffled_ceiling: the quantile for shuffled copies of sequences that are better than it;
            composition alone may make a sequence good.
    """

    share: float = Field(0.125, gt=0, le=1)
    weight: float = Field(4.0, gt=0)
    ceiling: float = Field(0.5, ge=0, le=1)
    shuffled_ceiling: float = Field(0.9, ge=0, le=1)


class PretrainSettings(Settings):
    """Everything that determines a trained model, apart from its data and its seed.

    Attributes:
        kind: a generative prior or a reward predictor.
        alphabet: ``dna``, ``rna``, ``protein``, or a YAML file with an alphabet.
        data: rows and columns.
        split: training, validation and test rows.
        architecture: ``name`` of the network and its settings.
        process: ``name`` of the noise process of a prior and its settings: ``masked``, or
            ``uniform``, for which the network is told the time.
        classes: classes that a prior is conditioned on; null for none.
        optimizer: of every member.
        members: networks in a predictor's ensemble.
        bootstrap: train every member on a resample of the training rows, drawn with replacement.
        balance_groups: every group of the split (every family of near-duplicates) is shown equally
            often, whatever its size.
        mutation_rate: share of letters replaced by random ones whenever a predictor is shown a
            training sequence.
        adversarial: degenerate sequences that a predictor learns not to score high; null for none.
        reverse_complement: both strands are examples; a predictor averages over them.
        flanks: constant sequences left and right of every sequence, seen by a predictor.
        precision: arithmetic of training; ``auto`` is bf16 where the device has it.
        stored_precision: of the weights on disk.
        card: text of the model card.
    """

    kind: Literal["prior", "predictor"] = "prior"
    alphabet: str = "dna"
    data: DataSettings = DataSettings()
    split: SplitSettings = SplitSettings()
    architecture: dict[str, Any] = Field(default_factory=lambda: {"name": "cnn"})
    process: dict[str, Any] = Field(default_factory=lambda: {"name": "masked"})
    classes: ClassSettings | None = None
    optimizer: OptimizerSettings = OptimizerSettings()
    members: int = Field(1, ge=1)
    bootstrap: bool = False
    balance_groups: bool = False
    mutation_rate: float = Field(0.0, ge=0, lt=1)
    adversarial: AdversarialSettings | None = None
    reverse_complement: bool = False
    flanks: tuple[str, str] = ("", "")
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    stored_precision: Literal["fp32", "fp16"] = "fp32"
    card: CardSettings = CardSettings()

    @model_validator(mode="after")
    def _check_kind(self) -> Self:
        if self.kind == "predictor" and not self.data.labels:
            raise ValueError("a predictor needs data.labels (--label COLUMN)")
        predictor_only = ("members", "bootstrap", "flanks", "mutation_rate", "adversarial")
        for_other = predictor_only if self.kind == "prior" else ("process", "classes")
        given = [name for name in for_other if name in self.model_fields_set]
        if given:
            raise ValueError(f"{', '.join(given)}: not for a {self.kind}")
        return self
