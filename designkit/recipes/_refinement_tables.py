"""The tables that a refinement writes."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from designkit.algorithms.refinement._survivors import by_front

if TYPE_CHECKING:
    import pandas as pd

    from designkit.algorithms.refinement.base import Archive
    from designkit.recipes._diversity import Diversity
    from designkit.recipes._lineages import Inputs
    from designkit.recipes._refinement_run import RefinementRun
    from designkit.recipes.refine import RefineSettings
    from designkit.rewards import RewardEngine


@dataclass(frozen=True)
class Chosen:
    """The designs that are written.

    Attributes:
        numbers: theirs, best first.
        requested: how many were asked for.
        dropped: how many of those chosen have no score and are left out.
        failed: how many were not found.
    """

    numbers: list[int]
    requested: int
    dropped: int
    failed: int

    @classmethod
    def best(cls, archive: Archive, settings: RefineSettings, *, by_fronts: bool) -> Chosen:
        """The best of each lineage, or of all; different ones where that was asked for."""
        lineages = range(archive.lineages)
        pools = [[each] for each in lineages] if settings.per_input else [[*lineages]]
        each = settings.per_input or settings.num
        chosen = [_chosen(archive, pool, each, settings.diversity, by_fronts) for pool in pools]
        wanted = best_first(archive, [number for pool in chosen for number in pool])
        kept = wanted
        if settings.on_invalid != "worst":
            kept = [n for n in wanted if archive.reward(n) != -float("inf")]
        requested = each * len(pools)
        return cls(kept, requested, len(wanted) - len(kept), requested - len(wanted))

    def outside(self, archive: Archive) -> int:
        """How many are outside the bounds of rewards."""
        scored = [n for n in self.numbers if archive.reward(n) != -float("inf")]
        return sum(not archive.is_within(number, -math.inf) for number in scored)


def best_first(archive: Archive, numbers: Iterable[int]) -> list[int]:
    """Designs by their reward, the earlier of equals first."""
    return sorted(numbers, key=lambda number: (-archive.reward(number), number))


def _chosen(
    archive: Archive,
    lineages: Sequence[int],
    count: int,
    diversity: Diversity | None,
    by_fronts: bool,
) -> list[int]:
    """The best designs of some lineages, or the best that differ."""
    if diversity is None and not by_fronts:
        ranked = [number for each in lineages for number in archive.best(each, count)]
        return _distinct(archive, best_first(archive, ranked))[:count]
    ranked = [number for each in lineages for number in archive.best(each)]
    every = _distinct(archive, best_first(archive, ranked))
    if diversity is None:
        return by_front(archive, every, count)
    import numpy as np

    pool = [number for number in every if archive.is_within(number, -math.inf)]
    if by_fronts:
        pool = by_front(archive, pool, diversity.pool * count)
    rewards = np.array([archive.reward(number) for number in pool], dtype=np.float64)
    return [pool[place] for place in diversity.choose(archive.tokens(pool), rewards, count)]


def _distinct(archive: Archive, numbers: list[int]) -> list[int]:
    """Designs without those whose sequence an earlier one of another lineage has."""
    found: dict[int, int] = {}
    for number in numbers:
        found.setdefault(archive.designs[number].place, number)
    return list(found.values())


class Names:
    """What designs are called: inputs as they were, others by their number.

    Args:
        archive: of the run.
        inputs: of the run.
    """

    def __init__(self, archive: Archive, inputs: Inputs):
        self._archive, self._inputs = archive, inputs
        self._taken = set(inputs.ids)
        self.has_roots = any(root is not None for root in archive.roots)

    def of(self, number: int) -> str | None:
        """The name of a design, None of no design."""
        if number < 0:
            return None
        design = self._archive.designs[number]
        if self._archive.roots[design.lineage] is None:
            return f"design_{number + 1}"
        name = self._inputs.ids[design.lineage]
        if design.parent < 0:
            return name
        dots = "."
        while (made := f"{name}{dots}{number + 1}") in self._taken:
            dots += "."
        return made

    def origin(self, numbers: list[int]) -> dict[str, Any]:
        """Where designs come from, as columns."""
        designs = [self._archive.designs[number] for number in numbers]
        columns: dict[str, Any] = (
            {"edits": [one.edits for one in designs]} if self.has_roots else {}
        )
        columns["parent"] = [self.of(one.parent) for one in designs]
        if self.has_roots:
            columns["input"] = [self._inputs.ids[one.lineage] for one in designs]
        return columns | {"round": [one.round for one in designs]}


def design_table(
    run: RefinementRun,
    names: Names,
    chosen: Chosen,
    engine: RewardEngine | None,
    fields: dict[str, Any],
) -> pd.DataFrame:
    """The designs, best first.

    Args:
        run: finished, or stopped.
        names: of its designs.
        chosen: which designs.
        engine: asked for the monitors, and the prior for likelihoods; None for neither.
        fields: the same for all designs.
    """
    import numpy as np
    import pandas as pd

    archive, numbers = run.archive, chosen.numbers
    ledger, places = archive.ledger, [archive.designs[number].place for number in numbers]
    rewards = np.array([archive.reward(number) for number in numbers], dtype=np.float64)
    sequences = [archive.sequence(number) for number in numbers]
    columns: dict[str, Any] = {
        "id": [names.of(number) for number in numbers],
        "sequence": sequences,
        "reward": np.where(np.isneginf(rewards), np.nan, rewards),
    }
    for name, values in ledger.columns.items():
        columns[name] = np.array([values[place] for place in places], dtype=np.float64)
    if engine is not None:
        columns |= engine.monitor(sequences)
        if run.settings.likelihood_draws:
            columns["log_likelihood"] = run.log_likelihood(numbers)
    return pd.DataFrame(columns | names.origin(numbers)).assign(**fields)


def trajectory_table(run: RefinementRun, names: Names, written: list[int]) -> pd.DataFrame:
    """Designs that went on from a round or were written, and all that they were made from.

    They are in the order in which they were made.
    """
    import numpy as np
    import pandas as pd

    archive = run.archive
    numbers = archive.with_ancestors(run.accepted.union(written))
    rewards = np.array([archive.reward(number) for number in numbers], dtype=np.float64)
    columns: dict[str, Any] = {
        "id": [names.of(number) for number in numbers],
        "sequence": [archive.sequence(number) for number in numbers],
        "reward": np.where(np.isneginf(rewards), np.nan, rewards),
    } | names.origin(numbers)
    columns["partner"] = [names.of(archive.designs[number].partner) for number in numbers]
    return pd.DataFrame(columns)


def chain_table(run: RefinementRun, names: Names) -> pd.DataFrame:
    """Where each chain of a method that follows a law was after each round."""
    import numpy as np
    import pandas as pd

    archive, heats = run.archive, run.refiner.heats
    # The first sequences are not laid out as chains.
    rounds = list(enumerate(run.members))[1:]
    numbers = [number for _, members in rounds for number in members]
    places = [place % len(heats) for _, members in rounds for place in range(len(members))]
    rewards = np.array([archive.reward(number) for number in numbers], dtype=np.float64)
    columns: dict[str, Any] = {
        "round": [round for round, members in rounds for _ in members],
        "chain": [place + 1 for place in places],
        "temperature": [heats[place] for place in places],
        "id": [names.of(number) for number in numbers],
        "sequence": [archive.sequence(number) for number in numbers],
        "reward": np.where(np.isneginf(rewards), np.nan, rewards),
    }
    if names.has_roots:
        columns["input"] = names.origin(numbers)["input"]
    return pd.DataFrame(columns)
