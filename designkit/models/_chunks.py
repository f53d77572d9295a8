"""Row-wise network calls in chunks of a fixed number of rows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from concurrent.futures import ThreadPoolExecutor

    from torch import Tensor

CPU_ROWS = 16
"""Rows of every network call on a CPU. Kernels round differently for different row counts: a fixed
count makes a row's result independent of the batch, and 16 rows keep activations in cache."""


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
