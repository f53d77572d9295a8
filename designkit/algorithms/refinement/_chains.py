"""Rounds in which each member is followed by its own child, or stays."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Protocol

from designkit.algorithms.refinement._drafts import Decoder, Drafts, of_slots
from designkit.algorithms.refinement._pairs import Pairs, fitting, places_of
from designkit.algorithms.refinement.base import Archive, Brief, Population, Spent

if TYPE_CHECKING:
    from torch import Tensor

    from designkit.algorithms.sampling.base import Sampler
    from designkit.models.base import DiffusionModel
    from designkit.randomness import Noise

Accept = Callable[["Tensor", "Tensor", "Noise"], "Tensor"]
"""Rewards (N,) of members and of their children, and noise of both, to who is followed, bool."""

Exchange = Callable[["Tensor", "Noise"], "Tensor"]
"""Rewards (N,) of chains, and their noise, to the chains (N,) whose designs they have after it."""


class ChainMethod(Protocol):
    """What makes the children of chains."""

    @property
    def members(self) -> int:
        """Chains of each lineage."""
        ...

    def inner(self) -> Sampler:
        """What decodes them."""
        ...

    def drafts(self, model: DiffusionModel, pairs: Pairs, brief: Brief, noise: Noise) -> Drafts:
        """The children before they are decoded."""
        ...


def chains(
    method: ChainMethod,
    model: DiffusionModel,
    archive: Archive,
    population: Population,
    brief: Brief,
    noise: Noise,
    accept: Accept | None = None,
    exchange: Exchange | None = None,
    decoder: Decoder | None = None,
) -> Iterator[Population]:
    """The rounds of chains, ``method.members`` of each lineage.

    A child that breaks a constraint, or is too far from its root, is not scored, and its parent
    stays. Several chains may be at one sequence; it is scored once.

    Args:
        method: makes children.
        model: the prior.
        archive: of the run.
        population: what the round before left.
        brief: what is asked for.
        noise: of the seed.
        accept: who is followed by its child; None for all.
        exchange: which chains give each other their designs afterwards; None for none.
        decoder: finds the letters of children; the plain one when not given.
    """
    import numpy as np
    import torch

    decoder = decoder or Decoder(model, method.inner(), archive.ledger, brief)
    while True:
        members = filled(archive, population, method.members)
        first, _ = places_of(members, members.lineages)
        place = torch.arange(len(members)) - first
        slots = members.lineages * method.members + place
        own = of_slots(noise.in_round(population.round + 1), slots)
        nobody = torch.zeros(len(members), dtype=torch.bool)
        pairs = Pairs(slots, members, members, nobody, archive.root_tokens(members))
        drafts = method.drafts(model, pairs, brief, own)
        sequences = decoder.written(drafts, own)
        lineages = members.lineages.tolist()
        fits = np.array(fitting(archive, sequences, lineages, brief), dtype=bool)
        # Where not all may be scored, the first chains of all lineages come first.
        asked = place.numpy().argsort(kind="stable")
        asked = asked[fits[asked]]
        may = archive.ledger.affordable([sequences[row] for row in asked])
        rows = asked[np.array(may, dtype=bool)]
        if archive.ledger.is_full and len(rows) < len(asked):
            raise Spent
        children = members.numbers.numpy().copy()
        children[rows] = archive.add(
            [sequences[row] for row in rows],
            [lineages[row] for row in rows],
            population.round + 1,
            members.numbers.numpy()[rows],
        )
        followed = torch.zeros(len(members), dtype=torch.bool)
        followed[torch.from_numpy(rows)] = True
        found = [archive.reward(number) for number in children.tolist()]
        rewards = torch.tensor(found, dtype=torch.float64)
        if accept is not None:
            followed &= accept(members.rewards, rewards, own)
        numbers = torch.from_numpy(children).where(followed, members.numbers)
        figures = {"moved": float((numbers != members.numbers).double().mean())}
        if exchange is not None:
            order = exchange(rewards.where(followed, members.rewards), own)
            numbers, others = numbers[order], order != torch.arange(len(order))
            figures["exchanged"] = float(others.double().mean())
        population = archive.population(numbers.tolist(), population.round + 1, figures=figures)
        yield population


def filled(archive: Archive, population: Population, size: int) -> Population:
    """The members, those of lineages that have fewer than ``size`` several times."""
    numbers: list[int] = []
    for lineage in range(archive.lineages):
        own = population.numbers[population.lineages == lineage].tolist()
        numbers += [own[place % len(own)] for place in range(size)]
    return archive.population(numbers, population.round)
