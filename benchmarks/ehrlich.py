"""How far does refinement get on Ehrlich functions, call by call, beside published optimisers?

    python benchmarks/ehrlich.py --out benchmarks/results

The functions are those of pytorch-holo 0.0.5 with seed 0 (Stanton et al. 2024, arXiv 2407.00236);
1 is solved. The prior is ``pretrain --set architecture=markov`` on feasible sequences that the
function's own Markov chain draws: it knows which letters may follow each other, and nothing of the
motifs. ``rerd`` runs with the same settings on all functions. Every run is written as it ends.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import torch
import yaml
from reporting import Measurements, markdown_table, write_report

from designkit.algorithms.refinement.base import Archive, Brief, Ledger, Spent
from designkit.algorithms.refinement.rerd import RERD
from designkit.alphabet import Alphabet
from designkit.models.base import DiffusionModel
from designkit.randomness import noise_for
from designkit.recipes.options import RunOptions
from designkit.recipes.pretrain import run_pretrain
from designkit.registry.build import load_diffusion_model
from designkit.registry.store import Registry
from designkit.rewards import RewardEngine, WeightedReward
from designkit.rewards._ehrlich_function import draw_feasible
from designkit.rewards.ehrlich import Ehrlich

SETTINGS = {
    "population": 4,
    "offspring": 32,
    "fraction": 0.1,
    "crossover": 0.3,
    "shifts": 0.7,
    "patience": 2.0,
    "sampler": {"name": "ancestral", "denoiser_temperature": 3.0, "steps": 1000},
}
"""Those of docs/refine.md for motifs that may lie anywhere."""

SAMPLES = 20_000
LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdef"
MARKS = (1_000, 3_000, 10_000, 20_000, 30_000)
KEY = ["function", "seed", "prior"]
MEASURED = [
    "best", "solved_at", "calls", "distinct", "infeasible", "rounds", "denoiser_rows",
    "cpu_seconds", "curve",
]  # fmt: skip


@dataclass(frozen=True)
class Task:
    """A function, how many calls a run has, and what others reach.

    Args:
        size: letters, K.
        length: of sequences, L.
        motifs: their number.
        motif_length: letters of each.
        calls: of a run.
        bars: the best value of published optimisers (medians of seeds) by calls.
    """

    size: int
    length: int
    motifs: int
    motif_length: int
    calls: int
    bars: Mapping[int, float] = field(hash=False)

    @property
    def name(self) -> str:
        """As in tables."""
        return f"{self.size},{self.length},{self.motifs},{self.motif_length}"

    @property
    def alphabet(self) -> Alphabet:
        """As many letters."""
        return Alphabet(f"letters-{self.size}", tuple(LETTERS[: self.size]))

    def judge(self) -> RewardEngine:
        """The function, with counters of its own."""
        reward = Ehrlich(
            length=self.length, num_motifs=self.motifs, motif_length=self.motif_length, seed=0
        )
        return RewardEngine([WeightedReward(reward)], alphabet=self.alphabet)


TASKS = (
    Task(32, 32, 4, 4, 30_000, {10_000: 0.42, 30_000: 0.75}),
    Task(20, 64, 4, 4, 10_000, {10_000: 0.56}),
    Task(32, 128, 4, 4, 30_000, {30_000: 0.56}),
    Task(32, 128, 8, 8, 30_000, {30_000: 0.08}),
    Task(32, 256, 4, 8, 30_000, {30_000: 0.30}),
)
"""With what a genetic algorithm (holo-bench, from prior draws or not) and AdaLead reach at best."""


def prior_of(task: Task, work: Path) -> DiffusionModel:
    """The prior of a function, trained where ``work`` has none yet."""
    os.environ["DESIGNKIT_HOME"] = str(work / "home")
    name = f"ehrlich-{task.name.replace(',', '-')}"
    if not (work / "home" / "models" / name).exists():
        work.mkdir(parents=True, exist_ok=True)
        letters = work / f"{task.alphabet.name}.yaml"
        letters.write_text(yaml.safe_dump(task.alphabet.to_dict()))
        walks = task.alphabet.decode(draw_feasible(task.size, task.length, 0, SAMPLES))
        source = work / f"{name}.csv"
        source.write_text("\n".join(["sequence", *walks]) + "\n")
        prior = {
            "kind": "prior",
            "alphabet": str(letters),
            "architecture": "markov",
            "split": {"by": "group:sequence", "valid": 0.01, "test": 0.01},
        }
        run_pretrain(
            RunOptions(flags=prior, seed=0, device="cpu", threads=1, quiet=True),
            sources=[str(source)],
            name=name,
            run_dir=str(work / name),
            resume=(work / name).exists(),
        )
    return load_diffusion_model(Registry().find(name), "cpu")


def run(task: Task, prior: DiffusionModel, seed: int) -> dict[str, object]:
    """One run, until the function is solved or its calls are spent."""
    ledger = Ledger(task.judge(), task.alphabet, task.calls)
    archive = Archive(ledger, task.alphabet, [None])
    refiner, brief, noise = RERD(**SETTINGS), Brief(), noise_for(seed, 1)
    rows, started, rounds = prior.counter.rows, time.process_time(), 0
    with suppress(Spent):
        first = refiner.first(prior, archive, brief, noise)
        for population in refiner.rounds(prior, archive, first, brief, noise):
            rounds = population.round
            if max(population.rewards) >= 1:
                break
    seconds = time.process_time() - started
    steps = risen(ledger.rewards)
    calls, best = steps[-1]
    return {
        "best": best,
        "solved_at": calls if best >= 1 else float("inf"),
        "calls": ledger.asked,
        "distinct": len(ledger),
        "infeasible": sum(reward < 0 for reward in ledger.rewards),
        "rounds": rounds,
        "denoiser_rows": prior.counter.rows - rows,
        "cpu_seconds": round(seconds, 2),
        "curve": " ".join(f"{number}:{value:.6g}" for number, value in steps),
    }


def risen(rewards: Sequence[float]) -> list[tuple[int, float]]:
    """The numbers, from 1, of the calls that were better than all before, and their values."""
    steps: list[tuple[int, float]] = []
    for number, reward in enumerate(rewards, 1):
        if not steps or reward > steps[-1][1]:
            steps.append((number, reward))
    return steps


def curve_of(text: str) -> list[tuple[int, float]]:
    """What ``run`` has written."""
    pairs = (step.split(":") for step in text.split())
    return [(int(number), float(value)) for number, value in pairs]


def best_at(steps: Sequence[tuple[int, float]], calls: int) -> float:
    """The best value within so many calls; 0 where nothing feasible was found."""
    return max((value for number, value in steps if number <= calls), default=0.0)


def table(done: Measurements, task: Task, seeds: Sequence[int]) -> list[dict[str, str]]:
    """The row of a function, if all its runs are there."""
    rows = [r for r in done.rows if r["function"] == task.name and int(r["seed"]) in seeds]
    if not rows:
        return []
    curves = [curve_of(row["curve"]) for row in rows]
    total = {key: sum(float(row[key]) for row in rows) for key in MEASURED[2:-1]}
    solved = sorted(float(row["solved_at"]) for row in rows)
    shown = {"states, length, motifs, motif length": task.name, "runs": str(len(rows))}
    for calls in MARKS:
        if calls > task.calls:
            shown[f"{calls:,}"] = ""
            continue
        found = statistics.median(best_at(steps, calls) for steps in curves)
        bar = f" ({task.bars[calls]:.2f})" if calls in task.bars else ""
        shown[f"{calls:,}"] = f"{found:.2f}{bar}"
    within = [sum(at <= calls for at in solved) for calls in (20_000, 30_000)]
    return [
        shown
        | {
            "solved within 20,000, 30,000": f"{within[0]}, {within[1]}",
            "calls of sequences seen before": f"{1 - total['distinct'] / total['calls']:.2%}",
            "infeasible": f"{total['infeasible'] / total['distinct']:.2%}",
            "denoiser rows a call": f"{total['denoiser_rows'] / total['calls']:.1f}",
            "CPU s per 1,000 calls": f"{1000 * total['cpu_seconds'] / total['calls']:.2f}",
        }
    ]


def draw_figure(path: Path, done: Measurements, tasks: Sequence[Task], seeds: range) -> None:
    """Best value against calls: every run, their median, and the bars."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, len(tasks), figsize=(3.4 * len(tasks), 3), squeeze=False)
    grid = [round(10 ** (1.5 + step / 40)) for step in range(120)]
    for axis, task in zip(axes[0], tasks, strict=True):
        rows = [r for r in done.rows if r["function"] == task.name and int(r["seed"]) in seeds]
        calls = [number for number in grid if number <= task.calls] + [task.calls]
        lines = [[best_at(curve_of(row["curve"]), n) for n in calls] for row in rows]
        for line in lines:
            axis.step(calls, line, where="post", color="tab:blue", alpha=0.25, linewidth=0.8)
        middle = [statistics.median(values) for values in zip(*lines, strict=True)]
        axis.step(calls, middle, where="post", color="tab:blue", linewidth=2, label="rerd, median")
        axis.plot(list(task.bars), list(task.bars.values()), "k^", label="best published optimiser")
        axis.set_xscale("log")
        axis.set_ylim(-0.02, 1.05)
        axis.set_title(f"Ehrlich ({task.name.replace(',', ', ')})", fontsize=9)
        axis.set_xlabel("calls", fontsize=9)
        axis.grid(alpha=0.2)
        axis.tick_params(labelsize=8)
    axes[0][0].set_ylabel("best value", fontsize=9)
    axes[0][0].legend(fontsize=7, frameon=False)
    figure.tight_layout()
    figure.savefig(path, dpi=100)
    plt.close(figure)


def main() -> None:
    """Run what is missing, then write the report."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("out/benchmarks"))
    parser.add_argument("--work", type=Path, default=Path("out/ehrlich"), help="priors")
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--function", action="append", choices=[task.name for task in TASKS])
    options = parser.parse_args()
    torch.set_num_threads(1)
    tasks = [task for task in TASKS if options.function is None or task.name in options.function]
    seeds = range(options.first_seed, options.first_seed + options.seeds)
    done = Measurements(options.out / "ehrlich.csv", KEY, MEASURED)
    priors = {task: prior_of(task, options.work) for task in tasks}
    for seed in seeds:
        for task, prior in priors.items():
            version = prior.sha256[:8]
            if not done.has(task.name, seed, version):
                found = run(task, prior, seed)
                done.add(function=task.name, seed=seed, prior=version, **found)
                print(task.name, seed, found["best"], found["calls"], flush=True)
        report(options.out, done, tasks, seeds)


def report(out: Path, done: Measurements, tasks: Sequence[Task], seeds: range) -> None:
    """Write the table and the figure of the runs that are there."""
    draw_figure(out / "ehrlich.png", done, tasks, seeds)
    text = "Best value, median over runs, within so many calls; in brackets the best published\n"
    text += (
        "optimiser at as many. Calls count infeasible sequences, and those that were seen before.\n"
    )
    text += f"Settings of `rerd` for all functions: `{SETTINGS}`.\n\n"
    text += markdown_table([row for task in tasks for row in table(done, task, seeds)])
    write_report(out / "ehrlich.md", "Ehrlich functions", text + "\n![curves](ehrlich.png)\n")


if __name__ == "__main__":
    main()
