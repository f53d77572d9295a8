"""Which rows of a table of integers are equal: what lets a state be computed, or scored, once.

Rows are sorted by a 64-bit code, a random linear form modulo 2^64, which is several times quicker
than sorting the rows themselves; rows whose codes are equal are then compared, so that the answer
is exact.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch
    from torch import Tensor

_ROWS = 1 << 14
"""Rows coded at once: what bounds the memory of the products."""


def first_equal(rows: Tensor) -> Tensor:
    """The first of the rows that are equal to each row, (N,) int64.

    Args:
        rows: (N, C) int64.
    """
    import torch

    first = _first_equal(_codes(rows))
    again = (first != torch.arange(len(rows), device=rows.device)).nonzero().squeeze(1)
    if torch.equal(rows[again], rows[first[again]]):
        return first
    return _first_equal(torch.unique(rows, dim=0, return_inverse=True)[1])


def distinct_rows(rows: Tensor) -> tuple[Tensor, Tensor]:
    """The rows that no row before them equals.

    Args:
        rows: (N, C) int64.

    Returns:
        Their numbers (D,) in rising order, and which of these D each of the N rows equals, (N,).
    """
    import torch

    first = first_equal(rows)
    is_first = first == torch.arange(len(rows), device=rows.device)
    return is_first.nonzero().squeeze(1), (is_first.cumsum(0) - 1)[first]


def _first_equal(codes: Tensor) -> Tensor:
    """The first place of each of N codes, (N,) int64."""
    import torch

    ordered, order = codes.sort(stable=True)
    begins = torch.ones_like(ordered, dtype=torch.bool)
    begins[1:] = ordered[1:] != ordered[:-1]
    # The sort is stable: of equal codes the first comes first.
    return torch.empty_like(order).scatter_(0, order, order[begins][begins.cumsum(0) - 1])


def _codes(rows: Tensor) -> Tensor:
    """A code (N,) int64 of each row; those of different rows are the same with chance 2^-60."""
    import torch

    factors = _factors(rows.shape[1], rows.device)
    return torch.cat([(part * factors).sum(1) for part in rows.split(_ROWS)])


@lru_cache(maxsize=256)
def _factors(columns: int, device: torch.device) -> Tensor:
    """Random odd int64, (columns,)."""
    import torch

    from designkit.randomness import philox

    place = torch.arange(columns, device=device)
    zero = torch.zeros_like(place)
    high, low, _, _ = philox((place, zero, zero, zero), (0, 0))
    return (high << 32) | low | 1
