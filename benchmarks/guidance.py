"""What guidance buys: SVDD beside best-of-N at the same number of reward calls.

Draws designs unguided, with SVDD, and with best-of-N where N is the number of distinct sequences
for which SVDD asked the reward, a design. The guide is what the methods see; the judge is a
predictor of another architecture and other training rows, which no method saw. Likelihood is under
the prior that all of them draw from.

    python benchmarks/guidance.py --out out/benchmarks
"""

from __future__ import annotations

import argparse
import functools
import json
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from reporting import Measurements, markdown_table, write_report

from designkit.metrics.diversity import LONG_RUN, describe_set
from designkit.models.base import DiffusionModel
from designkit.recipes.objective import (
    ObjectiveSettings,
    RewardSettings,
    load_rewards,
    make_engine,
)
from designkit.recipes.options import RunOptions
from designkit.recipes.sample import OutputOptions, run_sample
from designkit.registry.build import load_diffusion_model
from designkit.registry.store import Registry
from designkit.rewards import RewardEngine

LIKELIHOOD_DRAWS = 64
BATCH = 16
VALUES = (
    "guide",
    "judge",
    "log_likelihood",
    "hamming",
    "long_runs",
    "reward_rows",
    "denoiser_rows",
    "cpu_seconds",
    "denoiser_seconds",
    "reward_seconds",
)


class Stopwatch:
    """CPU seconds spent inside methods of a class, measured from outside."""

    def __init__(self, owner: type, *names: str):
        self.seconds = 0.0
        for name in names:
            setattr(owner, name, self._timed(getattr(owner, name)))

    def _timed(self, function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def timed(*arguments: Any, **keywords: Any) -> Any:
            started = time.process_time()
            try:
                return function(*arguments, **keywords)
            finally:
                self.seconds += time.process_time() - started

        return timed


def models_used(options: argparse.Namespace) -> str:
    """The prior and the predictors with the starts of their hashes."""
    refs = [options.model] + [
        ref.removeprefix("model:").partition("#")[0]
        for ref in (options.guide, options.judge)
        if ref.startswith("model:")
    ]
    stored = [Registry().find(ref) for ref in refs]
    return ", ".join(f"{one.ref} ({one.sha256[:8]})" for one in stored)


def draw(
    options: argparse.Namespace, method: str, candidates: int | None
) -> tuple[list[str], dict[str, float]]:
    """Designs of one method as ``designkit sample`` draws them, and its counts a design."""
    flags: dict[str, Any] = {
        "model": options.model,
        "num": options.designs,
        "method.name": method,
        "method.steps": options.steps,
        "method.candidates": candidates,
        "rewards": [{"ref": options.guide}],
        "batch_size": BATCH,
    }
    with tempfile.TemporaryDirectory() as folder:
        target = str(Path(folder) / "designs.csv")
        run_sample(
            RunOptions(flags=flags, seed=options.seed, device="cpu", threads=1, quiet=True),
            OutputOptions(target),
        )
        calls = json.loads(Path(target + ".meta.json").read_text())["calls"]
        sequences = pd.read_csv(target)["sequence"].tolist()
    return sequences, {
        "reward_rows": calls["reward_rows_scored"] / options.designs,
        "denoiser_rows": calls["denoiser_rows"] / options.designs,
    }


def judge(options: argparse.Namespace, sequences: list[str]) -> dict[str, float]:
    """Medians of the guide's and the judge's scores and of the likelihood; what the set is like."""
    model = load_diffusion_model(Registry().find(options.model), "cpu")
    medians = {}
    for column, ref in {"guide": options.guide, "judge": options.judge}.items():
        rewards = load_rewards([RewardSettings(ref=ref)], "cpu")
        engine = make_engine(rewards, ObjectiveSettings(), model.alphabet)
        assert engine is not None
        medians[column] = float(np.median(engine.score(sequences).reward))
    tokens = torch.from_numpy(model.alphabet.encode(sequences))
    likelihood, _ = model.log_likelihood(tokens, LIKELIHOOD_DRAWS)
    described = describe_set(sequences, model.alphabet)
    return {
        **medians,
        "log_likelihood": float(likelihood.median()),
        "hamming": described["hamming"],
        "long_runs": described["long_runs"],
    }


def report(done: Measurements, options: argparse.Namespace, models: str) -> str:
    """The table, one row a method."""
    rows = []
    for row in done.rows:
        if row["models"] != models:
            continue
        number = {column: float(row[column]) for column in VALUES}
        seconds = number["cpu_seconds"]
        rows.append(
            {
                "method": row["method"],
                "guide": f"{number['guide']:.3f}",
                "judge": f"{number['judge']:.3f}",
                "log-likelihood": f"{number['log_likelihood']:.1f}",
                "differing letters": f"{number['hamming']:.0%}",
                "long runs": f"{number['long_runs']:.0%}",
                "reward rows": f"{number['reward_rows']:.0f}",
                "denoiser rows": f"{number['denoiser_rows']:.0f}",
                "CPU s": f"{seconds / options.designs:.2f}",
                "in the denoiser": f"{number['denoiser_seconds'] / seconds:.0%}",
                "in the reward": f"{number['reward_seconds'] / seconds:.0%}",
            }
        )
    return (
        f"{markdown_table(rows)}\n"
        f"{options.designs} designs of `{options.model}`, seed {options.seed}, {options.steps} "
        f"steps, one thread. Guide: `{options.guide}`; judge, seen by no method: "
        f"`{options.judge}`. Medians over designs; likelihood in nats under the prior; rows and "
        "seconds are a design, loading the models included in the seconds. Reward rows are "
        "distinct sequences scored. Differing letters: of two designs, on average; long runs: "
        f"designs with at least {LONG_RUN} equal letters in a row. Models: {models}.\n"
    )


def main() -> None:
    """Measure the methods that are not measured yet, then write ``guidance.md``."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--out", type=Path, default=Path("out/benchmarks"))
    parser.add_argument("--model", default="yeast-promoter")
    parser.add_argument("--guide", default="model:yeast-expression", metavar="REF")
    parser.add_argument("--judge", default="model:yeast-expression-holdout", metavar="REF")
    parser.add_argument("--designs", type=int, default=16)
    parser.add_argument("--candidates", type=int, default=10, help="children a step of SVDD")
    parser.add_argument("--steps", type=int, default=80)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    denoiser = Stopwatch(DiffusionModel, "logits")
    reward = Stopwatch(RewardEngine, "score")
    done = Measurements(options.out / "guidance.csv", ["method", "models"], VALUES)
    models = models_used(options)

    def measure(label: str, method: str, candidates: int | None) -> None:
        if done.has(label, models):
            return
        denoiser.seconds = reward.seconds = 0.0
        started = time.process_time()
        sequences, counts = draw(options, method, candidates)
        seconds = {
            "cpu_seconds": time.process_time() - started,
            "denoiser_seconds": denoiser.seconds,
            "reward_seconds": reward.seconds,
        }
        done.add(method=label, models=models, **judge(options, sequences), **counts, **seconds)

    svdd = f"svdd, {options.candidates} candidates"
    measure("ancestral", "ancestral", None)
    measure(svdd, "svdd", options.candidates)
    same = round(done.select("reward_rows", method=svdd, models=models)[0])
    measure(f"best_of_n, N = {same}", "best_of_n", same)
    write_report(
        options.out / "guidance.md", "SVDD beside best-of-N", report(done, options, models)
    )


if __name__ == "__main__":
    main()
