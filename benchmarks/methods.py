"""What every method buys at the same number of reward calls, on the three packaged priors.

A method gets the settings that make a design ask for at most ``--budget`` rewards (its own way of
fitting a budget: fewer steps, fewer candidates), so that quality is compared at equal reward calls;
denoiser rows and time are reported beside it. The guide is what the methods see; the judge is a
predictor of another architecture and other training rows, which no method saw. Likelihood is under
the prior that all of them draw from. Intervals are bootstrapped over designs, or over populations
where the designs of one depend on each other.

    python benchmarks/methods.py --out out/benchmarks [--data FOLDER]

With ``--data``, the folder of the measured tables, designs are also compared with the best measured
1 % by the correlation of their 3-mer counts.
"""

from __future__ import annotations

import argparse
import functools
import json
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from reporting import Measurements, markdown_table, write_report

from designkit import plugins
from designkit.errors import DesignkitError
from designkit.metrics.diversity import LONG_RUN, describe_set
from designkit.models.base import DiffusionModel
from designkit.recipes.objective import (
    ObjectiveSettings,
    RewardSettings,
    load_rewards,
    make_engine,
)
from designkit.recipes.options import OutputOptions, RunOptions
from designkit.recipes.sample import run_sample
from designkit.registry.build import load_diffusion_model
from designkit.registry.store import Registry
from designkit.sequence_stats import kmer_counts
from designkit.settings import Layer, validate

LIKELIHOOD_DRAWS = 32
POPULATION = 16
RESAMPLES = 2000
VALUES = (
    "judge",
    "judge_low",
    "judge_high",
    "judge_90",
    "judge_90_low",
    "judge_90_high",
    "guide",
    "log_likelihood",
    "kmer_correlation",
    "hamming",
    "long_runs",
    "reward_rows",
    "denoiser_rows",
    "cpu_seconds",
    "denoiser_share",
)


@dataclass(frozen=True)
class Case:
    """A prior, the guide and the judge, and the table of measured sequences."""

    guide: str
    judge: str
    table: str
    label: str
    where: Mapping[str, str] = field(default_factory=dict)


CASES = {
    "yeast-promoter": Case(
        "model:yeast-expression",
        "model:yeast-expression-holdout",
        "dna_yeast_promoter80_expression.csv.gz",
        "expression",
        {"medium": "complex_YPD"},
    ),
    "utr5": Case(
        "model:utr5-mrl",
        "model:utr5-mrl-holdout",
        "licence_unclear/rna_5utr_mrl_human_designed.csv.gz",
        "mrl",
    ),
    "retina-enhancer": Case(
        "model:retina-activity",
        "model:retina-activity-holdout",
        "dna_crx_retina_mpra.csv.gz",
        "log2_activity_vs_basal",
    ),
}

VARIANTS: dict[str, tuple[str, dict[str, Any]]] = {
    "svdd, value posterior_mean, guess own": ("svdd", {"value.guess": "own"}),
    "svdd, value posterior_mean, guess parent": ("svdd", {"value.guess": "parent"}),
    "svdd, value monte_carlo, 4 completions": ("svdd", {"value.name": "monte_carlo"}),
    "smc, value monte_carlo, 4 completions": ("smc", {"value.name": "monte_carlo"}),
}
"""What is compared beside every method's defaults."""


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


def fitted(name: str, settings: Mapping[str, Any], budget: int, length: int) -> dict[str, Any]:
    """Settings of a method that take at most so many rewards a design."""
    plugin = plugins.find("designkit.samplers", name)
    nested: dict[str, Any] = {}
    for key, value in settings.items():
        target = nested
        *path, last = key.split(".")
        for part in path:
            target = target.setdefault(part, {})
        target[last] = value
    if "particles" in plugin.model_fields:
        nested.setdefault("particles", POPULATION)
    sampler = validate(plugin, Layer("method", nested)).within(length, budget)
    return {**sampler.model_dump(exclude_unset=True), "name": name}


def draw(
    prior: str, guide: str, method: Mapping[str, Any], options: argparse.Namespace
) -> tuple[list[str], dict[str, float]]:
    """Designs of one method as ``designkit sample`` draws them, and its counts a design."""
    flags = {
        "model": prior,
        "num": options.designs,
        "method": dict(method),
        "rewards": [{"ref": guide}],
        "batch_size": 16,
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


def scores(ref: str, model: DiffusionModel, sequences: list[str]) -> NDArray[np.float64]:
    """Rewards of sequences."""
    engine = make_engine(
        load_rewards([RewardSettings(ref=ref)], "cpu"), ObjectiveSettings(), model.alphabet
    )
    assert engine is not None
    return engine.score(sequences).reward


def interval(
    values: NDArray[np.float64], share: float, population: int
) -> tuple[float, float, float]:
    """A quantile and its 95 % bootstrap interval over populations."""
    groups = values.reshape(-1, population)
    picks = np.random.default_rng(0).integers(len(groups), size=(RESAMPLES, len(groups)))
    drawn = np.quantile(groups[picks].reshape(RESAMPLES, -1), share, axis=1)
    low, high = np.quantile(drawn, [0.025, 0.975])
    return float(np.quantile(values, share)), float(low), float(high)


def best_measured(case: Case, data: Path | None) -> list[str]:
    """The best measured 1 % of a table, one sequence once."""
    if data is None:
        return []
    table = pd.read_csv(data / case.table)
    for column, wanted in case.where.items():
        table = table[table[column] == wanted]
    table = table.sort_values(case.label, ascending=False)
    return list(dict.fromkeys(table["sequence"].head(len(table) // 100)))


def kmer_correlation(first: list[str], second: list[str], model: DiffusionModel) -> float:
    """Pearson correlation of the 3-mer counts of two sets; NaN without a second one."""
    if not second:
        return float("nan")
    alphabet = model.alphabet
    counts = [
        sum(kmer_counts(alphabet.encode([one]), 3, alphabet.size).sum(0) for one in written)
        for written in (first, second)
    ]
    return float(np.corrcoef(*counts)[0, 1])


def judged(
    prior: str, sequences: list[str], population: int, data: Path | None
) -> dict[str, float]:
    """What the judge, the guide and the prior say of designs, and what the set is like."""
    case, model = CASES[prior], load_diffusion_model(Registry().find(prior), "cpu")
    judge = scores(case.judge, model, sequences)
    half, low, high = interval(judge, 0.5, population)
    top, top_low, top_high = interval(judge, 0.9, population)
    tokens = torch.from_numpy(model.alphabet.encode(sequences))
    likelihood, _ = model.log_likelihood(tokens, LIKELIHOOD_DRAWS)
    described = describe_set(sequences, model.alphabet)
    return {
        "judge": half,
        "judge_low": low,
        "judge_high": high,
        "judge_90": top,
        "judge_90_low": top_low,
        "judge_90_high": top_high,
        "guide": float(np.median(scores(case.guide, model, sequences))),
        "log_likelihood": float(likelihood.median()),
        "kmer_correlation": kmer_correlation(sequences, best_measured(case, data), model),
        "hamming": described["hamming"],
        "long_runs": described["long_runs"],
    }


def section(done: Measurements, prior: str, key: str) -> str:
    """The table of one prior, the best median first."""
    rows = []
    found = [row for row in done.rows if row["prior"] == prior and row["run"] == key]
    for row in sorted(found, key=lambda row: -float(row["judge"])):
        number = {column: float(row[column]) for column in VALUES}
        rows.append(
            {
                "method": row["method"],
                "settings": row["settings"],
                "judge, median": "{judge:.2f} ({judge_low:.2f}-{judge_high:.2f})".format(**number),
                "judge, 90 %": "{judge_90:.2f} ({judge_90_low:.2f}-{judge_90_high:.2f})".format(
                    **number
                ),
                "guide": f"{number['guide']:.2f}",
                "log-likelihood": f"{number['log_likelihood']:.1f}",
                "3-mers": f"{number['kmer_correlation']:.2f}",
                "differing": f"{number['hamming']:.0%}",
                "runs": f"{number['long_runs']:.0%}",
                "reward rows": f"{number['reward_rows']:.0f}",
                "denoiser rows": f"{number['denoiser_rows']:.0f}",
                "CPU s": f"{number['cpu_seconds']:.2f}",
                "in denoiser": f"{number['denoiser_share']:.0%}",
            }
        )
    return f"## {prior}\n\n{markdown_table(rows)}" if rows else ""


def in_words(method: Mapping[str, Any]) -> str:
    """The settings of a method, without its name."""
    shown = {key: value for key, value in method.items() if key not in ("name", "particles")}
    return (
        ", ".join(f"{key} {value}" for key, value in shown.items()).replace("|", "/") or "default"
    )


def report(done: Measurements, options: argparse.Namespace, key: str) -> str:
    """All tables and what their columns are."""
    sections = "\n".join(filter(None, (section(done, prior, key) for prior in CASES)))
    return (
        f"{sections}\n"
        f"{options.designs} designs a row, seed {options.seed}, at most {options.budget} rewards a "
        f"design (populations of {POPULATION} where designs come in populations), one thread; rows "
        "and seconds are a design, loading the models included. Intervals: 95 %, bootstrapped. "
        "Reward rows are distinct sequences scored; log-likelihood: median, nats under the prior; "
        "3-mers: correlation of 3-mer counts with those of the best measured 1 %; differing: "
        "letters that differ between two designs, on average; runs: designs with at least "
        f"{LONG_RUN} equal letters in a row.\n"
    )


def main() -> None:
    """Measure what is not measured yet, then write ``methods.md``."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--out", type=Path, default=Path("out/benchmarks"))
    parser.add_argument("--data", type=Path, help="folder with the measured tables")
    parser.add_argument("--prior", choices=list(CASES), help="one of them; all when not given")
    parser.add_argument("--method", action="append", help="only these; repeatable")
    parser.add_argument("--designs", type=int, default=2 * POPULATION)
    parser.add_argument("--budget", type=int, default=200, help="rewards a design")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    denoiser = Stopwatch(DiffusionModel, "logits")
    done = Measurements(options.out / "methods.csv", ["prior", "method", "settings", "run"], VALUES)
    key = f"{options.designs} designs, {options.budget} rewards, seed {options.seed}"
    every = {name: (name, {}) for name in plugins.names("designkit.samplers")} | VARIANTS
    wanted = {
        label: found
        for label, found in every.items()
        if not options.method or found[0] in options.method
    }
    for prior in [options.prior] if options.prior else CASES:
        length = max(int(one) for one in Registry().find(prior).card["length_law"])
        for label, (name, settings) in wanted.items():
            try:
                method = fitted(name, settings, options.budget, length)
                words = in_words(method)
                if done.has(prior, label, words, key):
                    continue
                denoiser.seconds = 0.0
                started = time.process_time()
                sequences, counts = draw(prior, CASES[prior].guide, method, options)
                seconds = time.process_time() - started
            except DesignkitError as problem:
                print(f"{prior}, {label}: left out: {problem}")
                continue
            plugin = validate(
                plugins.find("designkit.samplers", name),
                Layer("", {k: v for k, v in method.items() if k != "name"}),
            )
            population = min(plugin.population, options.designs)
            values = judged(prior, sequences, population, options.data)
            own = {
                "cpu_seconds": seconds / options.designs,
                "denoiser_share": denoiser.seconds / seconds,
            }
            done.add(
                prior=prior,
                method=label,
                settings=words,
                run=key,
                **values,
                **counts,
                **own,
            )
    write_report(
        options.out / "methods.md", "Every method at equal reward calls", report(done, options, key)
    )


if __name__ == "__main__":
    main()
