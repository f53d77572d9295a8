"""Classes of training rows: the values of a column, or its numbers cut into intervals."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import torch

from designkit.errors import InputError

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

    from designkit.recipes.pretrain_settings import ClassSettings

CLASS_VALUE = "class: value"
"""Column of what decides a row's class, apart from whatever columns the files have."""

MOST_CLASSES = 100


@dataclass(frozen=True)
class Classes:
    """The class of every row.

    Attributes:
        names: of the C classes, the lowest numbers first.
        index: (N,) int64 in 0..C; C for rows of no class, the null class.
        edges: numbers at which a column was cut, none for a column of names.
    """

    names: tuple[str, ...]
    index: Tensor
    edges: tuple[float, ...] = ()

    @property
    def null(self) -> int:
        """Index of the null class."""
        return len(self.names)

    def counts(self, split: NDArray[np.str_]) -> dict[str, dict[str, int]]:
        """Rows of each class in each part of the split, for the card."""
        return {
            name: {
                part: int(((self.index.numpy() == place) & (split == part)).sum())
                for part in ("train", "valid", "test")
            }
            for place, name in enumerate(self.names)
        }


def text_values(column: pd.Series[Any]) -> pd.Series[Any]:
    """Cells as text without surrounding space, None where they are empty."""
    text = column.where(column.notna(), "").astype(str).str.strip()
    return text.where(text != "", None)


def agreed_values(frame: pd.DataFrame) -> pd.Series[Any]:
    """What decides the class of each distinct sequence: the mean of numbers, the one name, or None.

    Returns:
        Values by sequence.
    """
    by_sequence = frame.groupby("sequence", sort=False)[CLASS_VALUE]
    if pd.api.types.is_numeric_dtype(frame[CLASS_VALUE]):
        return by_sequence.mean()
    return by_sequence.first().where(by_sequence.nunique() == 1, None)


def classify(frame: pd.DataFrame, settings: ClassSettings) -> Classes:
    """The classes of rows with the columns ``split`` and ``CLASS_VALUE``.

    Quantiles are those of the training rows: held-out rows have no say in where the cuts are.

    Raises:
        InputError: too many classes, fewer than two, or one with fewer than two training rows.
    """
    values = frame[CLASS_VALUE]
    known = values.notna().to_numpy()
    trained = known & (frame["split"] == "train").to_numpy()
    edges = settings.edges
    if settings.quantiles and trained.any():
        cuts = np.quantile(values[trained].to_numpy(float), settings.quantiles)
        edges = tuple(float(f"{cut:.6g}") for cut in cuts)
    if edges:
        names = settings.names or _interval_names(settings)
        places = np.searchsorted(edges, values.to_numpy(float), side="right").astype(float)
    else:
        distinct = sorted(set(values[known]), key=_natural)
        if len(distinct) > MOST_CLASSES:
            raise InputError(
                f"column {settings.column!r} holds {len(distinct)} different values; numbers are "
                "cut into classes by classes.edges or classes.quantiles"
            )
        names = tuple(distinct)
        places = values.map({name: place for place, name in enumerate(names)}).to_numpy(float)
    index = np.where(known, places, len(names)).astype(np.int64)
    if len(names) < 2:
        found = f"only {names[0]!r}" if names else "nothing"
        raise InputError(f"column {settings.column!r} holds {found}; give two classes or more")
    for place, name in enumerate(names):
        rows = int((trained & (index == place)).sum())
        if rows < 2:
            raise InputError(
                f"class {name!r} of column {settings.column!r} has {rows} training rows, and at "
                "least 2 are needed; choose other cuts, or leave it out with classes.where"
            )
    return Classes(names, torch.from_numpy(index), edges)


def _interval_names(settings: ClassSettings) -> tuple[str, ...]:
    if settings.quantiles:
        shares = [f"{100 * quantile:.6g}" for quantile in settings.quantiles]
        last = f"top_{100 - 100 * settings.quantiles[-1]:.6g}%"
        return (f"bottom_{shares[0]}%", *(f"{a}%_to_{b}%" for a, b in pairwise(shares)), last)
    cuts = [f"{edge:.6g}" for edge in settings.edges]
    return (f"below_{cuts[0]}", *(f"{a}_to_{b}" for a, b in pairwise(cuts)), f"from_{cuts[-1]}")


def _natural(name: str) -> tuple[bool, float, str]:
    """Integers by their value, before names by the alphabet."""
    try:
        return (False, int(name), name)
    except ValueError:
        return (True, 0, name)
