"""Which rows train, which choose, which test: the same for any row order, and never a family twice.

A split by rows lets near-copies of training sequences into the test set. Here whole groups are
assigned: every group has a key of its own content, and a keyed hash of it decides.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, field_validator, model_validator

from designkit.errors import InputError
from designkit.sequence_stats import cluster_near_duplicates
from designkit.settings import Settings

if TYPE_CHECKING:
    import pandas as pd

SPLITS = ("train", "valid", "test")
_WORDS = {
    "train": "train", "training": "train",
    "valid": "valid", "validation": "valid", "val": "valid", "dev": "valid",
    "test": "test",
}  # fmt: skip


class SplitSettings(Settings):
    """How a table of labelled sequences is divided.

    ``part`` and the split are drawn independently, and ``part`` does not depend on ``seed``: a
    guide fitted on part (0, 0.7) and a held-out judge on (0.7, 1) of the same table share no group
    whatever their seeds.
    """

    by: str = Field(
        default="cluster",
        description="cluster (families of near-duplicates), group:COLUMN (rows of equal value "
        "stay together) or column:COLUMN (the column says train, valid or test)",
    )
    valid: float = Field(default=0.1, ge=0, lt=1, description="share of the groups to choose by")
    test: float = Field(default=0.1, ge=0, lt=1, description="share of the groups to test on")
    part: tuple[float, float] = Field(
        default=(0.0, 1.0), description="use only the groups in this interval of [0, 1)"
    )
    seed: int = Field(default=0, description="another assignment to train, valid and test")

    @field_validator("by")
    @classmethod
    def _known_rule(cls, by: str) -> str:
        rule, _, column = by.partition(":")
        if by != "cluster" and not (rule in ("group", "column") and column):
            raise ValueError(f"{by!r} is not 'cluster', 'group:COLUMN' or 'column:COLUMN'")
        return by

    @model_validator(mode="after")
    def _shares_fit(self) -> Self:
        if self.valid + self.test >= 1:
            raise ValueError(f"valid {self.valid:g} and test {self.test:g} leave nothing to train")
        if not 0 <= self.part[0] < self.part[1] <= 1:
            raise ValueError(f"part {self.part} is not an interval within 0 and 1")
        return self


def split_table(
    frame: pd.DataFrame, sequences: Sequence[str], settings: SplitSettings
) -> NDArray[np.str_]:
    """The split of every row.

    Args:
        frame: N rows; only the column that ``settings.by`` names is read.
        sequences: their N sequences.
        settings: rule, shares, part and seed.

    Returns:
        (N,) of ``train``, ``valid``, ``test``, or the empty string for rows outside the part.

    Raises:
        InputError: a missing column, an empty group value, an unknown word in a split column, or
            a split of positive share that would hold no row.
    """
    return assign(group_keys(frame, sequences, settings), settings, given_words(frame, settings))


def group_keys(
    frame: pd.DataFrame, sequences: Sequence[str], settings: SplitSettings
) -> NDArray[np.object_]:
    """A name for each row's group that does not depend on the order of the rows: (N,) strings.

    A cluster is named by its alphabetically first sequence, a group by its column's value, and
    under ``column:`` each distinct sequence is a group.

    Raises:
        InputError: as for ``split_table``.
    """
    if len(frame) != len(sequences):
        raise InputError(f"{len(sequences)} sequences for a table of {len(frame)} rows")
    rule, _, column = settings.by.partition(":")
    if rule == "group":
        values = _column(frame, column)
        empty = int(values.isna().sum())
        if empty:
            raise InputError(f"column {column!r} has no value in {empty} of {len(frame)} rows")
        return np.array([str(value) for value in values], dtype=object)
    if rule == "column":
        return np.array(sequences, dtype=object)
    clusters = cluster_near_duplicates(sequences)
    first: dict[int, str] = {}
    for cluster, sequence in zip(clusters.tolist(), sequences, strict=True):
        first[cluster] = min(first.get(cluster, sequence), sequence)
    return np.array([first[cluster] for cluster in clusters.tolist()], dtype=object)


def given_words(frame: pd.DataFrame, settings: SplitSettings) -> NDArray[np.str_] | None:
    """The splits a ``column:`` rule reads from the table, (N,), or None under another rule.

    Raises:
        InputError: a missing column, or words other than train, valid and test (any case;
            training, validation, val and dev are understood).
    """
    rule, _, column = settings.by.partition(":")
    if rule != "column":
        return None
    written = [str(value).strip().lower() for value in _column(frame, column)]
    unknown = sorted(set(written) - set(_WORDS))
    if unknown:
        raise InputError(
            f"column {column!r} should say train, valid or test; "
            f"it also says {', '.join(map(repr, unknown[:5]))}"
        )
    return np.array([_WORDS[word] for word in written], dtype=np.str_)


def assign(
    keys: NDArray[np.object_],
    settings: SplitSettings,
    words: NDArray[np.str_] | None = None,
) -> NDArray[np.str_]:
    """Splits of rows with these group keys; given words stand, only the part is drawn.

    A table whose words know no valid rows gives up a ``valid`` share of its training groups.

    Raises:
        InputError: a split of positive share that would hold no row.
    """
    distinct, rows = np.unique(keys.astype(str), return_inverse=True)
    rows = rows.reshape(-1)
    place = np.array([uniform(key, "part") for key in distinct])[rows]
    draw = np.array([uniform(key, "split", settings.seed) for key in distinct])[rows]
    to_valid = draw < settings.valid
    if words is None:
        to_test = ~to_valid & (draw < settings.valid + settings.test)
        labels = np.where(to_valid, "valid", np.where(to_test, "test", "train"))
    elif (words == "valid").any():
        labels = words
    else:
        labels = np.where(to_valid & (words == "train"), "valid", words)
    low, high = settings.part
    labels = np.where((place >= low) & (place < high), labels, "")
    shares = {"train": 1.0, "valid": settings.valid, "test": settings.test}
    empty = [name for name, share in shares.items() if share > 0 and not (labels == name).any()]
    if empty:
        largest = np.bincount(rows).max(initial=0)
        advice = "try another rule, other shares or another seed"
        if len(distinct) == 1:
            advice = "split by row with --split-group id, or by another column"
        raise InputError(
            f"the split by {settings.by} leaves no {' and no '.join(empty)} rows: "
            f"{len(keys)} rows in {len(distinct)} groups, the largest of {largest} rows, "
            f"part {low:g} to {high:g}; {advice}"
        )
    return labels


def describe_split(labels: NDArray[np.str_], keys: NDArray[np.object_]) -> dict[str, Any]:
    """Sizes for logs and model cards: rows and groups of each split, and the largest group.

    Hashed shares are shares of groups; where families are large, shares of rows differ from them.
    """
    used = labels != ""
    _, sizes = np.unique(keys[used].astype(str), return_counts=True)
    sizes_by_split: dict[str, Any] = {
        name: {
            "rows": int((labels == name).sum()),
            "groups": len(set(keys[labels == name])),
        }
        for name in SPLITS
    }
    return {
        **sizes_by_split,
        "outside_part": int((~used).sum()),
        "largest_group": int(sizes.max(initial=0)),
    }


def uniform(key: str, salt: str, seed: int = 0) -> float:
    """A number in [0, 1) that belongs to this key, salt and seed on every machine."""
    message = f"{salt}\0{seed}\0{key}".encode()
    digest = hashlib.blake2b(message, digest_size=8).digest()
    return (int.from_bytes(digest, "big") >> 11) / 2.0**53


def _column(frame: pd.DataFrame, column: str) -> pd.Series[Any]:
    if column not in frame.columns:
        known = ", ".join(map(str, frame.columns[:20]))
        raise InputError(f"the table has no column {column!r} to split by; it has: {known}")
    return frame[column]
