"""What `designkit score` costs beside a plain pandas loop over the same table.

Both read a CSV of random 80-letter DNA, compute the GC content of each row, and write a CSV. The
loop does nothing else; `score` also checks every letter, scores each distinct sequence once,
counts, writes its record, and holds only part of the table. Each runs as a process of its own, in
turns; what starting takes is in it.

    python benchmarks/scoring.py --out out/benchmarks
"""

from __future__ import annotations

import argparse
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from reporting import Measurements, markdown_table, write_report

LENGTH = 80
LOOP = """
import sys
import pandas as pd
table = pd.read_csv(sys.argv[1])
table["gc"] = [(s.count("G") + s.count("C")) / len(s) for s in table["sequence"]]
table.to_csv(sys.argv[2], index=False, float_format="%.6g")
"""
WAYS = ("designkit score", "pandas loop")


def write_table(path: Path, rows: int) -> None:
    """Random sequences, nearly all of them distinct."""
    source = random.Random(0)
    with path.open("w") as file:
        file.write("id,sequence\n")
        for row in range(rows):
            file.write(f"s{row},{''.join(source.choices('ACGT', k=LENGTH))}\n")


def measure(way: str, table: Path, output: Path) -> dict[str, float]:
    """Wall and CPU seconds, and the largest memory (MiB) of one process."""
    program = str(Path(sys.executable).with_name("designkit"))
    command = {
        "designkit score": [
            program,
            "score",
            table,
            "--reward",
            "gc",
            "-q",
            "--force",
            "-o",
            output,
        ],
        "pandas loop": [sys.executable, "-c", LOOP, table, output],
    }[way]
    started = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    wall = time.perf_counter() - started
    if status:
        raise SystemExit(f"{command} ended with {status}")
    return {
        "wall": wall,
        "cpu": usage.ru_utime + usage.ru_stime,
        "memory": usage.ru_maxrss / 1024,
    }


def main() -> None:
    """Measure what is missing, then write the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--out", type=Path, default=Path("out/benchmarks"))
    parser.add_argument("--rows", type=int, nargs="+", default=[100_000, 1_000_000])
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    values = ("wall", "cpu", "memory")
    done = Measurements(arguments.out / "scoring.csv", ("rows", "way", "round"), values)
    with tempfile.TemporaryDirectory() as folder:
        for rows in arguments.rows:
            table = Path(folder) / f"{rows}.csv"
            write_table(table, rows)
            for turn in range(arguments.rounds):
                for way in WAYS:
                    if not done.has(rows, way, turn):
                        found = measure(way, table, Path(folder) / "out.csv")
                        done.add(rows=rows, way=way, round=turn, **found)
    lines = []
    for rows in arguments.rows:
        for way in WAYS:
            wall, cpu, memory = (
                statistics.median(done.select(value, rows=rows, way=way)) for value in values
            )
            lines.append(
                {
                    "rows": f"{rows:,}",
                    "way": way,
                    "wall, s": f"{wall:.1f}",
                    "CPU, s": f"{cpu:.1f}",
                    "rows a second": f"{rows / wall:,.0f}",
                    "largest memory, MiB": f"{memory:.0f}",
                }
            )
    text = f"Medians of {arguments.rounds} rounds.\n\n" + markdown_table(lines)
    write_report(arguments.out / "scoring.md", "Scoring a large table", text)


if __name__ == "__main__":
    main()
