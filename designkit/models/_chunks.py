"""Row-wise network calls in chunks of a fixed number of rows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from concurrent.futures import ThreadPoolExecutor

    from torch import Tensor

CPU_ROWS = 16
"""Rows of a network call on a CPU. Kernels round differently for different row counts: a fixed
count makes a row's result independent of the batch, and 16 rows keep activations in cache."""

OTHER_ROWS = tuple(rows for rows in range(1, 34) if rows != CPU_ROWS)
"""Rows of a call that waste less where few rows are asked for, or share them evenly among threads;
taken for shapes with which they give the same bits."""

_CALL = 4
"""What a call costs besides its rows, in rows, for networks of the packaged sizes."""

Trial = Callable[[int], "Sequence[Tensor]"]
"""A number of rows to arbitrary inputs of as many rows."""


class FixedRows:
    """Row-wise calls whose results do not depend on how many rows are asked for.

    On a CPU each call has ``CPU_ROWS`` rows, or another number for which a trial has shown that it
    gives the same bits: kernels choose their order of summation by shapes, not by values, so that
    one trial a shape is enough. Trials are made where padding has cost more than they do.

    Args:
        others: row counts that may be as good.
    """

    def __init__(self, others: Sequence[int] = OTHER_ROWS):
        self._others = tuple(others)
        self._alike: dict[tuple[object, ...], bool] = {}
        self._lost: dict[tuple[object, ...], float] = {}

    def __call__(
        self, function: Callable[..., Tensor], arrays: Sequence[Tensor], trial: Trial
    ) -> Tensor:
        """See ``in_fixed_chunks``; the inputs of ``trial`` are for the same function."""
        import torch

        if arrays[0].device.type != "cpu":
            return in_fixed_chunks(function, arrays, None)
        rows = CPU_ROWS
        if not torch.is_grad_enabled():
            total, threads = arrays[0].shape[0], torch.get_num_threads()
            costs = {n: _cost(total, n, threads) for n in (CPU_ROWS, *self._others)}
            for other in sorted(self._others, key=costs.__getitem__):
                shape = (other, *((array.dtype, array.shape[1:]) for array in arrays))
                if costs[other] < costs[CPU_ROWS] and self._is_alike(
                    shape, costs[CPU_ROWS] - costs[other], function, trial
                ):
                    rows = other
                    break
        return in_fixed_chunks(function, arrays, rows)

    def _is_alike(
        self,
        shape: tuple[object, ...],
        lost: float,
        function: Callable[..., Tensor],
        trial: Trial,
    ) -> bool:
        other = shape[0]
        assert isinstance(other, int)
        if shape not in self._alike:
            most = max(CPU_ROWS, other)
            self._lost[shape] = self._lost.get(shape, 0.0) + lost
            if self._lost[shape] < 2 * (most + _CALL):
                return False
            inputs = trial(most)
            results = [in_fixed_chunks(function, inputs, n) for n in (CPU_ROWS, other)]
            self._alike[shape] = results[0].equal(results[1])
        return self._alike[shape]


def _cost(total: int, rows: int, threads: int) -> int:
    """What so many rows cost in calls of ``rows``, side by side."""
    calls = -(-total // rows)
    return -(-calls // threads) * (rows + _CALL)


def in_fixed_chunks(
    function: Callable[..., Tensor],
    arrays: Sequence[Tensor],
    rows: int | None,
    largest: int = 4096,
) -> Tensor:
    """Apply a row-wise function in chunks.

    Chunks of a fixed number of rows are computed side by side, each by one thread: small networks
    gain more from that than from several threads within an operation, and a row's result does not
    depend on the number of threads.

    Args:
        function: from tensors of n rows each to one tensor of n rows.
        arrays: tensors of N rows each.
        rows: rows of every call, the last one padded by repeating its last row; None gives chunks
            of at most ``largest`` rows without padding.
        largest: chunk size where ``rows`` is None.

    Returns:
        (N, ...), in order.
    """
    import torch

    total = arrays[0].shape[0]
    starts = range(0, total, rows or largest)
    inference, gradients = torch.is_inference_mode_enabled(), torch.is_grad_enabled()

    def compute(start: int) -> Tensor:
        chunk = [array[start : start + (rows or largest)] for array in arrays]
        count = chunk[0].shape[0]
        if rows and count < rows:
            chunk = [torch.cat([c, c[-1:].expand(rows - count, *c.shape[1:])]) for c in chunk]
        # These modes belong to a thread.
        with torch.inference_mode(inference), torch.set_grad_enabled(gradients):
            return function(*chunk)[:count]

    if rows is None:
        return torch.cat([compute(start) for start in starts])
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        if threads == 1 or len(starts) == 1:
            results = [compute(start) for start in starts]
        else:
            results = list(_thread_pool(threads).map(compute, starts))
    finally:
        torch.set_num_threads(threads)
    return torch.cat(results)


@cache
def _thread_pool(threads: int) -> ThreadPoolExecutor:
    from concurrent.futures import ThreadPoolExecutor

    return ThreadPoolExecutor(threads, thread_name_prefix="designkit")
