"""Several objectives: what the archive keeps, and the volume that a tree search finds."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from designkit.algorithms.sampling._pareto import ParetoArchive
from designkit.algorithms.sampling.base import Request
from designkit.algorithms.sampling.mcts import MCTS
from designkit.alphabet import DNA
from designkit.errors import UsageError
from designkit.randomness import noise_for
from designkit.rewards import RewardEngine, WeightedReward
from designkit.rewards.gc import GC
from tests.tabular import CountedTable, World, make_world, places

LENGTH = 6
WORLD = World(np.full(3**LENGTH, 3.0**-LENGTH), 3, LENGTH)
COUNTS = torch.stack([(WORLD.clean == letter).sum(1) for letter in (0, 1)], 1).double()
"""How many there are of the first letter and of the second."""


class Objectives(CountedTable):
    """A row of rewards for each sequence; as one, their sum."""

    def judged(self, tokens: Tensor) -> tuple[Tensor, Tensor]:
        parts = torch.from_numpy(self.table)[places(tokens, self.size)]
        self.rows += len(tokens)
        self.seen.update(places(tokens, self.size).tolist())
        return parts.sum(1), parts

    def values(self, tokens: Tensor) -> Tensor:
        return self.judged(tokens)[0]


def surpassed(points: np.ndarray) -> np.ndarray:
    """(N,) whether another point is no worse in all objectives and better in one."""
    return np.array(
        [any((q >= p).all() and (q > p).any() for q in points) for p in points], dtype=bool
    )


def hypervolume(points: np.ndarray) -> float:
    """The area that points of two objectives cover above (0, 0), by cells between their values."""
    points = points[(points > 0).all(1)]
    edges = [np.unique(np.append(points[:, axis], 0.0)) for axis in (0, 1)]
    area = 0.0
    for low, high in zip(edges[0][:-1], edges[0][1:], strict=True):
        above = points[points[:, 0] >= high]
        area += (high - low) * above[:, 1].max(initial=0.0)
    return area


def test_the_archive_keeps_the_front_of_all_that_it_was_told() -> None:
    rng = np.random.default_rng(1)
    archive = ParetoArchive(torch.arange(24), 12, Request(LENGTH), 2)
    told: list[list[int]] = [[], []]
    for _ in range(15):
        chosen = rng.integers(0, len(COUNTS), (2, 9))
        for population, numbers in zip(told, chosen, strict=True):
            population += numbers.tolist()
        archive.merge(WORLD.clean[chosen], COUNTS[chosen])
    for numbers, kept, rewards in zip(told, archive.tokens, archive.rewards, strict=True):
        seen = np.unique(numbers)
        points = COUNTS[seen].numpy()
        best = {tuple(point) for point in points[~surpassed(points)].tolist()}
        front = ~surpassed(rewards.numpy())
        assert {tuple(point) for point in rewards.numpy()[front].tolist()} == best
        assert front.tolist() == sorted(front.tolist(), reverse=True)
        assert torch.equal(COUNTS[places(kept, 3)], rewards)
        assert len(np.unique(places(kept, 3))) == 12


def test_sequences_without_a_score_come_last_and_leave_no_gap() -> None:
    archive = ParetoArchive(torch.arange(3), 3, Request(1), 2)
    tokens = torch.tensor([[[0], [1], [2], [0]]])
    rewards = torch.tensor([[[1.0, 1.0], [-torch.inf] * 2, [torch.nan] * 2, [1.0, 1.0]]]).double()
    archive.merge(tokens, rewards)
    assert archive.tokens[0, :, 0].tolist()[0] == 0
    assert archive.filled().squeeze(1).tolist() == [0, 0, 0]


def test_a_search_finds_the_volume_of_the_front() -> None:
    """a of one letter and at most L - a of the other: the staircase covers L (L - 1) / 2."""
    exact = LENGTH * (LENGTH - 1) / 2
    assert hypervolume(COUNTS.numpy()) == exact
    trees, designs = 12, LENGTH + 1
    noise = noise_for(0, trees * designs)
    volumes, rows = {}, {}
    for archive in ("pareto", "best"):
        objective = Objectives(COUNTS.numpy(), 3)
        method = MCTS(designs=designs, candidates=3, iterations=8, archive=archive)
        tokens = method.sample(WORLD.model(), objective, Request(LENGTH), noise).tokens
        points = COUNTS[places(tokens, 3)].view(trees, designs, 2).numpy()
        volumes[archive] = np.mean([hypervolume(each) for each in points])
        rows[archive] = objective.rows / trees
        assert objective.rows <= trees * designs * method.calls_per_design(LENGTH)[1]
    drawn = np.random.default_rng(0).integers(0, len(COUNTS), (200, int(rows["pareto"])))
    random = np.mean([hypervolume(COUNTS[numbers].numpy()) for numbers in drawn])
    assert volumes["pareto"] > 0.97 * exact
    assert volumes["pareto"] > max(random, volumes["best"]) + 0.5


def test_designs_are_the_front_of_all_that_was_scored() -> None:
    for seed in range(3):
        objective = Objectives(COUNTS.numpy(), 3)
        method = MCTS(designs=20, candidates=3, iterations=2, archive="pareto", temperature=0.5)
        noise = noise_for(seed, 20)
        tokens = method.sample(WORLD.model(), objective, Request(LENGTH), noise).tokens
        found = COUNTS[places(tokens, 3)].numpy()
        scored = COUNTS[sorted(objective.seen)].numpy()
        best = {tuple(point) for point in scored[~surpassed(scored)].tolist()}
        assert {tuple(point) for point in found[~surpassed(found)].tolist()} == best


def test_an_engine_gives_each_objective_and_bounds_count_for_all() -> None:
    engine = RewardEngine(
        [
            WeightedReward(GC(), weight=-2.0, label="few"),
            WeightedReward(GC(), label="many"),
            WeightedReward(GC(), label="bound", role="constraint", at_most=0.7),
        ],
        alphabet=DNA,
    )
    tokens = torch.tensor([[0, 1, 2, 3], [1, 1, 1, 1], [0, 0, 0, 1]])
    total, parts = engine.judged(tokens)
    assert parts.tolist()[::2] == [[-1.0, 0.5], [-0.5, 0.25]]
    assert parts[1].tolist() == [float(total[1])] * 2
    assert total[1] < -1e5
    assert total[[0, 2]].tolist() == [-0.5, -0.25]
    only = RewardEngine([WeightedReward(GC(), role="constraint", at_most=0.7)], alphabet=DNA)
    method, model = MCTS(archive="pareto"), make_world().model()
    with pytest.raises(UsageError, match="archive=pareto needs rewards to raise"):
        method.sample(model, only, Request(4), noise_for(0, 1))
    with pytest.raises(UsageError, match="where each reward is known"):
        method.sample(model, make_world().objective(np.zeros(256)), Request(4), noise_for(0, 1))
