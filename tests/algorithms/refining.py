"""What tests of refiners share: the toy world as a reward of written sequences, and short runs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice

import numpy as np
import torch
from torch import Tensor

from designkit.algorithms.refinement.base import Archive, Brief, Ledger, Population, Refiner, Spent
from designkit.alphabet import Alphabet
from designkit.models.base import DiffusionModel
from designkit.randomness import noise_for
from designkit.rewards import Reward, RewardEngine, RewardInfo, Scores, WeightedReward
from tests.tabular import Law, World, places


class TableReward(Reward):
    """Rewards of the toy world, looked up; remembers what it was asked."""

    def __init__(self, rewards: Law, alphabet: Alphabet):
        self.info = RewardInfo("table")
        self.rewards, self.alphabet = rewards, alphabet
        self.asked: list[str] = []

    def score(self, sequences: list[str]) -> Scores:
        self.asked += sequences
        tokens = torch.from_numpy(self.alphabet.encode(sequences))
        found = self.rewards[places(tokens, self.alphabet.size).numpy()]
        errors = ["none" if np.isnan(value) else None for value in found]
        return Scores(found[:, None], errors)


def toy_archive(
    world: World,
    rewards: Law,
    roots: Sequence[str | None] = (None,),
    limit: int | None = None,
) -> tuple[Archive, TableReward]:
    """An empty archive whose rewards are looked up."""
    alphabet = world.model().alphabet
    reward = TableReward(rewards, alphabet)
    engine = RewardEngine([WeightedReward(reward)], alphabet=alphabet)
    return Archive(Ledger(engine, alphabet, limit), alphabet, roots), reward


def run(
    refiner: Refiner,
    model: DiffusionModel,
    archive: Archive,
    rounds: int,
    *,
    brief: Brief | None = None,
    seed: int = 0,
    start: Population | None = None,
) -> list[Population]:
    """The first population and those of so many rounds."""
    brief, noise = brief or Brief(), noise_for(seed, 1)
    first = start or refiner.first(model, archive, brief, noise)
    return [first, *islice(refiner.rounds(model, archive, first, brief, noise), rounds)]


def rounds(
    refiner: Refiner, model: DiffusionModel, archive: Archive, *, seed: int = 0
) -> Iterator[Population]:
    """The populations until the archive's limit is reached."""
    noise = noise_for(seed, 1)
    try:
        first = refiner.first(model, archive, Brief(), noise)
        yield first
        yield from refiner.rounds(model, archive, first, Brief(), noise)
    except Spent:
        return


def tokens_of(population: Population) -> Tensor:
    """(N, L) tokens of a population of one length."""
    assert population.lengths.unique().tolist() == [population.tokens.shape[1]]
    return population.tokens


def drawn_from(archive: Archive, world: World, law: Law, count: int, seed: int) -> Population:
    """A population of so many exact draws from a law."""
    rng = np.random.default_rng(seed)
    chosen = world.clean[rng.choice(len(law), size=count, p=law)]
    sequences = world.model().alphabet.decode(chosen)
    return archive.population(archive.add(sequences, [0] * count, 0), 0)
