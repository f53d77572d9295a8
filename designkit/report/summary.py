"""One row per group of designs: medians of their scores, diversity, and what they cost.

Every numeric column of the tables counts as a score, except seeds, places in a run, spreads of
ensembles, standard errors, and totals that only repeat a column of their own name.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from designkit.alphabet import Alphabet
from designkit.errors import UsageError
from designkit.metrics.diversity import describe_set

FILE = "file"  # what --by takes besides columns: one row per table

_NOT_SCORES = frozenset({"id", "sequence", "seed", "round", "parent", "position", FILE})
_SPREADS = ("_std", "_se")
_TOP_QUANTILE = 0.9


@dataclass(frozen=True)
class DesignTable:
    """Designs of one file, and what is known of their making.

    Args:
        name: of the file, without folder and suffixes.
        frame: the designs; ``sequence`` and any other columns.
        guides: score columns that the designs were guided by.
        calls: cost of one design by kind, such as ``denoiser_rows``.
    """

    name: str
    frame: pd.DataFrame
    guides: Sequence[str] = ()
    calls: dict[str, float] = field(default_factory=dict)


def summarise(tables: Sequence[DesignTable], by: str = "method") -> pd.DataFrame:
    """Summarise designs, groups in the order in which they appear.

    Args:
        tables: at least one; they may differ in their columns.
        by: the column whose values make the groups, or ``file``. A table that lacks the column
            is a group under its own name.

    Returns:
        One row per group: ``by``; ``designs`` and ``distinct``, their number and the share of
        different ones; ``<score>.median``, and for guides ``<score>.top10``, the value that a
        tenth of the designs exceed; ``diversity``, the mean share of positions at which two
        designs differ; ``<kind>_per_design`` for each kind of call. NaN is "not known".

    Raises:
        UsageError: no table has the column ``by``.
    """
    if by not in ("method", FILE) and not any(by in table.frame for table in tables):
        known = sorted({str(name) for table in tables for name in table.frame})
        raise UsageError(f"--by {by}: no such column (there are {', '.join(known)}, and {FILE})")
    frames = []
    for number, table in enumerate(tables):
        frame = table.frame.drop(columns=repeated_totals(table.frame))
        frame[by] = _groups(table, by)
        frame["_table"] = number
        frames.append(frame)
    joined = pd.concat(frames, ignore_index=True)
    scores = [name for name in score_columns(joined) if name != by]
    guides = {name for table in tables for name in table.guides}
    kinds = list(dict.fromkeys(kind for table in tables for kind in table.calls))
    rows = []
    for group, designs in joined.groupby(by, sort=False):
        row: dict[str, object] = {by: group}
        described = describe_set(
            designs["sequence"].tolist(), _letters_of(designs["sequence"].tolist())
        )
        row |= {"designs": len(designs), "distinct": described["distinct"]}
        for score in scores:
            values = designs[score]
            row[f"{score}.median"] = values.median()
            if score in guides:
                row[f"{score}.top10"] = values.quantile(_TOP_QUANTILE)
        row["diversity"] = described["hamming"]
        for kind in kinds:
            row[f"{kind}_per_design"] = _cost(kind, designs["_table"], tables)
        rows.append(row)
    return pd.DataFrame(rows)


def score_columns(frame: pd.DataFrame) -> list[str]:
    """Columns of a design table that are scores, in their order."""
    return [
        str(name)
        for name in frame.columns
        if pd.api.types.is_numeric_dtype(frame[name])
        and not pd.api.types.is_bool_dtype(frame[name])
        and name not in _NOT_SCORES
        and not str(name).startswith("_")
        and not str(name).endswith(_SPREADS)
    ]


def repeated_totals(frame: pd.DataFrame) -> list[str]:
    """Totals that say nothing new: earlier ones, and one that equals a reward's own column."""
    totals = [name for name in frame.columns if str(name).startswith("reward.")]
    if "reward" in frame.columns:
        others = [name for name in score_columns(frame) if name not in ("reward", *totals)]
        if any(frame["reward"].equals(frame[name]) for name in others):
            totals.append("reward")
    return totals


def _groups(table: DesignTable, by: str) -> pd.Series:
    names = pd.Series(table.name, index=table.frame.index, dtype=object)
    if by == FILE or by not in table.frame:
        return names
    return table.frame[by].astype(object).where(table.frame[by].notna(), names)


def _cost(kind: str, members: pd.Series, tables: Sequence[DesignTable]) -> float:
    """Calls per design of a group, NaN where a table's are not known or not only the group's."""
    total = 0.0
    for number, count in members.value_counts().items():
        table = tables[int(str(number))]
        if count != len(table.frame) or kind not in table.calls:
            return float("nan")
        total += table.calls[kind] * count
    return total / len(members)


def _letters_of(sequences: Iterable[str]) -> Alphabet:
    """An alphabet of the letters that occur; tokens of several letters stand between spaces."""
    sequences = list(sequences)
    separator = " " if any(" " in sequence for sequence in sequences) else ""
    letters = {
        letter for sequence in sequences for letter in (sequence.split() if separator else sequence)
    }
    # An alphabet has two letters at least; one that never occurs changes no statistic.
    spare = (letter for letter in "AC" if letter not in letters)
    while len(letters) < 2:
        letters.add(next(spare))
    return Alphabet("letters seen", tuple(sorted(letters)), separator=separator)


def format_cell(value: object) -> str:
    """A value of a summary as text: four significant digits, nothing for "not known"."""
    if isinstance(value, float | np.floating):
        return "" if np.isnan(value) else f"{value:.4g}"
    return str(value)


def markdown_table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table as GitHub-flavoured Markdown."""
    lines = [header, ["---"] * len(header), *rows]
    cells = ([cell.replace("|", "\\|") for cell in line] for line in lines)
    return "".join(f"| {' | '.join(line)} |\n" for line in cells)
