"""What every benchmark writes: rows as they are measured, then a table that says its origin."""

from __future__ import annotations

import csv
import datetime
import os
import platform
import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch


class Measurements:
    """A CSV file of measured rows, so that an interrupted benchmark goes on where it stopped.

    Args:
        path: of the CSV file.
        key: columns that name a measurement.
        values: columns that are measured.
    """

    def __init__(self, path: Path, key: Sequence[str], values: Sequence[str]):
        self.path = path
        self.key = tuple(key)
        self.columns = (*key, *values)
        self.rows: list[dict[str, str]] = []
        if path.exists():
            with path.open(newline="") as file:
                self.rows = list(csv.DictReader(file))

    def has(self, *key: object) -> bool:
        """Whether this measurement was made already."""
        return any(tuple(row[k] for k in self.key) == tuple(map(str, key)) for row in self.rows)

    def add(self, **row: object) -> None:
        """Write one measurement at once."""
        new = not self.path.exists()
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("a", newline="") as file:
            writer = csv.DictWriter(file, self.columns)
            if new:
                writer.writeheader()
            writer.writerow(row)
        self.rows.append({column: str(row[column]) for column in self.columns})

    def select(self, value: str, **where: object) -> list[float]:
        """The values of one column in the rows whose other columns are as given."""
        return [
            float(row[value])
            for row in self.rows
            if all(row[column] == str(wanted) for column, wanted in where.items())
        ]


def machine() -> str:
    """The processor, its cores, and the library versions that decide speed."""
    model = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        names = [line for line in cpuinfo.read_text().splitlines() if line.startswith("model name")]
        model = names[0].partition(":")[2].strip() if names else model
    return (
        f"{model}, {os.cpu_count()} cores, {torch.backends.cpu.get_cpu_capability()}, "
        f"Python {platform.python_version()}, torch {torch.__version__}"
    )


def markdown_table(rows: Sequence[Mapping[str, str]]) -> str:
    """A table whose columns are the keys of the first row."""
    columns = list(rows[0])
    lines = [" | ".join(columns), " | ".join("---" for _ in columns)]
    lines += [" | ".join(row[column] for column in columns) for row in rows]
    return "".join(f"| {line} |\n" for line in lines)


def write_report(path: Path, title: str, text: str) -> None:
    """Write and print a report with the command, the date and the machine that made it."""
    command = f"python {shlex.join(sys.argv)}"
    date = datetime.datetime.now(datetime.UTC).date().isoformat()
    path.parent.mkdir(parents=True, exist_ok=True)
    made = f"{date}; {machine()}; load average {os.getloadavg()[2]:.1f} when written."
    path.write_text(f"# {title}\n\n`{command}`\n\n{made}\n\n{text}")
    print(path.read_text())
