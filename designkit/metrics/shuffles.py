"""Shuffled sequences: what is left of a score when order is lost and dinucleotides are kept."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from designkit.sequence_stats import kmer_counts

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from designkit.randomness import Noise
    from designkit.sequence_stats import Tokens


def shuffle_dinucleotides(tokens: Tokens, size: int, noise: Noise) -> NDArray[np.int64]:
    """Each sequence with its letters in another order and every pair of neighbours as often.

    Uniform over all orders that keep the counts of the K^2 dinucleotides, and with them those of
    the letters, the first letter and the last (Altschul & Erickson 1985, "Significance of
    nucleotide sequence alignments", Mol Biol Evol 2:526): a sequence is a path that uses every pair
    once. Each letter but the final one draws which of its pairs is used last, and draws again while
    such choices form a circle (Wilson 1996, which makes the tree they leave uniform); the order of
    the other pairs is free.

    Args:
        tokens: (N, L) letters, 0 to ``size - 1``.
        size: letters in the alphabet, K.
        noise: of the N sequences.

    Returns:
        (N, L) shuffled tokens.
    """
    old = np.asarray(tokens, dtype=np.int64)
    rows, length = old.shape
    if rows == 0 or length < 4:  # shorter ones have a single order
        return old.copy()
    start, end = old[:, :-1], old[:, 1:]
    every = np.arange(rows)
    rank = noise.uniform("shuffle-order", length - 1).cpu().numpy().copy()
    last = _last_pairs(start, end, size, noise)
    at, letter = (last >= 0).nonzero()
    rank[at, last[at, letter]] = 1.0  # after all others of its letter
    order = np.lexsort((rank, start), axis=1)
    count = kmer_counts(start, 1, size)
    following = np.cumsum(count, axis=1) - count  # place in ``order`` of each letter's next pair
    shuffled = np.empty_like(old)
    shuffled[:, 0] = here = old[:, 0]
    for place in range(1, length):
        pair = order[every, following[every, here]]
        following[every, here] += 1
        shuffled[:, place] = here = end[every, pair]
    return shuffled


def _last_pairs(start: Tokens, end: Tokens, size: int, noise: Noise) -> NDArray[np.int64]:
    """Which pair each letter uses last, (N, K) places; -1 for the final letter and absent ones."""
    rows = len(start)
    letters = np.arange(size)
    final = end[:, -1]
    # A pair of two equal letters is never the last to leave its letter.
    usable = (start[:, :, None] == letters) & (start != end)[:, :, None]
    usable &= letters != final[:, None, None]
    order = np.argsort(~usable, axis=1, kind="stable")  # places of usable pairs first
    choices = usable.sum(axis=1)
    open_, last, target = choices > 0, np.full((rows, size), -1), np.tile(letters, (rows, 1))
    drawn, attempt = open_, 0
    while drawn.any():
        uniform = noise.uniform(f"shuffle-last-{attempt}", size).cpu().numpy()
        chosen = np.minimum((uniform * choices).astype(np.int64), np.maximum(choices - 1, 0))
        place = np.take_along_axis(order, chosen[:, None, :], axis=1)[:, 0]
        last = np.where(drawn, place, last)
        target = np.where(drawn, np.take_along_axis(end, place, axis=1), target)
        # A letter is on a circle if following the choices leads back to it.
        drawn, there = np.zeros_like(open_), target
        for _ in range(size):
            drawn |= there == letters
            there = np.take_along_axis(target, there, axis=1)
        drawn &= open_
        attempt += 1
    return last
