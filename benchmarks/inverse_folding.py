"""How many structures does the preset ``rna-inverse-folding`` solve, and in what time?

Each puzzle is a run of the program as a user would start it, one after the other, the shortest
first, with one thread. Its time is that of the processor, start included, so that other programs
do not matter: less than the same time by the clock on one core, and less than half of what two
cores give. A puzzle is solved when ViennaRNA's most stable structure of the best design, with the
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
from collections.abc import Sequence
from pathlib import Path

import RNA
from reporting import Measurements, markdown_table, write_report

from designkit.dot_bracket import base_pairs, loops

KEY = ("puzzle", "seconds_allowed", "seed")
VALUES = ("name", "structure", "solved", "reward", "gap", "distance", "seconds", "rounds")
VALUES += ("folded", "sequence")
PEERS = ("nemo", "sentrna", "learna", "eternabrain", "rnainverse")


def read_tsv(path: Path) -> list[dict[str, str]]:
    """The rows of a table, by the names in its first line."""
    with path.open(newline="") as file:
        return list(csv.DictReader(file, delimiter="\t"))


def run(command: Sequence[str], seconds: float) -> float:
    """Seconds that a program took of the processor; it is told to end when they are spent."""
    tick = os.sysconf("SC_CLK_TCK")
    process = subprocess.Popen(command)
    stat = Path(f"/proc/{process.pid}/stat")
    while process.poll() is None:
        taken = sum(map(int, stat.read_text().rpartition(")")[2].split()[11:13])) / tick
        if taken >= seconds:
            process.terminate()
            process.wait()
            break
        time.sleep(0.1)
    if process.returncode not in (0, 75):
        raise SystemExit(f"exit code {process.returncode}: {' '.join(command)}")
    return taken


def solve(structure: str, seconds: float, seed: int, folder: Path) -> dict[str, object]:
    """One run of the program."""
    for old in folder.glob("design.csv*"):
        old.unlink()
    command = [
        *(sys.executable, "-m", "designkit", "refine", "--preset", "rna-inverse-folding"),
        *("--set", f"target={structure}", "--until", "time=1h", "-n", "1", "--threads", "1"),
        *("--seed", str(seed), "-o", str(folder / "design.csv"), "--quiet"),
    ]
    taken = run(command, seconds)
    return {**judged(structure, folder), "seconds": round(taken, 1)}


def judged(structure: str, folder: Path) -> dict[str, object]:
    """What a run left, finished or not, as ViennaRNA judges its best design."""
    out = folder / "design.csv"
    with (out if out.exists() else folder / "design.csv.partial.csv").open(newline="") as file:
        (design,) = csv.DictReader(file)
    (meta,) = folder.glob("design.csv*.meta.json")
    record = json.loads(meta.read_text())
    sequence = design["sequence"]
    best, energy = RNA.fold(sequence)
    differ = set(base_pairs(best)) ^ set(base_pairs(structure))
    return {
        "solved": int(best == structure),
        "reward": f"{float(design['reward']):.3f}",
        "gap": f"{RNA.fold_compound(sequence).eval_structure(structure) - energy + 0:.2f}",
        "distance": len(differ),
        "rounds": record["rounds"]["done"],
        "folded": record["calls"]["reward_rows_scored"],
        "sequence": sequence,
    }


def features(structure: str) -> dict[str, str]:
    """What makes a structure hard: helices that hardly hold, and loops of many of them."""
    every = [loop for loop in loops(structure) if loop.closing != (-1, -1)]
    stacked = {loop.closing for loop in every if loop.inner == (_inside(loop.closing),)}
    ends = [loop.closing for loop in every if loop.closing not in stacked]
    lengths = []
    for i, j in ends:
        size = 1
        while (i - size, j + size) in stacked:
            size += 1
        lengths.append(size)
    return {
        "length": str(len(structure)),
        "helices": str(len(ends)),
        "of at most 2 pairs": str(sum(size <= 2 for size in lengths)),
        "multiloops": str(sum(len(loop.inner) > 1 for loop in every)),
    }


def _inside(pair: tuple[int, int]) -> tuple[int, int]:
    return pair[0] + 1, pair[1] - 1


def winners(path: Path | None) -> dict[str, set[str]]:
    """Which programs solved each structure, of the published logs with the energies of 2004."""
    found: dict[str, set[str]] = {}
    for row in read_tsv(path) if path else []:
        of = found.setdefault(row["Target Structure"], set())
        if row["Folder"] == "vienna2" and row["Success"] == "1":
            of.add(row["Algorithm"])
    return found


def report(found: Measurements, peers: dict[str, set[str]], seconds: float, out: Path) -> None:
    """The tables of what was measured so far, beside the peers."""
    own = [row for row in found.rows if row["seconds_allowed"] == str(seconds)]
    solved = sum(int(row["solved"]) for row in own)
    text = f"{solved} of {len(own)} runs solved, each in at most {seconds:g} seconds of one core.\n"
    structures = {row["structure"] for row in own}
    if peers:
        counts = {peer: sum(peer in peers.get(one, ()) for one in structures) for peer in PEERS}
        told = ", ".join(f"{peer} {count}" for peer, count in counts.items())
        text += f"Of these {len(structures)} structures published logs solve: {told}.\n"
    for title, wanted in (("Not solved", "0"), ("Solved", "1")):
        rows = [_shown(row, peers) for row in own if row["solved"] == wanted]
        if rows:
            text += f"\n## {title}\n\n" + markdown_table(rows)
    text += (
        "\n`lacks` is the energy, in kcal/mol, that the target is above the most stable structure "
        "of the best sequence, `pairs` how many pairs only one of the two has.\n"
    )
    write_report(out / "inverse_folding.md", "Inverse folding", text)


def _shown(row: dict[str, str], peers: dict[str, set[str]]) -> dict[str, str]:
    shown = {name: row[name] for name in ("puzzle", "name", "seed", "seconds", "rounds", "folded")}
    shown |= features(row["structure"])
    if row["solved"] == "0":
        shown |= {"lacks": row["gap"], "pairs": row["distance"]}
    if peers:
        by = peers.get(row["structure"], set())
        shown["solved by"] = ", ".join(peer for peer in PEERS if peer in by) or "none"
    return shown


def main() -> None:
    """Solve what is missing in the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="puzzle, name, structure_v2")
    parser.add_argument("--peers", type=Path, help="data/results.tsv of eterna100-benchmarking")
    parser.add_argument("--seconds", type=float, default=120)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", default="", help="puzzles, separated by commas")
    parser.add_argument("--out", type=Path, default=Path("out/benchmarks"))
    given = parser.parse_args()
    wanted = set(filter(None, given.only.split(",")))
    puzzles = sorted(read_tsv(given.data), key=lambda row: len(row["structure_v2"]))
    found = Measurements(given.out / "inverse_folding.csv", KEY, VALUES)
    peers = winners(given.peers)
    scratch = Path("out/benchmarks/inverse_folding")
    scratch.mkdir(parents=True, exist_ok=True)
    for row in puzzles:
        key = row["puzzle"], given.seconds, given.seed
        if found.has(*key) or (wanted and row["puzzle"] not in wanted):
            continue
        result = solve(row["structure_v2"], given.seconds, given.seed, scratch)
        what = {"name": row["name"], "structure": row["structure_v2"]}
        found.add(**dict(zip(KEY, key, strict=True)), **what, **result)
        report(found, peers, given.seconds, given.out)
    report(found, peers, given.seconds, given.out)


if __name__ == "__main__":
    main()
