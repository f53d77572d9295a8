"""``designkit report``: what tables of designs amount to, one row per method."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from designkit.errors import OutputError, UsageError

if TYPE_CHECKING:
    import pandas as pd

    from designkit.report.summary import DesignTable

FORMATS = (".csv", ".tsv", ".md")


def run_report(
    files: Sequence[str], by: str = "method", output: str = "-", force: bool = False
) -> tuple[list[str], list[list[str]]]:
    """The command: read, summarise, write.

    Args:
        files: tables of designs, with or without ``FILE.meta.json`` beside them.
        by: column whose values make the rows of the summary, or ``file``.
        output: where to write the summary besides returning it, .csv, .tsv or .md; - is nowhere.
        force: replace an existing output.

    Returns:
        Header and rows of the summary, as text.

    Raises:
        UsageError: an unknown column or format, or an output that exists.
        InputError: a table that cannot be read.
    """
    suffix = Path(output).suffix
    if output != "-" and suffix not in FORMATS:
        raise UsageError(f"{output}: a summary is written as {', '.join(FORMATS)}")
    if output != "-" and Path(output).exists() and not force:
        raise OutputError(f"{output} exists already; use --force to replace it")

    from designkit.report.summary import format_cell, markdown_table, summarise

    summary = summarise([read_designs(file) for file in files], by)
    header = [str(name) for name in summary.columns]
    rows = [[format_cell(value) for value in row] for row in summary.itertuples(index=False)]
    if output != "-":
        from designkit.io.provenance import write_text_atomic

        write_text_atomic(
            output, markdown_table(header, rows) if suffix == ".md" else _table(summary, suffix)
        )
    return header, rows


def read_designs(file: str) -> DesignTable:
    """A table of designs with what its records say of its making.

    Raises:
        InputError: the table cannot be read.
    """
    from designkit.io.sequences import read_table
    from designkit.report.summary import DesignTable

    made = find_making(file)
    rows, calls = made.get("rows", {}), made.get("calls", {})
    drawn = rows.get("written", 0) + rows.get("dropped", 0) + rows.get("failed", 0)
    shown = {"denoiser_rows": "denoiser_rows", "reward_rows_scored": "reward_rows"}
    return DesignTable(
        name=Path(file).name.partition(".")[0],
        frame=read_table(file),
        guides=[one["column"] for one in made.get("rewards", []) if one["role"] == "objective"],
        calls={name: calls[key] / drawn for key, name in shown.items() if key in calls and drawn},
    )


def find_making(file: str) -> dict[str, Any]:
    """The record of the run that made the designs of a file, past those that only scored them.

    Empty where records are missing, or where an input is no longer the one that was scored.
    """
    from designkit.io.provenance import sha256_file

    seen = set()
    while file not in seen:
        seen.add(file)
        record = _read_record(file)
        if record.get("command") != "score":
            return record
        source, expected = record.get("input"), record.get("input_sha256")
        if not source or not expected:
            return {}
        # As the scoring run called it, or, where folders have moved since, beside the file.
        places = [Path(source), Path(file).with_name(Path(source).name)]
        for place in places:
            if place.is_file() and sha256_file(place) == expected:
                file = str(place)
                break
        else:
            return {}
    return {}


def _read_record(file: str) -> dict[str, Any]:
    try:
        record = json.loads(Path(file + ".meta.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return record if isinstance(record, dict) else {}


def _table(summary: pd.DataFrame, suffix: str) -> str:
    separator = "\t" if suffix == ".tsv" else ","
    return summary.to_csv(index=False, sep=separator, float_format="%.6g", lineterminator="\n")
