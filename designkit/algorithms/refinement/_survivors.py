"""Which designs of a lineage go on."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from designkit.algorithms.refinement._archive import Archive
from designkit.algorithms.refinement._drafts import of_slots

if TYPE_CHECKING:
    from designkit.randomness import Noise

LEAST_SPREAD = 0.1
"""Lowest temperature of a selection that is not greedy, in standard deviations of the rewards:
below it one design would take all places."""


def survivors(
    archive: Archive,
    members: Sequence[int],
    children: Sequence[int],
    count: int,
    temperature: float,
    noise: Noise,
    *,
    by_fronts: bool = False,
) -> list[int]:
    """The designs of each lineage that go on, lineage by lineage, best first.

    Args:
        archive: of the run.
        members: numbers of the designs that may stay.
        children: numbers of the new ones.
        count: how many of a lineage go on at most.
        temperature: 0 keeps the best, the newest of equals; above it designs are drawn without
            putting back in proportion to exp(reward / temperature), at a temperature of at least
            a tenth of the standard deviation of the lineage's rewards.
        noise: of the round.
        by_fronts: the first fronts of the objectives are the best, and of those of one front those
            far from their neighbours, as in NSGA-II.

    Returns:
        Distinct numbers.
    """
    pools: list[list[int]] = [[] for _ in range(archive.lineages)]
    for number in dict.fromkeys([*members, *children]):
        pools[archive.designs[number].lineage].append(number)
    kept: list[int] = []
    for lineage, pool in enumerate(pools):
        if by_fronts:
            kept += by_front(archive, pool, count)
            continue
        keys = [archive.reward(number) for number in pool]
        if temperature and pool:
            keys = _perturbed(archive, pool, keys, lineage, temperature, noise)
        ranked = sorted(zip(keys, pool, strict=True), reverse=True)
        kept += [number for _, number in ranked[:count]]
    return kept


def by_front(archive: Archive, pool: Sequence[int], count: int) -> list[int]:
    """The ``count`` designs that NSGA-II keeps, best first (Deb et al. 2002).

    Those that none dominates come first, of these the ends of each objective and those whose
    neighbours are far, and then the next front. A design outside the bounds is dominated by all
    within, and by those that are less far outside.

    Args:
        archive: of the run.
        pool: distinct numbers.
        count: how many, at most.
    """
    import numpy as np
    import torch

    from designkit.pareto import crowding, pareto_fronts

    points = archive.objectives(pool)
    front = pareto_fronts(points.T, count)
    ranked = np.flatnonzero(np.isfinite(front))
    own = torch.from_numpy(front[ranked]).long()
    distance = crowding(torch.from_numpy(points[ranked]), own).numpy()
    newest = -np.array(pool, dtype=np.int64)[ranked]
    order = ranked[np.lexsort((newest, -distance, front[ranked]))]
    return [pool[place] for place in order[:count]]


def first_front(archive: Archive, pool: Sequence[int]) -> list[int]:
    """The designs of a pool that none of it dominates."""
    from designkit.pareto import pareto_fronts

    front = pareto_fronts(archive.objectives(pool).T, 1)
    return [number for number, own in zip(pool, front.tolist(), strict=True) if own == 0]


def _perturbed(
    archive: Archive,
    pool: Sequence[int],
    rewards: Sequence[float],
    lineage: int,
    temperature: float,
    noise: Noise,
) -> list[float]:
    """Rewards over the temperature, with Gumbel noise: their order is a draw without repetition."""
    import numpy as np
    import torch

    within = [
        reward
        for number, reward in zip(pool, rewards, strict=True)
        if archive.ledger.feasible[archive.designs[number].place]
    ]
    spread = float(np.std(within)) if within else 0.0
    heat = max(temperature, LEAST_SPREAD * spread)
    slots = lineage * 2**16 + torch.arange(len(pool))
    uniform = of_slots(noise, slots).uniform("survive").tolist()
    return [
        reward / heat - math.log(-math.log(u)) for reward, u in zip(rewards, uniform, strict=True)
    ]
