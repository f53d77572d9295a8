"""Several objectives in a refinement: fronts, crowding and bounds against their definitions."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from designkit.algorithms.refinement._survivors import by_front, first_front, survivors
from designkit.algorithms.refinement.base import Archive, Ledger
from designkit.algorithms.refinement.genetic import Genetic
from designkit.algorithms.refinement.rerd import RERD
from designkit.algorithms.sampling.mcts import MCTS
from designkit.alphabet import Alphabet
from designkit.pareto import hypervolume
from designkit.randomness import noise_for
from designkit.recipes._front import Front
from designkit.rewards import Reward, RewardEngine, RewardInfo, Scores, WeightedReward
from tests.algorithms.refining import run
from tests.tabular import World

LENGTH = 6
WORLD = World(np.full(3**LENGTH, 3.0**-LENGTH), 3, LENGTH)
LETTERS = WORLD.model().alphabet


class Count(Reward):
    """How often a letter occurs; no score for sequences that begin with ``never``."""

    def __init__(self, letter: str, never: str = "-"):
        self.info = RewardInfo(f"count_{letter}")
        self._letter, self._never = letter, never

    def score(self, sequences: list[str]) -> Scores:
        found = [np.nan if s[0] == self._never else s.count(self._letter) for s in sequences]
        errors = ["no score" if np.isnan(value) else None for value in found]
        return Scores(np.array(found, dtype=float)[:, None], errors)


def archive_of(*rewards: WeightedReward, alphabet: Alphabet = LETTERS) -> Archive:
    engine = RewardEngine(list(rewards), alphabet=alphabet)
    return Archive(Ledger(engine, alphabet), alphabet, [None])


def two(never: str = "-") -> list[WeightedReward]:
    return [WeightedReward(Count("A", never)), WeightedReward(Count("B"), weight=0.5)]


def better(archive: Archive, one: int, other: int) -> bool:
    """Deb et al. 2002, definition 1: feasible first, then the violation, then dominance."""
    ledger = archive.ledger
    places = [archive.designs[number].place for number in (one, other)]
    scored = [ledger.rewards[place] > -np.inf for place in places]
    if scored[0] != scored[1]:
        return scored[0]
    if not scored[0]:
        return False
    feasible = [ledger.feasible[place] for place in places]
    if not all(feasible):
        violation = [
            0.0 if ok else ledger.columns["violation"][place]
            for ok, place in zip(feasible, places, strict=True)
        ]
        return violation[0] < violation[1]
    first, second = (np.array(ledger.objectives[place]) for place in places)
    return bool((first >= second).all() and (first > second).any())


@pytest.mark.parametrize("bounded", [False, True])
def test_fronts_are_peeled_by_constrained_dominance(bounded: bool) -> None:
    bounds = [WeightedReward(Count("C"), label="c", role="constraint", at_most=1.0)]
    archive = archive_of(*two("C"), *(bounds if bounded else []))
    rng = np.random.default_rng(0)
    sequences = LETTERS.decode(WORLD.clean[rng.choice(3**LENGTH, 60, replace=False)])
    pool = archive.add(sequences, [0] * 60, 0).tolist()
    expected, left = [], set(pool)
    while left:
        front = {n for n in left if not any(better(archive, other, n) for other in left)}
        expected.append(front)
        left -= front
    assert len(expected) > 4
    assert set(first_front(archive, pool)) == expected[0]
    found = by_front(archive, pool, 60)
    for front in expected:
        assert set(found[: len(front)]) == front
        found = found[len(front) :]
    noise = noise_for(0, 1)
    for count in (1, 7, 30):
        kept = survivors(archive, pool[:20], pool[10:], count, 0.0, noise, by_fronts=True)
        assert kept == by_front(archive, pool, count)


def test_within_a_front_the_lonely_come_first() -> None:
    archive = archive_of(*two())
    line = ["AAAAAA", "AAAAAB", "AAAABB", "ABBBBB", "BBBBBB", "CCCCCC"]
    numbers = archive.add(line, [0] * 6, 0).tolist()
    # Neighbours of ABBBBB are 4 letters apart, of AAAABB 4, of AAAAAB 2; ends count before all.
    assert set(by_front(archive, numbers, 2)) == {numbers[0], numbers[4]}
    assert set(by_front(archive, numbers, 4)) == {*numbers[:1], *numbers[2:5]}
    assert by_front(archive, numbers, 9)[-2:] == [numbers[1], numbers[5]]
    assert by_front(archive, [], 3) == []


@pytest.mark.parametrize("method", [RERD, Genetic])
def test_a_run_finds_the_whole_front(method: type[RERD] | type[Genetic]) -> None:
    """a of one letter and 6 - a of the other, and no third: seven points, and their area."""
    exact = hypervolume(np.array([range(7), range(6, -1, -1)]) * [[1.0], [0.5]], np.zeros(2))
    volumes = {}
    for selection in ("best", "pareto"):
        archive = archive_of(*two())
        made = method(population=8, selection=selection, patience=None)
        last = run(made, WORLD.model(), archive, 12)[-1]
        points = archive.objectives(last.numbers.tolist())
        volumes[selection] = hypervolume(points.T, np.zeros(2))
    assert volumes["pareto"] == pytest.approx(exact)
    assert volumes["best"] < 0.7 * exact


def test_one_objective_is_ranked_by_itself() -> None:
    archive = archive_of(WeightedReward(Count("A", "C")))
    pool = archive.add(LETTERS.decode(WORLD.clean[::9]), [0] * 81, 0).tolist()
    for count in (3, 40, 81):
        found = [archive.reward(number) for number in by_front(archive, pool, count)]
        assert found == [archive.reward(number) for number in archive.best(0, count)]


@pytest.mark.parametrize("selection", ["best", "pareto"])
def test_what_is_outside_the_bounds_goes_first(selection: str) -> None:
    """B is wanted, C forbidden: designs with C stay only while there are too few without."""
    archive = archive_of(*two(), WeightedReward(Count("C"), role="filter", at_most=0.0, label="c"))
    sequences = ["CCCCCC", "BBBCCC", "BBBBBC", "ACCCCC", "BCCCCC"]
    start = archive.population(archive.add(sequences, [0] * 5, 0), 0)
    method = RERD(population=5, selection=selection, crossover=0, patience=None)
    violations = []
    for population in run(method, WORLD.model(), archive, 12, start=start)[1:]:
        rows = [archive.designs[number].place for number in population.numbers.tolist()]
        own = [archive.ledger.columns["violation"][row] for row in rows]
        assert own == sorted(own)
        violations.append(sum(own))
    assert violations == sorted(violations, reverse=True)
    assert violations[-1] == 0


def test_volumes_grow_and_do_not_depend_on_where_a_run_was_stopped() -> None:
    bound = WeightedReward(Count("C"), label="c", role="constraint", at_most=1.0)
    archive = archive_of(*two("C"), bound)
    front, found = Front(archive), []
    rng = np.random.default_rng(3)
    rounds = [
        ["CCCCCA", "CCBBBA"],  # none within the bounds
        ["AABBCA", "ABBBBC", "ACCCCC"],
        *LETTERS.decode(WORLD.clean[rng.integers(0, 3**LENGTH, (5, 12))].reshape(5, -1)),
    ]
    rounds[2:] = [[row[k : k + LENGTH] for k in range(0, len(row), LENGTH)] for row in rounds[2:]]
    for number, sequences in enumerate(rounds):
        archive.add(sequences, [0] * len(sequences), number)
        found.append(front.figures())
    assert found[0] == {}
    assert found[1] == {"front": 2, "hypervolume": 0}
    volumes = [own["hypervolume"] for own in found[1:]]
    assert volumes == sorted(volumes)
    assert Front(archive).figures() == found[-1]
    within = [n for n in range(len(archive)) if archive.is_within(n, -np.inf)]
    points = archive.objectives(within)
    assert found[-1]["hypervolume"] == pytest.approx(hypervolume(points.T, points[:2].min(0)))
    assert found[-1]["front"] == len(first_front(archive, within)) > 1
    alone = archive_of(WeightedReward(Count("A")))
    alone.add(["AAAAAA"], [0], 0)
    assert Front(alone).figures() == {}


def test_volumes_of_a_single_first_design_grow() -> None:
    """The reference is the worst of the rounds until both objectives have two values."""
    archive = archive_of(*two())
    front, found = Front(archive), []
    rounds = [["AABCCC"], ["AABBCC"], ["ABBBCC", "AAABCC"], ["AAABBB"]]
    for number, sequences in enumerate(rounds):
        archive.add(sequences, [0] * len(sequences), number)
        found.append(front.figures())
    volumes = [own["hypervolume"] for own in found]
    assert np.isnan(volumes[:2]).all()
    points = archive.objectives(range(5))
    below = points[:4].min(0)
    assert volumes[2] == pytest.approx(hypervolume(points[:4].T, below))
    assert volumes[3] == pytest.approx(hypervolume(points.T, below))
    assert 0 < volumes[2] < volumes[3]
    assert Front(archive).figures() == found[-1]


def test_a_search_for_fronts_decodes_children_too() -> None:
    archive = archive_of(*two())
    sampler = {"name": "mcts", "archive": "pareto", "designs": 1, "candidates": 2, "iterations": 2}
    assert MCTS(**{k: v for k, v in sampler.items() if k != "name"}).archive == "pareto"
    method = RERD(population=3, selection="pareto", sampler=sampler)
    populations = run(method, WORLD.model(), archive, 2)
    assert torch.isfinite(populations[-1].rewards).all()


def test_fronts_have_no_temperature() -> None:
    for method in (RERD, Genetic):
        with pytest.raises(ValueError, match="selection=pareto ranks by fronts"):
            method(selection="pareto", temperature=0.5)
