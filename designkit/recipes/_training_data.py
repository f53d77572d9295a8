"""Training tables: read, filtered, de-duplicated, split, encoded."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import torch

from designkit.errors import InputError, did_you_mean
from designkit.io._letters import Ways
from designkit.io.provenance import sha256_file
from designkit.io.sequences import read_table
from designkit.randomness import noise_for
from designkit.recipes._classes import CLASS_VALUE, Classes, agreed_values, classify, text_values
from designkit.recipes.splits import assign, describe_split, given_words, group_keys

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

    from designkit.alphabet import Alphabet
    from designkit.randomness import Noise
    from designkit.recipes.pretrain_settings import ClassSettings, PretrainSettings


BY_SETTINGS = Ways(
    "--set data.uppercase=true", "--set data.convert_t_u=true", "--set data.on_invalid=skip"
)

_LABEL = "label: "
"""Prefix of the label columns, apart from whatever columns the files have."""


@dataclass(frozen=True)
class TrainingData:
    """The rows of a run.

    Attributes:
        frame: one row per distinct sequence, with the columns ``split`` (train, valid or test)
            and ``group`` (what the split keeps together).
        tokens: (N, longest) int64, 0 at padding.
        lengths: (N,) int64.
        labels: (N, outputs) float64, NaN where not measured; no columns for a prior.
        weights: (N,) float64.
        files: name and sha256 of each input; the path as given where inputs share a name.
        counts: rows read, filtered out, without label, merged, outside the part, used.
        split: sizes of the split.
        classes: of the rows; None without classes.
    """

    frame: pd.DataFrame
    tokens: Tensor
    lengths: Tensor
    labels: NDArray[np.float64]
    weights: NDArray[np.float64]
    files: dict[str, str]
    counts: dict[str, int]
    split: dict[str, Any]
    classes: Classes | None = None

    def rows(self, part: str) -> Tensor:
        """Indices of the rows of one part, int64."""
        return torch.from_numpy(np.flatnonzero((self.frame["split"] == part).to_numpy()))

    def token_list(self, rows: Tensor) -> list[NDArray[np.int64]]:
        """Unpadded tokens of some rows, for the baselines."""
        return [self.tokens[i, : self.lengths[i]].numpy() for i in rows.tolist()]


class TrainingExamples:
    """What a task calls its examples: the training rows, or groups of them.

    Args:
        data: all rows.
        balanced: an example is a group of the split, shown by a random one of its rows, so that
            large families of near-duplicates count no more than small ones.
        bootstrap: seed of a resample of the rows, drawn with replacement; None keeps each once.

    Attributes:
        count: number of examples.
        share: (N,) float32, how much each row of the data counts in a mean over examples; for
            judging held-out rows as training weighs its own.
    """

    def __init__(self, data: TrainingData, balanced: bool, bootstrap: int | None = None):
        rows = data.rows("train")
        if bootstrap is not None:
            drawn = noise_for(bootstrap, len(rows)).uniform("bootstrap") * len(rows)
            rows = rows[drawn.long()]
        group = np.arange(len(rows))
        if balanced:
            names = data.frame["group"].to_numpy()[rows.numpy()]
            _, group = np.unique(names.astype(str), return_inverse=True)
        # Rows in order of their group, and where each group starts.
        self._rows = rows[torch.from_numpy(group.argsort(kind="stable"))]
        self._sizes = torch.from_numpy(np.bincount(group))
        self._starts = self._sizes.cumsum(0) - self._sizes
        self.count = len(self._sizes)
        self.share = torch.ones(len(data.frame))
        if balanced:
            sizes = data.frame.groupby("group", sort=False)["group"].transform("size")
            self.share = torch.tensor(1 / sizes.to_numpy(), dtype=torch.float32)

    def rows(self, examples: Tensor, noise: Noise) -> Tensor:
        """A row for each example (B,), on the CPU."""
        chosen = examples.cpu()
        member = (noise.uniform("member").cpu() * self._sizes[chosen]).long()
        return self._rows[self._starts[chosen] + member]


def load_training_data(
    sources: Sequence[str], settings: PretrainSettings, alphabet: Alphabet
) -> TrainingData:
    """Read and prepare the rows of a training run.

    Args:
        sources: files of sequences.
        settings: of the run.
        alphabet: of the sequences.

    Raises:
        InputError: unreadable files, missing columns, labels that are not numbers, weights that
            are empty or negative, nothing left.
    """
    wanted = settings.data
    frames = []
    counts = {"read": 0, "filtered": 0}
    for source in sources:
        frame = read_table(
            source,
            alphabet=alphabet,
            column=wanted.column,
            convert_t_u=wanted.convert_t_u,
            uppercase=wanted.uppercase,
            on_invalid=wanted.on_invalid,
            ways=BY_SETTINGS,
        )
        kept = frame[_matches(frame, wanted.where)]
        counts["read"] += len(frame)
        counts["filtered"] += len(frame) - len(kept)
        frames.append(kept)
    frame = pd.concat(frames, ignore_index=True)
    _require_columns(frame, settings, sources)
    labels = {
        name: _numbers(frame, label.column or name, sources)
        .where(_matches(frame, label.where))
        .to_numpy()
        for name, label in wanted.labels.items()
    }
    if labels:
        measured = ~np.all([np.isnan(values) for values in labels.values()], axis=0)
        counts["without label"] = int((~measured).sum())
        frame = frame.assign(**{_LABEL + name: values for name, values in labels.items()})[measured]
    if settings.classes is not None:
        frame = frame.assign(**{CLASS_VALUE: _class_values(frame, settings.classes, sources)})
    if frame.empty:
        raise InputError(f"{', '.join(sources)}: no rows left after data.where and empty labels")
    merged = _merge_duplicates(frame)
    counts["merged"] = len(frame) - len(merged)
    groups = group_keys(merged, merged["sequence"].tolist(), settings.split)
    split = assign(groups, settings.split, given_words(merged, settings.split))
    frame = merged.assign(split=split, group=groups)[split != ""].reset_index(drop=True)
    counts["outside part"] = len(merged) - len(frame)
    counts["used"] = len(frame)
    classes = classify(frame, settings.classes) if settings.classes is not None else None
    if classes is not None:
        counts["without class"] = int((classes.index == classes.null).sum())
    tokens, lengths = encode_padded(frame["sequence"].tolist(), alphabet)
    weights = pd.Series(1.0, frame.index)
    if wanted.weight:
        weights = _numbers(frame, wanted.weight, sources)
        _check_weights(frame, weights, wanted.weight, sources)
    return TrainingData(
        frame=frame,
        tokens=tokens,
        lengths=lengths,
        labels=frame[[_LABEL + name for name in labels]].to_numpy(float),
        weights=np.asarray(weights, dtype=np.float64),
        files=_hashes(sources),
        counts=counts,
        split=describe_split(split, groups),
        classes=classes,
    )


def _matches(frame: pd.DataFrame, where: Mapping[str, Sequence[str]]) -> NDArray[np.bool_]:
    """Rows whose columns hold allowed values, (N,); a column that is not there allows all."""
    keep = np.ones(len(frame), dtype=bool)
    for column, allowed in where.items():
        if column in frame.columns:
            keep &= frame[column].astype(str).isin(allowed).to_numpy()
    return keep


def _require_columns(
    frame: pd.DataFrame, settings: PretrainSettings, sources: Sequence[str]
) -> None:
    data = settings.data
    needed = [*data.where, *filter(None, [data.weight, data.report_by])]
    for name, label in data.labels.items():
        needed += [label.column or name, *label.where]
    if settings.classes is not None:
        needed += [settings.classes.column, *settings.classes.where]
    rule, _, split_column = settings.split.by.partition(":")
    needed += [split_column] if rule != "cluster" else []
    for column in needed:
        if column not in frame.columns:
            present = ", ".join(map(str, frame.columns))
            raise InputError(
                f"{', '.join(sources)}: no column {column!r}"
                f"{did_you_mean(column, map(str, frame.columns))} (columns: {present})"
            )


def _class_values(
    frame: pd.DataFrame, settings: ClassSettings, sources: Sequence[str]
) -> pd.Series[Any]:
    """What decides the class of each row: numbers to be cut, or names; missing for no class."""
    column = settings.column
    values = _numbers(frame, column, sources) if settings.is_cut else text_values(frame[column])
    counts = _matches(frame, settings.where)
    return values.where(counts, np.nan if settings.is_cut else None)


def _numbers(frame: pd.DataFrame, column: str, sources: Sequence[str]) -> pd.Series[float]:
    numbers = pd.to_numeric(frame[column], errors="coerce").astype(float)
    empty = frame[column].isna() | (frame[column].astype(str).str.strip() == "")
    bad = ~np.isfinite(numbers) & ~empty
    if bad.any():
        row = frame[bad].iloc[0]
        raise InputError(
            f"{', '.join(sources)}: record {row['id']}: column {column!r} holds "
            f"{str(row[column])!r}, not a number; correct it, or leave the cell empty"
        )
    return numbers


def _check_weights(
    frame: pd.DataFrame, weights: pd.Series[float], column: str, sources: Sequence[str]
) -> None:
    bad = ~(weights >= 0)
    if bad.any():
        row = frame[bad].iloc[0]
        what = "is empty" if pd.isna(weights[bad].iloc[0]) else f"holds {row[column]}"
        raise InputError(
            f"{', '.join(sources)}: record {row['id']}: weight column {column!r} {what}; "
            "every row needs a weight of 0 or more"
        )


def _hashes(sources: Sequence[str]) -> dict[str, str]:
    names = [Path(source).name for source in sources]
    return {
        (name if names.count(name) == 1 else source): sha256_file(source)
        for name, source in zip(names, sources, strict=True)
    }


def check_parts(data: TrainingData, labels: Sequence[str]) -> None:
    """Refuse parts too small to train on, to choose weights by, or to state figures of.

    Args:
        data: the rows of a run.
        labels: names of the columns of ``data.labels``.

    Raises:
        InputError: a part with fewer than 2 rows, overall or with a value of some label, or with
            weights that are all 0 where they count.
    """
    for part in ("train", "valid", "test"):
        rows = data.rows(part).numpy()
        counts = {"rows": len(rows)}
        for place, label in enumerate(labels):
            counts[f"rows with {label}"] = int((~np.isnan(data.labels[rows, place])).sum())
        for what, count in counts.items():
            if count < 2:
                raise InputError(
                    f"the split leaves {count} {part} {what}, and at least 2 are needed; "
                    "give more rows, other shares or another split.seed"
                )
        if part != "test" and not data.weights[rows].any():
            raise InputError(f"all {part} rows have weight 0")


def _merge_duplicates(frame: pd.DataFrame) -> pd.DataFrame:
    """One row per sequence: its mean labels, its class, everything else from its first row."""
    first = frame.drop_duplicates("sequence").set_index("sequence", drop=False)
    labels = [column for column in frame.columns if str(column).startswith(_LABEL)]
    if labels and len(first) < len(frame):
        means = frame.groupby("sequence", sort=False)[labels].mean()
        first = first.assign(**{label: means[label] for label in labels})
    if CLASS_VALUE in frame and len(first) < len(frame):
        first = first.assign(**{CLASS_VALUE: agreed_values(frame)})
    return first.reset_index(drop=True)


def encode_padded(sequences: Sequence[str], alphabet: Alphabet) -> tuple[Tensor, Tensor]:
    """Tokens (N, longest), 0 at padding, and lengths (N,) of at least one sequence."""
    symbols = [len(alphabet.split(sequence)) for sequence in sequences]
    lengths = torch.tensor(symbols, dtype=torch.int64)
    tokens = torch.zeros(len(sequences), int(lengths.max()), dtype=torch.int64)
    for length in lengths.unique().tolist():
        rows = (lengths == length).nonzero().squeeze(1)
        encoded = alphabet.encode([sequences[row] for row in rows.tolist()])
        tokens[rows, :length] = torch.from_numpy(encoded)
    return tokens, lengths
