"""Fronts by the definition of dominance, crowding by hand, hypervolumes by counting cells."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from designkit.pareto import crowding, fronts, hypervolume, pareto_fronts


def dominates(a: np.ndarray, b: np.ndarray) -> bool:
    return bool((a >= b).all() and (a > b).any())


def peeled(values: np.ndarray) -> np.ndarray:
    points = values.T
    found = np.full(len(points), -1.0)
    front = 0
    while (found < 0).any():
        left = np.flatnonzero(found < 0)
        found[[i for i in left if not any(dominates(points[j], points[i]) for j in left)]] = front
        front += 1
    return found


def points_of(most: int, objectives: int = 4) -> st.SearchStrategy[np.ndarray]:
    shapes = st.tuples(st.integers(1, objectives), st.integers(0, most))
    return arrays(np.float64, shapes, elements=st.integers(0, 5))


@given(points_of(25, 3))
def test_fronts_peel_off_the_non_dominated(values: np.ndarray) -> None:
    np.testing.assert_array_equal(pareto_fronts(values), peeled(values))


def test_fronts_of_more_points_than_are_compared_at_a_time() -> None:
    values = np.random.default_rng(0).integers(0, 12, size=(3, 400)).astype(float)
    exact = peeled(values)
    np.testing.assert_array_equal(pareto_fronts(values), exact)
    for most in (1, 60, 150):
        last = np.sort(exact)[most - 1]
        found = pareto_fronts(values, most)
        np.testing.assert_array_equal(found, np.where(exact <= last, exact, np.inf))


def test_points_without_a_value_have_no_front() -> None:
    values = np.array([[2.0, np.nan, 1.0, 3.0], [2.0, 9.0, 1.0, np.nan]])
    np.testing.assert_array_equal(pareto_fronts(values), [0, np.nan, 1, np.nan])


def test_fronts_of_many_sets_are_those_of_each() -> None:
    points = np.random.default_rng(0).integers(0, 6, (5, 30, 3)).astype(float)
    points[0, :4] = -np.inf
    found = fronts(torch.from_numpy(points), 30).numpy()
    np.testing.assert_array_equal(found, [peeled(own.T) for own in points])
    few = fronts(torch.from_numpy(points), 3).numpy()
    assert ((few == found) | (few == 30)).all()
    assert ((few < 30).sum(1) >= 3).all()
    assert (few == 30).any()


def test_crowding_is_the_distance_of_neighbours_in_the_front() -> None:
    points = torch.tensor([[0.0, 10.0], [1.0, 6.0], [4.0, 5.0], [8.0, 0.0], [0.5, 0.5], [-1e6, -1]])
    front = torch.tensor([0, 0, 0, 0, 1, 2])
    found = crowding(points[None], front[None])[0].tolist()
    assert found[1] == pytest.approx(4 / 8 + 5 / 10)
    assert found[2] == pytest.approx(7 / 8 + 6 / 10)
    assert [found[place] for place in (0, 3, 4, 5)] == [np.inf] * 4


@given(points_of(7))
def test_hypervolume_is_the_number_of_cells_below_some_point(values: np.ndarray) -> None:
    """Points have whole coordinates 0 to 5 and the reference is 1 everywhere."""
    cells = np.array(list(itertools.product(range(1, 5), repeat=len(values))))
    below = (cells[:, None, :] + 1 <= values.T[None]).all(2).any(1)
    assert hypervolume(values, np.ones(len(values))) == pytest.approx(below.sum())


def test_hypervolume_by_hand() -> None:
    values = np.array([[1.0, 3.0, -5.0, np.nan], [4.0, 2.0, 50.0, 50.0]])
    # 1 x 4 and 3 x 2 share 1 x 2; the others are below the reference, or have no value.
    assert hypervolume(values, np.zeros(2)) == pytest.approx(8)
    assert hypervolume(values, np.array([-1.0, 1.0])) == pytest.approx(2 * 3 + 4 * 1 - 2 * 1)
    assert hypervolume(values[:, :0], np.zeros(2)) == 0
    # A point that another dominates adds nothing.
    assert hypervolume(np.array([[3.0, 2.0], [3.0, 3.0], [3.0, 1.0]]), np.zeros(3)) == 27
