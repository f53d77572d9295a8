"""Windows that slide along sequences: their entropy, and the letters that some of them cover."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


def window_entropies(codes: NDArray[np.int64], width: int) -> NDArray[np.float64]:
    """Entropy in bits of each window of ``width`` codes: (n, words) to (n, windows).

    A window of m words has ``log2(m) - sum c log2(c) / m`` with the counts c. The sum is carried
    from one window to the next: one word leaves, one comes.
    """
    import numpy as np

    rows, words = codes.shape
    distinct, codes = np.unique(codes, return_inverse=True)
    codes = codes.reshape(rows, words)
    counts = np.zeros((rows, len(distinct)), dtype=np.int64)
    terms = np.arange(width + 1) * np.log2(np.maximum(np.arange(width + 1), 1))
    growth = np.append(np.diff(terms), 0.0)  # from c to c + 1
    each, total = np.arange(rows), np.zeros(rows)
    sums = np.empty((rows, words - width + 1))
    for place in range(words):
        if place >= width:
            leaving = codes[:, place - width]
            counts[each, leaving] -= 1
            total -= growth[counts[each, leaving]]
        coming = codes[:, place]
        total += growth[counts[each, coming]]
        counts[each, coming] += 1
        if place >= width - 1:
            sums[:, place - width + 1] = total
    entropies: NDArray[np.float64] = np.log2(width) - sums / width
    return entropies


def covered_letters(low: NDArray[np.bool_], width: int) -> NDArray[np.bool_]:
    """Which letters lie in at least one marked window: (n, windows) to (n, L)."""
    import numpy as np

    change = np.zeros((len(low), low.shape[1] + width), dtype=np.int64)
    change[:, : low.shape[1]] += low
    change[:, width:] -= low
    covered: NDArray[np.bool_] = change.cumsum(axis=1)[:, :-1] > 0
    return covered
