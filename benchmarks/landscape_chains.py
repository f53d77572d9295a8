"""Refiners on the landscape: chains that are read as designs, and a run that goes on for long."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

import torch
from landscape_task import CountedTable

from designkit.algorithms.refinement.base import Archive, Brief, Ledger, Population, Refiner
from designkit.algorithms.sampling.base import Designs, Request
from designkit.alphabet import DNA
from designkit.models.base import DiffusionModel
from designkit.randomness import Noise


@dataclass(frozen=True)
class Chains:
    """Independent chains of a refiner as a sampler: a design is where a chain ends.

    Args:
        refiner: ``mh``, or ``ladder``, whose coldest chain counts.
        rounds: of each chain.
        population: designs that depend on each other.
    """

    refiner: Refiner
    rounds: int
    population: int = 1

    def sample(
        self, model: DiffusionModel, objective: CountedTable, request: Request, noise: Noise
    ) -> Designs:
        """A design for each row of ``noise``."""
        refiner = self.refiner.model_copy(update={"population": len(noise.item)})
        every = populations(refiner, model, objective, Brief(request.should_stop), noise)
        last = next(islice(every, self.rounds, None))
        assert torch.equal(last.lengths.unique(), torch.tensor([request.length]))
        return Designs(last.tokens[:: len(last) // len(noise.item)])


def populations(
    refiner: Refiner,
    model: DiffusionModel,
    objective: CountedTable,
    brief: Brief,
    noise: Noise,
    limit: int | None = None,
) -> Iterator[Population]:
    """The first population of one lineage, drawn from the prior, and those of all rounds.

    Args:
        refiner: the method.
        model: the prior.
        objective: the reward.
        brief: what is asked for.
        noise: of the seed.
        limit: of distinct sequences to score.

    Raises:
        Spent: the next round would be beyond the limit.
    """
    archive = Archive(Ledger(objective, DNA, limit), DNA, [None])
    first = refiner.first(model, archive, brief, noise)
    yield first
    yield from refiner.rounds(model, archive, first, brief, noise)
