"""Direct optimisation of promoters beside Ledidi, at equal numbers of predicted sequences.

Both start from the same natural promoters and follow derivatives of the same predictor. Every
sequence that passes through it counts, with or without a derivative, repeats too. Of each run the
sequence with the highest prediction is taken, whenever it was tried: Ledidi, which returns its last
or best batch, is given the best that it ever tried. Ledidi is asked for the highest expression with
its published loss (the square of the distance to a target above all measured values, and 0.1 an
edit), and with one that is the expression alone.

    pip install ledidi                          # beside designkit; or --ledidi FOLDER holding it
    python benchmarks/gradient_refinement.py --data FOLDER --out out/benchmarks
"""

from __future__ import annotations

import argparse
import sys
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from refining import engine_of, log_likelihood, refined, shown
from reporting import Measurements, markdown_table, write_report
from torch import Tensor, nn

from designkit.algorithms.refinement.gradient import Gradient
from designkit.alphabet import DNA
from designkit.models.base import DiffusionModel, Predictor
from designkit.registry.build import LOADERS, load_diffusion_model
from designkit.registry.store import Registry

PRIOR, GUIDE, JUDGE = "yeast-promoter", "yeast-expression", "yeast-expression-holdout"
TABLE = "dna_yeast_promoter80_expression.csv.gz"
ABOVE_ALL = 20.0
"""Target of Ledidi's loss; measured expressions are below 17."""
BATCH = 16
VALUES = ["sequence", "guide", "judge", "log_likelihood", "edits", "rows"]
Run = Callable[[str, int, int], tuple[str, int]]
"""A start, a budget of predicted sequences and a seed to the best sequence and what was spent."""


def predictor(name: str) -> Predictor:
    """A fresh packaged predictor, whose counter is at 0."""
    found = LOADERS["predictor"](Registry().find(name), "cpu")
    assert isinstance(found, Predictor)
    return found


class Watched(nn.Module):
    """The guide as Ledidi takes it: (B, 4, L) to (B, 1); remembers the best sequence it saw."""

    def __init__(self, guide: Predictor):
        super().__init__()
        self.guide = guide
        self.best, self.sequence = -np.inf, ""

    def forward(self, one_hots: Tensor) -> Tensor:
        """Predictions."""
        values = self.guide.predict_relaxed(one_hots.transpose(1, 2))[..., 0].mean(1)
        place = int(values.argmax())
        if float(values[place]) > self.best:
            self.best = float(values[place])
            self.sequence = DNA.decode(one_hots[place].argmax(0)[None])[0]
        return values[:, None]


def ledidi(is_plain: bool) -> Run:
    """Ledidi with its own settings; ``is_plain`` is for the expression alone."""

    def run(start: str, budget: int, seed: int) -> tuple[str, int]:
        from ledidi import Ledidi

        torch.manual_seed(seed)
        model = Watched(predictor(GUIDE))
        one_hot = nn.functional.one_hot(torch.from_numpy(DNA.encode([start])), 4).float()
        one_hot = one_hot.transpose(1, 2).contiguous()
        updates = (budget - 1) // BATCH  # one row is the start itself
        settings = {"max_iter": updates, "early_stopping_iter": updates, "batch_size": BATCH}
        if is_plain:
            settings |= {"l": 0.0, "output_loss": lambda found, target: -found.mean()}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            made = Ledidi(model, tuple(one_hot.shape[1:]), verbose=False, **settings)
            made.fit_transform(one_hot, torch.tensor([[ABOVE_ALL]]))
        return model.sequence, model.guide.counter.rows

    return run


def gradient(prior: DiffusionModel, alpha: float) -> Run:
    """The refiner with its own settings at a temperature."""

    def run(start: str, budget: int, seed: int) -> tuple[str, int]:
        engine = engine_of(prior, f"model:{GUIDE}")
        method = Gradient(temperature=alpha)
        archive = refined(method, prior, engine, [start], seed, evals=budget - method.population)
        return archive.sequence(archive.best(0, 1)[0]), engine.rows_scored

    return run


def starts_from(folder: Path, count: int) -> list[str]:
    """Natural promoters, drawn at random."""
    table = pd.read_csv(folder / TABLE)
    table = table[(table["origin"] == "native") & (table["medium"] == "complex_YPD")]
    return table.drop_duplicates("sequence").sample(count, random_state=0)["sequence"].tolist()


def measure(done: Measurements, options: argparse.Namespace) -> None:
    """Fill in what is missing."""
    prior = load_diffusion_model(Registry().find(PRIOR), "cpu")
    guide, judge = predictor(GUIDE), predictor(JUDGE)
    runs: dict[str, Run] = {f"gradient, alpha {a:g}": gradient(prior, a) for a in options.alpha}
    if options.ledidi is not None:
        sys.path.append(str(options.ledidi))
    runs |= {"ledidi, its loss": ledidi(False), "ledidi, expression alone": ledidi(True)}
    if options.method:
        runs = {label: run for label, run in runs.items() if options.method in label}
    for number, start in enumerate(starts_from(options.data, options.starts)):
        for method, run in runs.items():
            if done.has(method, number, options.budget):
                continue
            sequence, rows = run(start, options.budget, number)
            assert rows <= options.budget
            tokens = torch.from_numpy(DNA.encode([sequence]))
            row = {
                "sequence": sequence,
                "guide": float(guide.predict(tokens)[0, :, 0].mean()),
                "judge": float(judge.predict(tokens)[0, :, 0].mean()),
                "log_likelihood": log_likelihood(prior, sequence),
                "edits": sum(a != b for a, b in zip(sequence, start, strict=True)),
                "rows": rows,
            }
            print(method, number, row, flush=True)
            done.add(method=method, start=number, budget=options.budget, **row)


def report(done: Measurements, options: argparse.Namespace) -> str:
    """Means over starts, and differences from Ledidi start by start."""
    where = {"budget": options.budget}
    methods = list(dict.fromkeys(row["method"] for row in done.rows))
    rows, differences = [], []
    for method in methods:
        found = {v: np.array(done.select(v, method=method, **where)) for v in VALUES[1:]}
        rows.append(
            {
                "method": method,
                "guide": shown(found["guide"]),
                "judge": shown(found["judge"]),
                "log-likelihood": shown(found["log_likelihood"], 1),
                "edits": f"{np.median(found['edits']):.0f}",
                "predicted sequences": f"{found['rows'].mean():.0f}",
            }
        )
        for other in (one for one in methods if one.startswith("ledidi")):
            if method.startswith("gradient"):
                gain = {
                    v: found[v] - np.array(done.select(v, method=other, **where))
                    for v in ("guide", "judge", "log_likelihood")
                }
                differences.append(
                    {
                        "difference": f"{method}, less {other}",
                        "guide": shown(gain["guide"]),
                        "judge": shown(gain["judge"]),
                        "log-likelihood": shown(gain["log_likelihood"], 1),
                    }
                )
    return (
        f"{markdown_table(rows)}\n{markdown_table(differences)}\n"
        f"{options.starts} natural yeast promoters, {options.budget} predicted sequences each; the "
        "best sequence by the guide. Means over starts with 95 % bootstrap intervals; edits: "
        "median. The judge is a predictor of other training rows that no method saw; "
        f"log-likelihood: nats under {PRIOR}.\n"
    )


def main() -> None:
    """Measure what is not measured yet, then write ``gradient_refinement.md``."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--out", type=Path, default=Path("out/benchmarks"))
    parser.add_argument("--data", type=Path, required=True, help="folder with the measured tables")
    parser.add_argument("--ledidi", type=Path, help="folder that holds the package")
    parser.add_argument("--starts", type=int, default=20)
    parser.add_argument("--budget", type=int, default=1000, help="predicted sequences a run")
    parser.add_argument("--alpha", type=float, nargs="+", default=[0.54])
    parser.add_argument("--method", help="only those whose name holds this")
    options = parser.parse_args()
    torch.set_num_threads(1)
    key = ["method", "start", "budget"]
    done = Measurements(options.out / "gradient_refinement.csv", key, VALUES)
    measure(done, options)
    text = report(done, options)
    write_report(options.out / "gradient_refinement.md", "Direct optimisation of promoters", text)


if __name__ == "__main__":
    main()
