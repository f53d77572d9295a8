"""Sets of designs that differ, against brute force on small pools."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from pydantic import TypeAdapter, ValidationError

from designkit.recipes._diversity import Distances, Diversity, DiversityOption


def pool(count: int, seed: int, *, mixed: bool = False) -> list[np.ndarray]:
    """Relatives: copies of a few sequences with some letters changed, or lost."""
    rng = np.random.default_rng(seed)
    parents = rng.integers(0, 4, (3, 8))
    found = []
    for _ in range(count):
        own = parents[rng.integers(3)].copy()
        places = rng.choice(8, size=rng.integers(0, 5), replace=False)
        own[places] = rng.integers(0, 4, len(places))
        found.append(own[rng.integers(0, 3) :] if mixed else own)
    return found


def levenshtein(first: np.ndarray, second: np.ndarray) -> int:
    if not len(first) or not len(second):
        return max(len(first), len(second))
    return min(
        levenshtein(first[1:], second) + 1,
        levenshtein(first, second[1:]) + 1,
        levenshtein(first[1:], second[1:]) + int(first[0] != second[0]),
    )


def matrix(tokens: list[np.ndarray]) -> np.ndarray:
    return np.array([Distances(tokens).to(place) for place in range(len(tokens))])


REWARDS = -np.sort(np.random.default_rng(5).normal(size=40))
"""Best first."""


def test_distances_are_shares_of_letters_that_differ_or_of_edits() -> None:
    words = ["ACGTA", "ACGTT", "CGTAA", "CGT", "CG", ""]
    tokens = [np.array(["ACGT".index(letter) for letter in word], dtype=int) for word in words]
    exact = np.zeros((6, 6))
    for i, j in itertools.product(range(6), repeat=2):
        one, two = tokens[i], tokens[j]
        apart = (one != two).sum() if len(one) == len(two) else levenshtein(one, two)
        exact[i, j] = apart / max(len(one), len(two), 1)
    np.testing.assert_allclose(matrix(tokens), exact)


@pytest.mark.parametrize("mixed", [False, True])
@pytest.mark.parametrize("looked_at", [1, 3, 10])
def test_clusters_are_led_by_their_best(mixed: bool, looked_at: int) -> None:
    for seed in range(6):
        tokens = pool(40, seed, mixed=mixed)
        apart = matrix(tokens)
        for count, least in ((4, 0.3), (40, 0.3), (40, 0.8)):
            method = Diversity(kind="clusters", distance=least, pool=looked_at)
            taken = method.choose(tokens, REWARDS, count)
            assert taken == sorted(taken)
            assert (apart[np.ix_(taken, taken)] + np.eye(len(taken)) >= least).all()
            seen = 40 if len(taken) < count else taken[-1]
            for place in set(range(seen)) - set(taken):
                better = [other for other in taken if other < place]
                assert apart[place, better].min() < least


@pytest.mark.parametrize("mixed", [False, True])
def test_maxmin_takes_what_is_farthest(mixed: bool) -> None:
    for seed in range(6):
        tokens = pool(12, seed, mixed=mixed)
        apart = matrix(tokens)
        taken = Diversity(kind="maxmin").choose(tokens, REWARDS, 4)
        assert taken[0] == 0
        for number in range(1, 4):
            left = sorted(set(range(12)) - set(taken[:number]))
            nearest = {place: apart[place, taken[:number]].min() for place in left}
            assert nearest[taken[number]] == max(nearest.values())

        def least(places: tuple[int, ...], apart: np.ndarray = apart) -> float:
            return min(apart[i, j] for i, j in itertools.combinations(places, 2))

        best = max(map(least, itertools.combinations(range(12), 4)))
        assert least(tuple(taken)) >= best / 2


@pytest.mark.parametrize("quality", [0.0, 1.0, 5.0])
def test_dpp_raises_the_determinant_most_in_every_step(quality: float) -> None:
    scale = 0.25
    for seed in range(6):
        tokens = list({tuple(row): row for row in pool(20, seed)}.values())
        rewards = REWARDS[: len(tokens)]
        marks = np.exp(quality * (rewards - rewards.max()) / rewards.std() / 2)
        kernel = np.outer(marks, marks) * np.exp(-matrix(tokens) / scale)
        assert np.linalg.eigvalsh(np.exp(-matrix(tokens) / scale)).min() > 0
        method = Diversity(kind="dpp", distance=scale, quality=quality)
        taken = method.choose(tokens, rewards, 5)
        for number in range(1, 5):
            found = {}
            for place in set(range(len(tokens))) - set(taken[:number]):
                rows = [*taken[:number], place]
                found[place] = np.linalg.slogdet(kernel[np.ix_(rows, rows)])[1]
            assert found[taken[number]] == pytest.approx(max(found.values()))


def test_quality_and_pool_say_how_good_designs_must_be() -> None:
    tokens, rewards = pool(40, 0), REWARDS
    means = [
        rewards[Diversity(kind="dpp", quality=quality).choose(tokens, rewards, 4)].mean()
        for quality in (0.0, 0.3, 100.0)
    ]
    assert means[0] < means[1] <= means[2]
    for kind in ("maxmin", "dpp"):
        assert sorted(Diversity(kind=kind, pool=1).choose(tokens, rewards, 4)) == [0, 1, 2, 3]
        assert max(Diversity(kind=kind, pool=2, quality=0).choose(tokens, rewards, 4)) < 8


@pytest.mark.parametrize("kind", ["clusters", "maxmin", "dpp"])
def test_few_designs_and_equal_ones(kind: str) -> None:
    method = Diversity(kind=kind)
    assert method.choose([], REWARDS[:0], 3) == []
    assert method.choose(pool(1, 0), REWARDS[:1], 3) == [0]
    copies = [np.zeros(5, dtype=int)] * 3
    taken = method.choose(copies, np.zeros(3), 3)
    assert taken == ([0] if kind == "clusters" else [0, 1, 2])


def test_a_kind_stands_for_its_settings() -> None:
    option = TypeAdapter(DiversityOption)
    assert option.validate_python("dpp") == Diversity(kind="dpp")
    assert option.validate_python({"distance": 0.4}) == Diversity(kind="clusters", distance=0.4)
    for wrong in ("dps", {"distance": 0}, {"distance": 1.1}, {"pool": 0}, {"quality": -1}):
        with pytest.raises(ValidationError):
            option.validate_python(wrong)
