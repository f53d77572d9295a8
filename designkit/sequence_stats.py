"""Composition, k-mers, distances and near-duplicate families: pure functions, no model.

Tokens are (N, L) integer arrays of N sequences of one length, letters 0 to K - 1; functions that
take written sequences accept any letters and mixed lengths.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from designkit.errors import InputError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Tokens = NDArray[np.integer[Any]]
    TokenRows = Tokens | Sequence[Tokens]
    """(N, L) tokens, or N rows of their own lengths."""

_CHANCE_PAIRS = 3e7  # seed matches between unrelated sequences that verification can afford,
_CHANCE_PAIRS_EACH = 2000  # and how many of them for each sequence
_BUCKET_PAIRS = 100_000  # pairs tried among the sequences that share one k-mer
_BUCKET_REACH = 8  # neighbours tried in buckets too large for all pairs
_GAP_COST = 5  # mismatches a gap counts as: free gaps would chain GC-rich sequences by chance
_VERIFY_BYTES = 1 << 24  # letters compared at a time: stays near the cache


def kmer_counts(tokens: Tokens, k: int, size: int) -> NDArray[np.int64]:
    """How often each k-mer occurs in each sequence, overlaps counted.

    Args:
        tokens: (N, L) letters, 0 to ``size - 1``.
        k: letters per k-mer, at least 1; sequences shorter than k hold none.
        size: letters in the alphabet, K.

    Returns:
        (N, K^k) counts; the k-mer ``a b c`` is column ``(a K + b) K + c``.
    """
    import numpy as np

    tokens = np.asarray(tokens)
    rows, length = tokens.shape
    width = size**k
    windows = length - k + 1
    if windows < 1:
        return np.zeros((rows, width), dtype=np.int64)
    codes = np.zeros((rows, windows), dtype=np.int64)
    for offset in range(k):
        codes = codes * size + tokens[:, offset : offset + windows]
    codes += np.arange(rows)[:, None] * width
    return np.bincount(codes.ravel(), minlength=rows * width).reshape(rows, width)


def composition(tokens: Tokens, size: int) -> NDArray[np.float64]:
    """Share of each letter in each sequence: (N, L) tokens to (N, K), rows sum to 1."""
    import numpy as np

    tokens = np.asarray(tokens)
    shares: NDArray[np.float64] = kmer_counts(tokens, 1, size) / max(1, tokens.shape[1])
    return shares


def hamming_diversity(tokens: Tokens, size: int) -> float:
    """Mean share of positions at which two different rows differ, 0 to 1.

    Exact over all N (N - 1) / 2 pairs in O(N L K): at a position where letter a stands in c_a
    rows, ``N^2 - sum(c_a^2)`` ordered pairs differ, and a row never differs from itself.

    Args:
        tokens: (N, L) letters, 0 to ``size - 1``.
        size: letters in the alphabet, K.

    Returns:
        The mean; NaN for fewer than two rows or no positions.
    """
    import numpy as np

    tokens = np.asarray(tokens)
    rows, length = tokens.shape
    if rows < 2 or length == 0:
        return float("nan")
    cells = (tokens + np.arange(length) * size).ravel()
    counts = np.bincount(cells, minlength=length * size).astype(np.float64)
    differing = float(length) * rows * rows - float((counts**2).sum())
    return float(differing / (float(length) * rows * (rows - 1)))


def edit_distances(first: Tokens, second: Tokens) -> NDArray[np.int64]:
    """Fewest insertions, deletions and substitutions from each row to its counterpart.

    The dynamic program of Levenshtein distances, row by row over all pairs at once.

    Args:
        first: (N, L) tokens.
        second: (N, M) tokens.

    Returns:
        (N,) distances.
    """
    import numpy as np

    first, second = np.asarray(first), np.asarray(second)
    places = np.arange(second.shape[1] + 1)
    costs = np.broadcast_to(places, (len(first), len(places)))
    for row in range(first.shape[1]):
        kept = costs[:, :-1] + (second != first[:, row, None])
        best = costs + 1  # a deletion
        best[:, 1:] = np.minimum(best[:, 1:], kept)
        # Insertions: the least of costs[j] + k - j over j up to k.
        costs = np.minimum.accumulate(best - places, axis=1) + places
    distances: NDArray[np.int64] = costs[:, -1].astype(np.int64)
    return distances


def longest_homopolymer(tokens: Tokens) -> NDArray[np.int64]:
    """Length of the longest run of one letter in each row of (N, L) tokens: (N,)."""
    import numpy as np

    tokens = np.asarray(tokens)
    rows, length = tokens.shape
    if length == 0:
        return np.zeros(rows, dtype=np.int64)
    places = np.arange(length)
    starts = np.ones((rows, length), dtype=bool)
    starts[:, 1:] = tokens[:, 1:] != tokens[:, :-1]
    latest_start = np.maximum.accumulate(np.where(starts, places, 0), axis=1)
    longest: NDArray[np.int64] = (places - latest_start).max(axis=1) + 1
    return longest


def by_length(tokens: TokenRows) -> Iterator[tuple[NDArray[np.int64], Tokens]]:
    """Rows of mixed lengths as blocks of one length.

    Args:
        tokens: (N, L) letters, or N one-dimensional rows.

    Yields:
        The row numbers (n,) and their tokens (n, L), shortest length first.
    """
    import numpy as np

    if isinstance(tokens, np.ndarray) and tokens.ndim == 2:
        yield np.arange(len(tokens)), tokens
        return
    lengths = np.array([len(row) for row in tokens], dtype=np.int64)
    for length in np.unique(lengths):
        rows = np.flatnonzero(lengths == length)
        yield rows, np.stack([np.asarray(tokens[row]) for row in rows.tolist()])


def cluster_near_duplicates(
    sequences: Sequence[str],
    *,
    identity: float = 0.75,
    overlap: float = 0.75,
    gap: int = 3,
    kmer: int | None = None,
) -> NDArray[np.int64]:
    """Families of near-duplicates: single-linkage clusters, exact duplicates always together.

    Two sequences are linked when, laid over each other at some shift, they overlap by at least
    ``overlap`` of the longer one and agree in at least ``identity`` of the overlap; one insertion
    or deletion of up to ``gap`` letters may be bridged. Pairs are found by a shared k-mer, so a
    direct link with no k matching letters in a row is missed unless relatives close the chain.
    Runs and short repeats (period 1 to 3) do not count as shared, and in a k-mer shared by very
    many sequences only close neighbours in alphabetical order are compared.

    Args:
        sequences: N written sequences of any alphabet and length.
        identity: share of agreeing letters that makes a link, above 0, at most 1.
        overlap: share of the longer sequence the two must overlap by, above 0, at most 1.
        gap: longest insertion or deletion bridged; 0 compares without gaps.
        kmer: seed length; by default the shortest that unrelated sequences of this number and
            length seldom share (8 for 25,000 promoters of 80 bp).

    Returns:
        (N,) cluster numbers, 0, 1, ... in order of first appearance.

    Raises:
        InputError: identity, overlap, gap or k-mer length out of range.
    """
    import numpy as np

    if not (0 < identity <= 1 and 0 < overlap <= 1 and gap >= 0 and (kmer is None or kmer >= 1)):
        raise InputError(
            "near-duplicates: identity and overlap lie in (0, 1], gap is 0 or more, kmer 1 or "
            f"more; got identity={identity}, overlap={overlap}, gap={gap}, kmer={kmer}"
        )
    distinct = sorted(set(sequences))
    place = {sequence: number for number, sequence in enumerate(distinct)}
    pool = _Pool(distinct)
    labels = np.arange(len(distinct))
    for left, right, shift in _shared_kmers(pool, kmer or pool.seed_length(), labels):
        linked = _near(pool, left, right, shift, identity, overlap, gap)
        _merge(labels, left[linked], right[linked])
    members = labels[np.array([place[sequence] for sequence in sequences], dtype=np.int64)]
    _, first, inverse = np.unique(members, return_index=True, return_inverse=True)
    numbers = np.empty(len(first), dtype=np.int64)
    numbers[np.argsort(first)] = np.arange(len(first))
    clusters: NDArray[np.int64] = numbers[inverse.reshape(-1)]
    return clusters


class _Pool:
    """Distinct sequences as two flat buffers whose paddings agree with nothing.

    ``left`` and ``right`` hold the same letters from ``starts`` on; ``width`` is the longest
    length, and each sequence has at least ``width`` padding letters before and after it.
    """

    def __init__(self, sequences: Sequence[str]):
        import numpy as np

        rows = [np.frombuffer(s.encode("utf-32-le"), dtype=np.uint32) for s in sequences]
        self.lengths = np.array([len(row) for row in rows], dtype=np.int64)
        self.width = int(self.lengths.max(initial=0))
        steps = self.lengths + self.width
        self.starts = self.width + np.cumsum(steps) - steps
        everything = np.concatenate([np.zeros(0, dtype=np.uint32), *rows])
        letters, tokens = np.unique(everything, return_inverse=True)
        self.size = max(2, len(letters))
        if self.size > 250:
            raise InputError(f"near-duplicates: {self.size} different letters; at most 250")
        self.owner = np.repeat(np.arange(len(rows)), self.lengths)
        within = np.arange(len(everything)) - np.repeat(
            np.cumsum(self.lengths) - self.lengths, self.lengths
        )
        self.places = self.starts[self.owner] + within
        self.left = np.full(2 * self.width + int(steps.sum()), 254, dtype=np.uint8)
        self.left[self.places] = tokens.reshape(-1)
        self.right = np.where(self.left == 254, 255, self.left).astype(np.uint8)

    def seed_length(self) -> int:
        """Shortest k that unrelated sequences share no more often than can be afforded."""
        import math

        letters = max(2, len(self.places))
        affordable = min(_CHANCE_PAIRS, _CHANCE_PAIRS_EACH * max(1, len(self.lengths)))
        needed = math.log(letters**2 / 2 / affordable) / math.log(self.size)
        shortest = int(self.lengths.min(initial=self.width))
        return max(1, min(max(4, math.ceil(needed)), shortest // 2))


def _shared_kmers(
    pool: _Pool, k: int, labels: NDArray[np.int64]
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]]:
    """Pairs of rows of different clusters that share a k-mer: (left, right, shift), (n,) each.

    Letter p of ``left`` lies over letter p + shift of ``right``. The consumer may lower
    ``labels`` between two batches; pairs that have become relatives are not offered again.
    """
    import numpy as np

    inside = pool.places + k <= (pool.starts + pool.lengths)[pool.owner]
    for period in (1, 2, 3):
        if k > 2 * period:
            agree = np.zeros(len(pool.left), dtype=np.int32)
            agree[:-period] = pool.left[:-period] == pool.left[period:]
            total = np.concatenate([np.zeros(1, dtype=np.int32), np.cumsum(agree, dtype=np.int32)])
            ends = np.minimum(pool.places + k - period, len(agree))
            inside &= total[ends] - total[pool.places] < k - period
    places, owner = pool.places[inside], pool.owner[inside]
    codes = np.zeros(len(places), dtype=np.uint64)
    for offset in range(k):  # beyond 64 bits this is a hash; verification catches collisions
        codes = codes * np.uint64(pool.size) + pool.left[places + offset]
    order = np.argsort(codes, kind="stable")
    codes, owner, places = codes[order], owner[order], places[order] - pool.starts[owner[order]]
    _, bucket, sizes = np.unique(codes, return_inverse=True, return_counts=True)
    bucket = bucket.reshape(-1)
    reach = np.maximum(_BUCKET_REACH, _BUCKET_PAIRS // sizes)[bucket]
    chunk = max(1, _VERIFY_BYTES // max(1, pool.width))
    distance = 1
    while len(bucket) > distance:
        near = (bucket[:-distance] == bucket[distance:]) & (reach[distance:] >= distance)
        first = np.flatnonzero(near)
        for start in range(0, len(first), chunk):
            one = first[start : start + chunk]
            two = one + distance
            apart = labels[owner[one]] != labels[owner[two]]
            one, two = one[apart], two[apart]
            yield owner[one], owner[two], places[two] - places[one]
        # Buckets that are exhausted or have become one family are dropped.
        low = np.full(len(sizes), len(labels))
        high = np.full(len(sizes), -1)
        np.minimum.at(low, bucket, labels[owner])
        np.maximum.at(high, bucket, labels[owner])
        keep = ((low < high) & (sizes > distance + 1))[bucket] & (reach > distance)
        bucket, owner, places, reach = bucket[keep], owner[keep], places[keep], reach[keep]
        distance += 1


def _near(
    pool: _Pool,
    left: NDArray[np.int64],
    right: NDArray[np.int64],
    shift: NDArray[np.int64],
    identity: float,
    overlap: float,
    gap: int,
) -> NDArray[np.bool_]:
    """Which of n pairs, laid over each other at ``shift``, are near-duplicates: (n,)."""
    import numpy as np
    from numpy.lib.stride_tricks import sliding_window_view

    if len(left) == 0:
        return np.zeros(0, dtype=bool)
    ones = sliding_window_view(pool.left, pool.width)
    twos = sliding_window_view(pool.right, pool.width)
    shared = np.minimum(pool.lengths[left], pool.lengths[right] - shift) + np.minimum(0, shift)
    long_enough = shared >= overlap * np.maximum(pool.lengths[left], pool.lengths[right])
    linked = np.zeros(len(left), dtype=bool)
    tried = np.flatnonzero(long_enough)
    starts_one, starts_two = pool.starts[left], pool.starts[right] + shift
    agree = ones[starts_one[tried]] == twos[starts_two[tried]]
    matches = np.count_nonzero(agree, axis=1)
    needed = identity * shared[tried] - 1e-9
    linked[tried] = matches >= needed
    # The two sides of a gap share the matches needed: the better side has half of them, here.
    hopeful = (matches < needed) & (matches >= (needed + _GAP_COST) / 2)
    agree, rest, needed = agree[hopeful], tried[hopeful], needed[hopeful]
    before = np.cumsum(agree, axis=1, dtype=np.int32)
    for step in (s for g in range(1, gap + 1) for s in (-g, g)):
        # Beside the first and last sequence a step can leave the buffer: there is only padding.
        starts = np.clip(starts_two[rest] + step, 0, len(twos) - 1)
        other = np.cumsum(ones[starts_one[rest]] == twos[starts], axis=1, dtype=np.int32)
        this_then_other = (before - other).max(axis=1) + other[:, -1]
        other_then_this = (other - before).max(axis=1) + before[:, -1]
        linked[rest] |= np.maximum(this_then_other, other_then_this) >= needed + _GAP_COST
    return linked


def _merge(labels: NDArray[np.int64], left: NDArray[np.int64], right: NDArray[np.int64]) -> None:
    """Join the clusters of linked rows in place; a cluster is named by its lowest row."""
    import numpy as np

    while True:
        one, two = labels[left], labels[right]
        apart = one != two
        if not apart.any():
            return
        left, right, one, two = left[apart], right[apart], one[apart], two[apart]
        np.minimum.at(labels, np.maximum(one, two), np.minimum(one, two))
        while not np.array_equal(labels[labels], labels):
            labels[:] = labels[labels]


def run_lengths(tokens: Tokens) -> NDArray[np.int64]:
    """Length of the run of one letter that each position lies in: (N, L) tokens to (N, L)."""
    import numpy as np

    tokens = np.asarray(tokens)
    rows, length = tokens.shape
    if tokens.size == 0:
        return np.zeros((rows, length), dtype=np.int64)
    starts = np.ones((rows, length), dtype=bool)
    starts[:, 1:] = tokens[:, 1:] != tokens[:, :-1]
    run = np.cumsum(starts.ravel()) - 1  # number of the run, over all rows
    lengths: NDArray[np.int64] = np.bincount(run)[run].reshape(rows, length)
    return lengths
