"""What the benchmarks of refiners share: a lineage that is refined, and intervals of means."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice

import numpy as np
import torch
from numpy.typing import ArrayLike

from designkit.algorithms.refinement.base import Archive, Brief, Ledger, Refiner, Spent
from designkit.models.base import DiffusionModel
from designkit.randomness import noise_for
from designkit.recipes.objective import (
    ObjectiveSettings,
    RewardSettings,
    load_rewards,
    make_engine,
)
from designkit.rewards import RewardEngine

RESAMPLES = 10_000


def engine_of(model: DiffusionModel, ref: str) -> RewardEngine:
    """A reward as ``--reward`` makes it."""
    settings = RewardSettings(ref=ref)
    engine = make_engine(load_rewards([settings], "cpu"), ObjectiveSettings(), model.alphabet)
    assert engine is not None
    return engine


def refined(
    refiner: Refiner,
    model: DiffusionModel,
    engine: RewardEngine,
    starts: Sequence[str],
    seed: int,
    *,
    evals: int | None = None,
    rounds: int | None = None,
    most_edits: int | None = None,
) -> Archive:
    """Refine one lineage until so many new sequences are scored, or so many rounds are done.

    Args:
        refiner: the method.
        model: the prior.
        engine: the reward.
        starts: what the lineage begins with; edits are counted from a single one.
        seed: of the run.
        evals: most distinct sequences to score, the starts included.
        rounds: most rounds.
        most_edits: from the start.
    """
    roots = [starts[0] if len(starts) == 1 else None]
    archive = Archive(Ledger(engine, model.alphabet, evals), model.alphabet, roots)
    archive.add(list(starts), [0] * len(starts), 0)
    first = archive.population(archive.best(0, refiner.members), 0)
    brief = Brief(most_edits=most_edits)
    following = refiner.rounds(model, archive, first, brief, noise_for(seed, 1))
    try:
        for _ in islice(following, rounds):
            pass
    except Spent:
        pass
    return archive


def log_likelihood(model: DiffusionModel, sequence: str, draws: int = 128) -> float:
    """Nats of a sequence under the prior."""
    tokens = torch.from_numpy(model.alphabet.encode([sequence]))
    return float(model.log_likelihood(tokens, draws)[0])


def mean_interval(values: ArrayLike) -> tuple[float, float, float]:
    """A mean and its 95 % bootstrap interval."""
    found = np.asarray(values, dtype=np.float64)
    picks = np.random.default_rng(0).integers(len(found), size=(RESAMPLES, len(found)))
    low, high = np.quantile(found[picks].mean(1), [0.025, 0.975])
    return float(found.mean()), float(low), float(high)


def shown(values: ArrayLike, digits: int = 2) -> str:
    """A mean with its interval, for a table."""
    mean, low, high = mean_interval(values)
    return f"{mean:.{digits}f} ({low:.{digits}f} to {high:.{digits}f})"
