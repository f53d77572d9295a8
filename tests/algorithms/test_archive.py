"""The best distinct sequences of populations against sorting all of them."""

from __future__ import annotations

import math

import numpy as np
import torch

from designkit.algorithms.sampling._archive import Archive, DistinctBest, repeated
from designkit.algorithms.sampling.base import Request

DESIGNS = torch.arange(6)  # two populations of three


def reward(word: tuple[int, ...]) -> float:
    """Arbitrary, and nothing for a few words."""
    code = sum(letter * 3**place for place, letter in enumerate(word))
    return math.nan if code % 7 == 3 else math.sin(code) * 10


def scored(seed: int, count: int) -> tuple[torch.Tensor, torch.Tensor]:
    tokens = torch.from_numpy(np.random.default_rng(seed).integers(0, 3, (2, count, 3)))
    rewards = torch.tensor([[reward(tuple(word)) for word in rows] for rows in tokens.tolist()])
    return tokens, rewards.double()


def test_the_best_of_all_that_was_ever_merged_are_kept() -> None:
    archive = Archive(DESIGNS, 3, Request(3))
    seen: list[set[tuple[int, ...]]] = [set(), set()]
    for seed in range(6):
        tokens, rewards = scored(seed, 5)
        archive.merge(tokens, rewards[..., None])
        for words, rows in zip(seen, tokens.tolist(), strict=True):
            words.update(map(tuple, rows))
        for population, words in enumerate(seen):
            best = sorted((-reward(word), word) for word in words if not math.isnan(reward(word)))
            kept = [tuple(word) for word in archive.tokens[population].tolist()]
            expected = [word for _, word in best[:3]]
            assert kept[: len(expected)] == expected
            assert len(set(kept)) == 3


def test_empty_places_and_sequences_without_a_score() -> None:
    archive = Archive(DESIGNS, 3, Request(1))
    archive.merge(torch.tensor([[[0]], [[2]]]), torch.tensor([[[1.0]], [[math.nan]]]).double())
    assert archive.tokens.squeeze(2).tolist() == [[0, -1, -1], [2, -1, -1]]
    instead = archive.instead_of(torch.full((6, 1), 1)).squeeze(1)
    assert instead.tolist() == [0, 1, 1, 2, 1, 1]
    assert archive.filled().view(-1)[:3].tolist() == [0, 0, 0]
    archive.merge(torch.tensor([[[3]], [[3]]]), torch.tensor([[[-1e300]], [[-5.0]]]).double())
    assert archive.tokens.squeeze(2).tolist() == [[0, 3, -1], [3, 2, -1]]


def test_repeats_are_found_within_a_population_only() -> None:
    tokens = torch.tensor([[[1], [2], [1]], [[2], [2], [1]]])
    assert repeated(tokens).tolist() == [[False, False, True], [False, True, False]]


def test_two_designs_with_the_same_best_become_two_sequences() -> None:
    best = DistinctBest(DESIGNS, 3, Request(1))
    rows = DESIGNS.repeat_interleave(2)
    tokens = torch.tensor([0, 1, 0, 2, 0, 3, 4, 1, 5, 1, 6, 1])[:, None]
    rewards = torch.tensor([9.0, 1, 9, 3, 9, 2, 1, 0, 2, 0, 3, 0]).double()
    best.add(rows, tokens, rewards)
    found = best.instead_of(torch.zeros(6, 1, dtype=torch.int64)).view(2, 3)
    assert found[0].tolist() == [0, 2, 3]
    assert found[1].tolist() == [4, 5, 6]
