"""Equal rows against a dictionary, and what happens when codes collide."""

from __future__ import annotations

import time

import numpy as np
import pytest
import torch
from torch import Tensor

from designkit import distinct
from designkit.distinct import distinct_rows, first_equal


def by_dictionary(rows: Tensor) -> list[int]:
    seen: dict[tuple[int, ...], int] = {}
    return [seen.setdefault(tuple(row), place) for place, row in enumerate(rows.tolist())]


def some_rows(count: int, columns: int, letters: int, seed: int = 0) -> Tensor:
    rng = np.random.default_rng(seed)
    return torch.from_numpy(rng.integers(-1, letters, (count, columns)))


@pytest.mark.parametrize(
    ("count", "columns", "letters"), [(0, 3, 4), (1, 5, 4), (300, 4, 2), (500, 40, 4), (200, 1, 9)]
)
def test_the_first_of_equals(count: int, columns: int, letters: int) -> None:
    rows = some_rows(count, columns, letters)
    rows = torch.cat([rows, rows[: count // 2].flip(0)])
    expected = by_dictionary(rows)
    assert first_equal(rows).tolist() == expected
    first, place = distinct_rows(rows)
    assert first.tolist() == sorted(set(expected))
    assert torch.equal(rows[first][place], rows)


def test_times_are_columns_too() -> None:
    times = torch.tensor([0.25, 1.0, 0.25, 0.5, 1.0], dtype=torch.float64).view(torch.int64)
    rows = torch.stack([torch.tensor([3, 3, 3, 3, 3]), times], 1)
    assert first_equal(rows).tolist() == [0, 1, 0, 3, 1]


@pytest.mark.parametrize("factors", [(0, 0, 0, 0), (1, 1, 1, 1), (1 << 62, 1, 2, 4)])
def test_codes_that_collide_are_noticed(factors: tuple[int, ...], monkeypatch) -> None:
    monkeypatch.setattr(distinct, "_factors", lambda columns, device: torch.tensor(factors))
    rows = some_rows(400, 4, 3)
    assert first_equal(rows).tolist() == by_dictionary(rows)


def test_many_rows_take_a_fraction_of_the_time_of_sorting_them() -> None:
    rows = some_rows(20_000, 60, 4)
    rows[10_000:] = rows[:10_000]

    def seconds(function) -> float:
        started = time.process_time()
        function()
        return time.process_time() - started

    ours = min(seconds(lambda: first_equal(rows)) for _ in range(3))
    assert 2 * ours < seconds(lambda: torch.unique(rows, dim=0, return_inverse=True))
