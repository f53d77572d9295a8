"""Edit distances as shares of the longer length: the nearest of many, and all pairs of a set."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

from designkit.errors import RewardError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from designkit.alphabet import Alphabet

Metric = Literal["levenshtein", "hamming"]

_CELLS = 1 << 21  # distances held at a time: 16 MB
_BLOCK = 64  # most queries of one block: those of a block share a cutoff


def check_installed(name: str) -> None:
    """Refuse where rapidfuzz is missing.

    Args:
        name: of the reward that needs it.

    Raises:
        RewardError: it is not installed.
    """
    try:
        import rapidfuzz  # noqa: F401
    except ImportError as problem:
        raise RewardError(
            f"reward {name!r} needs rapidfuzz: pip install 'designkit[distance]'"
        ) from problem


def as_characters(sequences: Sequence[str], alphabet: Alphabet | None) -> list[str]:
    """N sequences with one character for each symbol, whatever their alphabet."""
    if alphabet is None or not alphabet.separator:
        return list(sequences)
    index = alphabet.index
    return ["".join(chr(index[symbol]) for symbol in alphabet.split(s)) for s in sequences]


def nearest(
    queries: Sequence[str], references: Sequence[str], metric: Metric
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """The nearest reference of each query.

    The distance is the number of edits over the length of the longer one: insertions, deletions
    and substitutions in ``levenshtein``, differing positions in ``hamming``, where letters beyond
    the shorter one's end differ.

    Args:
        queries: N sequences.
        references: at least one; the first of equally near ones is taken.
        metric: which edits count.

    Returns:
        Distances 0 to 1, and places in ``references``, both (N,).
    """
    import numpy as np
    from rapidfuzz.distance import Hamming, Levenshtein

    share = np.empty(len(queries))
    place = np.empty(len(queries), dtype=np.int64)
    rows = max(1, min(_BLOCK, _CELLS // len(references)))
    for start in range(0, len(queries), rows):
        distances = _matrix(Hamming, queries[start : start + rows], references)
        place[start : start + rows] = distances.argmin(axis=1)
        share[start : start + rows] = distances.min(axis=1)
    if metric == "hamming":
        return share, place
    # Hamming distances are upper bounds, and quick. Queries with like bounds go together: none of
    # their larger distances has to be known.
    order = np.argsort(share, kind="stable")
    for start in range(0, len(order), rows):
        block = order[start : start + rows]
        bound = float(share[block].max())
        distances = _matrix(Levenshtein, [queries[row] for row in block], references, bound)
        place[block] = distances.argmin(axis=1)
        share[block] = distances.min(axis=1)
    return share, place


def to_others(sequences: Sequence[str]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean and smallest edit distance, as shares of the longer length, to the other sequences.

    Args:
        sequences: N different ones, N at least 2.

    Returns:
        Both (N,), 0 to 1.
    """
    import numpy as np
    from rapidfuzz.distance import Levenshtein

    count = len(sequences)
    total, smallest = np.zeros(count), np.ones(count)
    start = 0
    while start < count - 1:
        rows = max(1, min(count - start, _CELLS // (count - start)))
        # Each pair once: this block with itself, where all are seen twice, and with those behind.
        end = start + rows
        block = sequences[start:end]
        inside = _matrix(Levenshtein, block, block)  # of one list rapidfuzz computes half
        total[start:end] += inside.sum(axis=1)
        np.fill_diagonal(inside, 1)
        smallest[start:end] = np.minimum(smallest[start:end], inside.min(axis=1))
        if end < count:
            behind = _matrix(Levenshtein, block, sequences[end:])
            total[start:end] += behind.sum(axis=1)
            total[end:] += behind.sum(axis=0)
            smallest[start:end] = np.minimum(smallest[start:end], behind.min(axis=1))
            smallest[end:] = np.minimum(smallest[end:], behind.min(axis=0))
        start = end
    return total / (count - 1), smallest


def _matrix(
    metric: Any, left: Sequence[str], right: Sequence[str], bound: float = 1.0
) -> NDArray[np.float64]:
    """(n, m) distances as shares; those above the bound may be too small, but stay above it.

    With as many threads as torch has.
    """
    import numpy as np
    import torch
    from rapidfuzz.process import cdist

    lengths = [np.array([len(s) for s in side], dtype=np.int32) for side in (left, right)]
    longest = np.maximum.outer(*lengths)
    # Whole edits: rapidfuzz rounds a cutoff of shares, and may lose what lies on it.
    cutoff = int(bound * float(longest.max()) + 1e-6)
    edits = cdist(
        left,
        right,
        scorer=metric.distance,
        score_cutoff=cutoff,
        dtype=np.int32,
        workers=torch.get_num_threads(),
    )
    shares: NDArray[np.float64] = edits / np.maximum(longest, 1)
    return shares
