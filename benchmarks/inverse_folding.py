"""How many structures does the preset ``rna-inverse-folding`` solve, and in what time?

Each puzzle is a run of the program as a user would start it, one after the other, the shortest
first. A puzzle is solved when ViennaRNA's most stable structure of the best design, with the
defaults of RNAfold, is the target. Peers are those of published logs with the same energies, with
up to a day for a puzzle.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import RNA
from reporting import Measurements, markdown_table, write_report

KEY = ("puzzle", "seconds_allowed", "seed")
VALUES = ("name", "length", "solved", "reward", "seconds", "rounds", "folded", "sequence")


def read_tsv(path: Path) -> list[dict[str, str]]:
    """The rows of a table, by the names in its first line."""
    with path.open(newline="") as file:
        return list(csv.DictReader(file, delimiter="\t"))


def solve(
    structure: str, seconds: float, seed: int, threads: int, folder: Path
) -> dict[str, object]:
    """One run of the program."""
    out = folder / "design.csv"
    command = [
        *(sys.executable, "-m", "designkit", "refine", "--preset", "rna-inverse-folding"),
        *("--set", f"target={structure}", "--until", f"reward=0,time={seconds}s", "-n", "1"),
        *("--seed", str(seed), "--threads", str(threads), "-o", str(out), "--force", "--quiet"),
    ]
    started = time.monotonic()
    subprocess.run(command, check=True)
    taken = time.monotonic() - started
    with out.open(newline="") as file:
        (design,) = csv.DictReader(file)
    record = json.loads(Path(f"{out}.meta.json").read_text())
    return {
        "solved": int(RNA.fold(design["sequence"])[0] == structure),
        "reward": design["reward"],
        "seconds": round(taken, 1),
        "rounds": record["rounds"]["done"],
        "folded": record["calls"]["reward_rows_scored"],
        "sequence": design["sequence"],
    }


def report(found: Measurements, peers: list[dict[str, str]], seconds: float, out: Path) -> None:
    """The table of what was measured so far, beside the peers."""
    own = [row for row in found.rows if row["seconds_allowed"] == str(seconds)]
    solved = sum(int(row["solved"]) for row in own)
    columns = (
        "puzzle",
        "name",
        "length",
        "seed",
        "solved",
        "reward",
        "seconds",
        "rounds",
        "folded",
    )
    text = f"{solved} of {len(own)} runs solved, {seconds:g} seconds allowed for each.\n\n"
    text += markdown_table([{column: row[column] for column in columns} for row in own])
    if peers:
        text += "\nPublished logs, same puzzles and energies:\n\n" + markdown_table(peers)
    write_report(out / "inverse_folding.md", "Inverse folding", text)


def main() -> None:
    """Solve what is missing in the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="puzzle, name, structure_v2")
    parser.add_argument("--peers", type=Path, help="table to show beside the results")
    parser.add_argument("--seconds", type=float, default=120)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--only", default="", help="puzzles, separated by commas")
    parser.add_argument("--out", type=Path, default=Path("out/benchmarks"))
    given = parser.parse_args()
    wanted = set(filter(None, given.only.split(",")))
    puzzles = sorted(read_tsv(given.data), key=lambda row: len(row["structure_v2"]))
    found = Measurements(given.out / "inverse_folding.csv", KEY, VALUES)
    peers = read_tsv(given.peers) if given.peers else []
    scratch = given.out / "inverse_folding"
    scratch.mkdir(parents=True, exist_ok=True)
    for row in puzzles:
        key = row["puzzle"], given.seconds, given.seed
        if found.has(*key) or (wanted and row["puzzle"] not in wanted):
            continue
        result = solve(row["structure_v2"], given.seconds, given.seed, given.threads, scratch)
        structure = {"name": row["name"], "length": len(row["structure_v2"])}
        found.add(**dict(zip(KEY, key, strict=True)), **structure, **result)
        report(found, peers, given.seconds, given.out)


if __name__ == "__main__":
    main()
