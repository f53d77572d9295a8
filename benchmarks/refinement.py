"""Refiners beside a plain genetic algorithm on measured proteins and on promoters.

* GB1: fitness of 134,425 of the 160,000 variants of four sites of a protein (Wu et al. 2016),
  looked up; variants that were not measured have no score, and count as evaluations. The prior is
  trained on the measured variants' sites, whatever their fitness. A run begins with variants below
  the median fitness and does 5 rounds of 40 evaluations.
* Promoters: natural yeast promoters below the median expression, at most 8 edits and 1,000
  predictions of the guide. The judge is a predictor of other training rows that no method saw.

    python benchmarks/refinement.py --data FOLDER --out out/benchmarks
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from gradient_refinement import GUIDE, JUDGE, PRIOR, TABLE, predictor
from refining import engine_of, log_likelihood, refined, shown
from reporting import Measurements, markdown_table, write_report

from designkit import plugins
from designkit.algorithms.refinement.base import Refiner
from designkit.models.base import DiffusionModel
from designkit.registry.build import load_diffusion_model
from designkit.registry.store import Registry

GB1 = "protein_gb1_four_site_fitness.csv.gz"
ROUNDS, EACH, LONGEST, EDITS = 5, 40, 1000, 8
METHODS: dict[str, tuple[str, dict[str, Any]]] = {
    "genetic": ("genetic", {}),
    "genetic, mutations by the prior": ("genetic", {"mutation": "prior"}),
    "genetic, as few parents as rerd": ("genetic", {"population": 4}),
    "rerd": ("rerd", {}),
    "mh": ("mh", {}),
    "ladder": ("ladder", {}),
    "gradient": ("gradient", {}),
}
"""Names and settings; what is not set is as it comes."""
BASELINE = "genetic"
KEY = ["method", "begins", "run"]


def method(label: str, alpha: float, children: int | None = None) -> Refiner:
    """A method of the table.

    Args:
        label: its name there.
        alpha: of those that have a temperature above 0.
        children: of a round; the method's own number when not given.
    """
    name, settings = METHODS[label]
    plugin = plugins.find("designkit.refiners", name)
    settings = dict(settings)
    if plugin.model_fields["temperature"].default is None:
        settings["temperature"] = alpha
    if children is not None:
        many = {"mh": {"population": children}, "ladder": {"population": children // 5, "rungs": 5}}
        settings |= many.get(name, {"offspring": children})
    found: Refiner = plugin(**settings)
    return found


def gb1_prior(data: Path, out: Path) -> DiffusionModel:
    """The prior of the four sites, trained once."""
    os.environ["DESIGNKIT_HOME"] = str(out / "gb1")
    settings = {
        "kind": "prior",
        "alphabet": "protein",
        "data.column": "sites",
        "split.by": "group:id",
        "architecture.name": "cnn",
        "architecture.channels": 64,
        "architecture.kernel": 7,
        "architecture.dilations": [1, 1],
        "architecture.repeats": 1,
        "split.part": [0, 0.1],
        "split.valid": 0.05,
        "split.test": 0.05,
        "optimizer.updates": 400,
        "optimizer.batch_size": 64,
    }
    if not (out / "gb1" / "models" / "gb1-sites").exists():
        line = [sys.executable, "-m", "designkit", "pretrain", "--data", str(data / GB1)]
        for key, value in settings.items():
            line += ["--set", f"{key}={value}"]
        line += ["--name", "gb1-sites", "--seed", "0", "--run-dir", str(out / "gb1" / "run")]
        subprocess.run(line, check=True)
    return load_diffusion_model(Registry().find("gb1-sites"), "cpu")


def measure_gb1(done: Measurements, options: argparse.Namespace) -> None:
    """Fill in what is missing."""
    table = pd.read_csv(options.data / GB1)
    poor = table.loc[table["fitness"] < table["fitness"].median(), "sites"].to_numpy()
    spread = float(table["fitness"].std())
    model = gb1_prior(options.data, options.out)
    engine = engine_of(model, f"landscape?file={options.data / GB1}&value=fitness&column=sites")
    for seed in range(options.seeds):
        pool = np.random.default_rng(seed).choice(poor, EACH, replace=False).tolist()
        for begins, starts in ((f"with {EACH}", pool), ("with 1", pool[:1])):
            for label in [one for one in options.method if one != "gradient"]:
                if done.has(label, begins, seed):
                    continue
                refiner = method(label, spread / 5, EACH)
                evals = len(starts) + ROUNDS * EACH
                archive = refined(refiner, model, engine, starts, seed, evals=evals, rounds=ROUNDS)
                rewards = np.sort(np.array(archive.ledger.rewards[len(starts) :]))[::-1]
                row = {"best": rewards[0], "median": np.median(rewards[:EACH])}
                row |= {"evals": len(rewards), "missing": int(np.isneginf(rewards).sum())}
                print(label, begins, seed, row, flush=True)
                done.add(method=label, begins=begins, run=seed, **row)


def promoters(data: Path, count: int) -> list[str]:
    """Natural promoters below the median of the natural ones, drawn at random."""
    table = pd.read_csv(data / TABLE)
    table = table[(table["origin"] == "native") & (table["medium"] == "complex_YPD")]
    poor = table[table["expression"] < table["expression"].median()].drop_duplicates("sequence")
    return poor.sample(count, random_state=0)["sequence"].tolist()


def measure_promoters(done: Measurements, options: argparse.Namespace) -> None:
    """Fill in what is missing."""
    model = load_diffusion_model(Registry().find(PRIOR), "cpu")
    models = {"guide": predictor(GUIDE), "judge": predictor(JUDGE)}
    for number, start in enumerate(promoters(options.data, options.starts)):
        for label in options.method:
            if done.has(label, "with 1", number):
                continue
            engine = engine_of(model, f"model:{GUIDE}")
            refiner = method(label, options.alpha)
            archive = refined(
                refiner, model, engine, [start], number, evals=LONGEST - 4, most_edits=EDITS
            )
            best = archive.sequence(archive.best(0, 1)[0])
            tokens = torch.from_numpy(model.alphabet.encode([start, best]))
            gains = {
                name: float(one.predict(tokens)[:, :, 0].mean(1).diff()[0])
                for name, one in models.items()
            }
            row = {
                "sequence": best,
                **gains,
                "likelihood": log_likelihood(model, best) - log_likelihood(model, start),
                "edits": sum(a != b for a, b in zip(best, start, strict=True)),
                "evals": engine.rows_scored,
            }
            print(label, number, row, flush=True)
            done.add(method=label, begins="with 1", run=number, **row)


def beside(done: Measurements, begins: str, values: Mapping[str, str]) -> str:
    """Means of every method, and what they are more than the genetic algorithm's, run by run.

    Args:
        done: what was measured.
        begins: with which starts.
        values: column to what the table calls it.
    """
    rows = []
    own = [row for row in done.rows if row["begins"] == begins]
    for label in dict.fromkeys(row["method"] for row in own):
        row = {"method": label}
        for value, title in values.items():
            found, other = (
                np.array(done.select(value, method=one, begins=begins)) for one in (label, BASELINE)
            )
            row[title] = shown(found)
            row[f"{title}, less {BASELINE}"] = "" if label == BASELINE else shown(found - other)
        rows.append(row)
    return markdown_table(rows) if rows else ""


def report(gb1: Measurements, yeast: Measurements, options: argparse.Namespace) -> str:
    """All tables."""
    fitness = {"best": "best fitness", "median": f"median of the best {EACH}"}
    gain = {"guide": "guide's gain", "judge": "judge's gain", "likelihood": "nats gained"}
    return (
        f"## GB1, {ROUNDS} rounds of {EACH}, beginning with {EACH} variants below the median\n\n"
        f"{beside(gb1, f'with {EACH}', fitness)}\n"
        f"## GB1, the same from a single variant\n\n{beside(gb1, 'with 1', fitness)}\n"
        f"## Yeast promoters, at most {EDITS} edits and {LONGEST:,} predictions\n\n"
        f"{beside(yeast, 'with 1', gain)}\n"
        f"Means over {options.seeds} seeds (GB1) and {options.starts} natural promoters below the "
        "median, with 95 % bootstrap intervals; differences are run by run. GB1: fitness of the "
        "wild type is 1, the starts do not count, all methods with as many children a round. "
        "Temperatures of mh, ladder and gradient are a fifth of a standard deviation: of the "
        f"table, or of the guide under the prior ({options.alpha}). Promoters: the design that the "
        f"guide finds best; nats under {PRIOR}.\n"
    )


def main() -> None:
    """Measure what is not measured yet, then write ``refinement.md``."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--out", type=Path, default=Path("out/benchmarks"))
    parser.add_argument("--data", type=Path, required=True, help="folder with the measured tables")
    parser.add_argument("--seeds", type=int, default=20, help="runs on GB1")
    parser.add_argument("--starts", type=int, default=20, help="promoters")
    parser.add_argument("--alpha", type=float, default=0.54)
    parser.add_argument("--method", nargs="+", choices=list(METHODS), default=list(METHODS))
    parser.add_argument("--part", choices=["gb1", "promoters"], help="both when not given")
    options = parser.parse_args()
    torch.set_num_threads(1)
    gb1 = Measurements(
        options.out / "refinement_gb1.csv", KEY, ["best", "median", "evals", "missing"]
    )
    columns = ["sequence", "guide", "judge", "likelihood", "edits", "evals"]
    yeast = Measurements(options.out / "refinement_promoters.csv", KEY, columns)
    if options.part != "promoters":
        measure_gb1(gb1, options)
    if options.part != "gb1":
        measure_promoters(yeast, options)
    text = report(gb1, yeast, options)
    write_report(options.out / "refinement.md", "Refiners on proteins and promoters", text)


if __name__ == "__main__":
    main()
