"""Fronts by the definition of dominance, crowding by hand, hypervolumes by counting cells."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from designkit.pareto import crowding, hypervolume, pareto_fronts


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
    values = np.random.default_rng(0).integers(0, 40, size=(3, 700)).astype(float)
    np.testing.assert_array_equal(pareto_fronts(values), peeled(values))


def test_points_without_a_value_have_no_front() -> None:
    values = np.array([[2.0, np.nan, 1.0, 3.0], [2.0, 9.0, 1.0, np.nan]])
    np.testing.assert_array_equal(pareto_fronts(values), [0, np.nan, 1, np.nan])


def test_crowding_by_hand() -> None:
    # On a line from (0, 10) to (10, 0): neighbours of 1 are 0 and 4, in both objectives.
    first = np.array([4.0, 0.0, 10.0, 1.0])
    found = crowding(np.stack([first, 10 - first]))
    np.testing.assert_allclose(found, [2 * 0.9, np.inf, np.inf, 2 * 0.4])
    # An objective in which all are the same says nothing, neither of ends.
    found = crowding(np.stack([first, np.full(4, 7.0)]))
    np.testing.assert_allclose(found, [0.9, np.inf, np.inf, 0.4])
    assert crowding(np.ones((2, 3))).tolist() == [0, 0, 0]
    assert crowding(np.ones((2, 0))).tolist() == []
    assert crowding(np.array([[0.0, 2.0], [5.0, 5.0]])).tolist() == [np.inf, np.inf]


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
