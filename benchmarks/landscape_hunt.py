"""How many sites a method scores until the best of a measured landscape is among them."""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Callable, Sequence
from contextlib import suppress

import numpy as np
from landscape_case import Case, hunters
from landscape_chains import populations
from landscape_task import LENGTH, CountedTable, LookedUp, Task
from reporting import Measurements, markdown_table

from designkit.algorithms.refinement.base import Brief, Refiner, Spent
from designkit.algorithms.sampling.base import Request, Sampler
from designkit.errors import ConfigurationError, Interrupted
from designkit.randomness import noise_for

KEY = ["factor", "method", "settings", "seed", "prior"]
MEASURED = ["found_at", "denoiser_rows"]
BATCH = 8
FRUITLESS = 50
"""Batches or rounds without a new site after which a method is given up."""


def hunter(case: Case, temperature: float) -> Sampler | Refiner:
    """The method at temperature 0 where it can be, else at the given one."""
    made = case.refiner if case.refines else case.sampler
    try:
        found = made(0.0)
    except ConfigurationError:
        found = made(temperature)
    assert isinstance(found, Sampler | Refiner)
    return found


def hunt(task: Task, method: Sampler | Refiner, seed: int, limit: int) -> dict[str, float]:
    """Go on until the best site is scored, or ``limit`` distinct ones are."""
    model, objective = task.prior(), task.objective()

    def stop() -> bool:
        return objective.found_at is not None or objective.distinct >= limit

    with suppress(Interrupted, Spent):
        if isinstance(method, Refiner):
            refine(method, model, objective, seed, limit, stop)
        else:
            sample(method, model, objective, seed, stop)
    found = objective.found_at
    return {
        "found_at": found if found is not None and found <= limit else np.inf,
        "denoiser_rows": model.counter.rows,
    }


def sample(
    sampler: Sampler, model: LookedUp, objective: CountedTable, seed: int, stop: Callable[[], bool]
) -> None:
    """Draw batches of designs, or populations."""
    rows = -(-BATCH // sampler.population) * sampler.population
    start, fruitless = 0, 0
    while not stop() and fruitless < FRUITLESS:
        before = objective.distinct
        noise = noise_for(seed, rows, start=start)
        sampler.sample(model, objective, Request(LENGTH, should_stop=stop), noise)
        start += rows
        fruitless = fruitless + 1 if objective.distinct == before else 0


def refine(
    refiner: Refiner,
    model: LookedUp,
    objective: CountedTable,
    seed: int,
    limit: int,
    stop: Callable[[], bool],
) -> None:
    """Refine one lineage that begins with draws of the prior."""
    before, fruitless = 0, 0
    brief, noise = Brief(stop), noise_for(seed, 1)
    for _ in populations(refiner, model, objective, brief, noise, limit):
        fruitless = fruitless + 1 if objective.distinct == before else 0
        before = objective.distinct
        if stop() or fruitless == FRUITLESS:
            return


def measure(done: Measurements, task: Task, options: argparse.Namespace) -> None:
    """Fill in what is missing."""
    for case in hunters():
        method = hunter(case, task.spread / max(options.divisors))
        for seed in range(options.hunts):
            where = {"factor": task.factor, **case.where(), "seed": seed, "prior": task.version}
            if not done.has(*where.values()):
                found = hunt(task, method, seed, options.limit)
                print(task.factor, case.label, seed, found, flush=True)
                done.add(**where, **found)


def table(done: Measurements, tasks: Sequence[Task], options: argparse.Namespace) -> str:
    """When each method scored the best site, for every factor."""
    rows = [{"method": "uniform random search, without repeats"}]
    for task in tasks:
        rows[0][task.factor] = f"{random_search(task):,.0f}"
    for case in hunters():
        row = {"method": case.label}
        for task in tasks:
            found = done.select("found_at", factor=task.factor, prior=task.version, **case.where())
            middle = statistics.median(found)
            shown = f"{middle:,.0f}" if middle < np.inf else f"> {options.limit:,}"
            within = sum(one < np.inf for one in found)
            row[task.factor] = f"{within} of {len(found)}: {shown}"
        rows.append(row)
    return markdown_table(rows)


def random_search(task: Task) -> float:
    """Median number of distinct sites until one of the best, in a random order of all."""
    total, best = len(task.rewards), len(task.optima)
    left = np.cumsum(np.log1p(-best / np.arange(total, best, -1)))
    return float(np.searchsorted(-left, np.log(2)) + 1)
