"""What sampling costs: beside the bare network, beside the published samplers, with a slow reward.

    python benchmarks/sampling.py --out out/benchmarks
    python benchmarks/sampling.py --peer SVDD --out out/benchmarks

Four questions, each a table of ``sampling.md``:

* *engine*: time of a design over the time that its denoiser rows take in the network alone, the
  floor of any sampler that needs these rows. The prior is a packaged one, the reward cheap.
* *published*: the samplers of SVDD (Li et al. 2024, https://github.com/masa-ue/SVDD), unmodified,
  beside designkit's: one network, one reward, one algorithm, 128 steps of the time grid. Needs
  ``--peer``, a checkout, and its requirements (lightning, hydra-core, omegaconf, torchmetrics,
  transformers, scipy).
* *defaults*: SVDD as published and with designkit's defaults, on a packaged prior and predictor:
  seconds a design, and what a second predictor says of the designs. Needs ``--peer``.
* *slow reward*: a process that takes 10 ms a sequence, and whether anything waits but for it.

Everything is measured in turns, several rounds in one process. With one thread the seconds are CPU
seconds, so that other work on the machine touches all alike; with more they are wall seconds, for a
machine that does nothing else.
"""

from __future__ import annotations

import argparse
import shlex
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from published_quality import VALUES, measure_quality, report_quality
from published_samplers import (
    CANDIDATES,
    SAMPLERS,
    TEMPERATURE,
    measure_published,
    report_published,
)
from reporting import Measurements, markdown_table, write_report
from timing import Clock, draw, inside
from torch import Tensor, nn

from designkit.alphabet import DNA
from designkit.models._chunks import CPU_ROWS, in_fixed_chunks
from designkit.models.base import DiffusionModel, one_hot
from designkit.registry.build import load_diffusion_model
from designkit.registry.store import Registry
from designkit.rewards import RewardEngine, WeightedReward, reward
from designkit.rewards.exec import Exec

ENGINE_METHODS: dict[str, dict[str, Any]] = {
    "ancestral": {},
    "svdd": {"candidates": CANDIDATES},
    "smc": {"temperature": TEMPERATURE},
    "nested_is": {"temperature": TEMPERATURE},
}
SLOW_MILLISECONDS = 10
SLOW_REWARD = f"""
import json, sys, time
for line in sys.stdin:
    item = json.loads(line)
    time.sleep({SLOW_MILLISECONDS / 1000})
    print(json.dumps({{"id": item["id"], "value": item["sequence"].count("G")}}), flush=True)
"""


@reward(alphabet="dna", unit="count")
def guanines(sequences: list[str]) -> list[float]:
    """A reward that costs next to nothing."""
    return [float(sequence.count("G")) for sequence in sequences]


def seconds_of_a_row(model: DiffusionModel, length: int, repeats: int = 5) -> float:
    """The network alone, a row, at the best of a few ways of calling it with many rows."""
    states = model.process.states
    rows = 8 * CPU_ROWS
    generator = torch.Generator().manual_seed(0)
    x = one_hot(torch.randint(states, (rows, length), generator=generator), states)
    t = torch.zeros(rows)
    network: nn.Module = model.denoiser
    if model.precision == "bf16":
        from designkit.models._bfloat16 import in_bfloat16

        network = in_bfloat16(network, None).network

    def call(x: Tensor, t: Tensor) -> Tensor:
        with torch.autocast("cpu", torch.bfloat16, enabled=model.precision == "bf16"):
            logits: Tensor = network(x, t)
        return logits

    times = []
    with torch.inference_mode():
        for size in (CPU_ROWS, 2 * CPU_ROWS, 4 * CPU_ROWS):
            own = []
            for _ in range(repeats):
                clock = Clock()
                in_fixed_chunks(call, [x, t], size)
                own.append(clock.seconds / rows)
            times.append(statistics.median(own))
    return min(times)


def measure_engine(done: Measurements, options: argparse.Namespace) -> None:
    """Rows and seconds of each method, batch and precision."""
    stored = Registry().find(options.model)
    for number in range(options.rounds):
        for precision in ("fp32", "bf16"):
            model = load_diffusion_model(stored, "cpu", precision)
            draw(model, "ancestral", None, 1)  # warm-up
            for method, settings in ENGINE_METHODS.items():
                for batch in options.batch:
                    populations = method in ("smc", "nested_is")
                    if done.has(method, precision, batch, number) or (populations and batch == 1):
                        continue
                    own = {**settings, "particles": batch} if populations else settings
                    engine = RewardEngine([WeightedReward(guanines())], alphabet=DNA)
                    model.counter.rows = 0
                    floor = seconds_of_a_row(model, model.length_law.maximum)
                    with inside(DiffusionModel, "logits") as denoiser:
                        clock = Clock()
                        draw(model, method, engine, batch, **own)
                        seconds = clock.seconds
                    floor = (floor + seconds_of_a_row(model, model.length_law.maximum)) / 2
                    done.add(
                        method=method, precision=precision, batch=batch, round=number,
                        seconds=seconds / batch, denoiser_seconds=denoiser[0] / batch,
                        floor=floor * model.counter.rows / batch,
                        denoiser_rows=model.counter.rows / batch,
                        reward_rows=engine.rows_scored / batch,
                    )  # fmt: skip
                    print(method, precision, batch, f"{seconds / batch:.3f} s a design", flush=True)


def report_engine(done: Measurements, options: argparse.Namespace) -> str:
    """A row for each method, precision and batch: medians over the rounds."""
    rows = []
    for precision in ("fp32", "bf16"):
        for method in ENGINE_METHODS:
            for batch in options.batch:
                where = {"method": method, "precision": precision, "batch": batch}
                seconds = done.select("seconds", **where)
                if not seconds:
                    continue
                floors = done.select("floor", **where)
                within = done.select("denoiser_seconds", **where)
                ratios = sorted(a / b for a, b in zip(seconds, floors, strict=True))
                shares = [a / b for a, b in zip(within, seconds, strict=True)]
                rows.append(
                    {
                        "method": method,
                        "precision": precision,
                        "batch": str(batch),
                        "designs/s": f"{1 / statistics.median(seconds):.2f}",
                        "denoiser rows": f"{done.select('denoiser_rows', **where)[0]:.0f}",
                        "reward rows": f"{done.select('reward_rows', **where)[0]:.0f}",
                        "in the denoiser": f"{statistics.median(shares):.0%}",
                        "over the floor": f"{statistics.median(ratios):.2f} "
                        f"({ratios[0]:.2f}-{ratios[-1]:.2f})",
                    }
                )
    return (
        f"## Over the floor\n\n{markdown_table(rows)}\n"
        f"Prior `{options.model}`, its own length, default steps, {CANDIDATES} candidates, a "
        "population as large as the batch. Rows are a design; the floor is the denoiser rows times "
        "the time of a row in the network alone, measured before and after each run. Ratios: "
        f"median, smallest and largest of {options.rounds} rounds.\n"
    )


def measure_slow(done: Measurements, options: argparse.Namespace) -> None:
    """Run svdd with a reward of 10 ms a sequence, and the seconds that the reward takes of them."""
    model = load_diffusion_model(Registry().find(options.model), "cpu")
    with tempfile.TemporaryDirectory() as folder:
        program = Path(folder) / "slow.py"
        program.write_text(SLOW_REWARD)
        command = shlex.join([sys.executable, str(program)])
        for workers in (1, 4):
            if done.has(workers):
                continue
            slow = Exec(command=command, workers=workers, alphabet="dna")
            with RewardEngine([WeightedReward(slow)], alphabet=DNA) as engine:
                slow.score(["ACGT"])  # starts the first process
                with inside(DiffusionModel, "logits") as denoiser:
                    started = time.perf_counter()
                    draw(model, "svdd", engine, options.slow_batch, candidates=CANDIDATES)
                    seconds = time.perf_counter() - started
                done.add(
                    workers=workers, seconds=seconds, reward_rows=engine.rows_scored,
                    own=engine.rows_scored * SLOW_MILLISECONDS / 1000 / workers,
                    denoiser_seconds=denoiser[0],
                )  # fmt: skip


def report_slow(done: Measurements, options: argparse.Namespace) -> str:
    """Wall seconds, and what is neither the reward's own time nor the denoiser's."""
    rows = []
    for row in done.rows:
        seconds, own = float(row["seconds"]), float(row["own"])
        denoiser = float(row["denoiser_seconds"])
        rows.append(
            {
                "processes": row["workers"],
                "reward rows": row["reward_rows"],
                "seconds": f"{seconds:.1f}",
                "reward's own": f"{own:.1f}",
                "denoiser": f"{denoiser:.1f}",
                "over their sum": f"{seconds / (own + denoiser):.2f}",
            }
        )
    return (
        f"\n## With a slow reward\n\n{markdown_table(rows)}\n"
        f"svdd, {options.slow_batch} designs of `{options.model}`, {CANDIDATES} candidates; an "
        f"`exec:` reward that sleeps {SLOW_MILLISECONDS} ms a sequence. The reward's own time is "
        "that of its rows over its processes.\n"
    )


def main() -> None:
    """Measure what is not measured yet, then write ``sampling.md``."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--peer", type=Path, help="a checkout of SVDD")
    parser.add_argument("--out", type=Path, default=Path("out/benchmarks"))
    parser.add_argument("--model", default="yeast-promoter")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--batch", type=int, nargs="+", default=[1, 16, 64])
    parser.add_argument("--published", nargs="+", default=list(SAMPLERS), choices=SAMPLERS)
    parser.add_argument("--published-batch", type=int, nargs="+", default=[4])
    parser.add_argument("--own-batch", type=int, nargs="+", default=[4, 64])
    parser.add_argument("--published-steps", type=int, default=128)
    parser.add_argument("--quality-designs", type=int, default=32)
    parser.add_argument("--slow-batch", type=int, default=4)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)

    def table(name: str, key: list[str], values: list[str]) -> Measurements:
        return Measurements(options.out / f"sampling-{name}.csv", key, values)

    engine = table(
        "engine",
        ["method", "precision", "batch", "round"],
        ["seconds", "denoiser_seconds", "floor", "denoiser_rows", "reward_rows"],
    )
    published = table(
        "published", ["method", "side", "batch", "round"], ["seconds", "denoiser_rows"]
    )
    slow = table("slow", ["workers"], ["seconds", "reward_rows", "own", "denoiser_seconds"])
    quality = table("quality", ["side"], VALUES)
    measure_engine(engine, options)
    if options.peer:
        measure_published(published, options)
        measure_quality(quality, options)
    measure_slow(slow, options)
    clock = "CPU seconds" if options.threads == 1 else "wall seconds"
    write_report(
        options.out / "sampling.md",
        "Sampling",
        f"{options.threads} thread{'s' * (options.threads > 1)}, {clock}.\n\n"
        + report_engine(engine, options)
        + report_published(published, options)
        + report_quality(quality, options)
        + report_slow(slow, options),
    )


if __name__ == "__main__":
    main()
