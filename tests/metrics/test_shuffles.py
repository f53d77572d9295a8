"""Dinucleotide shuffles: counts kept exactly, every order equally likely."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from designkit.metrics.shuffles import shuffle_dinucleotides
from designkit.randomness import noise_for
from designkit.sequence_stats import kmer_counts


@pytest.mark.parametrize(("size", "length"), [(2, 9), (4, 80), (20, 150)])
def test_dinucleotides_and_ends_are_kept(size: int, length: int) -> None:
    tokens = np.random.default_rng(size).integers(size, size=(200, length))
    tokens[0] = 0
    tokens[1] = np.arange(length) % 2  # a repeat has a single order
    tokens[2, :] = 0
    tokens[2, -1] = 1
    shuffled = shuffle_dinucleotides(tokens, size, noise_for(3, len(tokens)))
    np.testing.assert_array_equal(kmer_counts(shuffled, 2, size), kmer_counts(tokens, 2, size))
    np.testing.assert_array_equal(shuffled[:, [0, -1]], tokens[:, [0, -1]])
    np.testing.assert_array_equal(shuffled[:3], tokens[:3])
    assert (shuffled[3:] != tokens[3:]).any(1).mean() > 0.8


@pytest.mark.parametrize("written", ["ABCABACCBAB", "AABCACBDAAB", "ABABABACDCDACDA"])
def test_all_orders_are_equally_likely(written: str) -> None:
    tokens = np.array([["ABCD".index(letter) for letter in written]])
    counts = kmer_counts(tokens, 2, 4)[0]

    def orders(path: list[int], left: np.ndarray) -> set[tuple[int, ...]]:
        if not left.any():
            return {tuple(path)}
        found: set[tuple[int, ...]] = set()
        for letter in range(4):
            pair = 4 * path[-1] + letter
            if left[pair]:
                rest = left.copy()
                rest[pair] -= 1
                found |= orders([*path, letter], rest)
        return found

    known = sorted(orders([int(tokens[0, 0])], counts))
    draws = 200 * len(known)
    shuffled = shuffle_dinucleotides(tokens.repeat(draws, 0), 4, noise_for(5, draws))
    place = {order: number for number, order in enumerate(known)}
    seen = np.bincount([place[tuple(row)] for row in shuffled.tolist()], minlength=len(known))
    chi_square = ((seen - 200) ** 2 / 200).sum()
    freedom = len(known) - 1
    assert freedom > 3
    # Wilson and Hilferty 1931: the cube root is nearly normal; 4 deviations are allowed.
    bound = freedom * (1 - 2 / (9 * freedom) + 4 * (2 / (9 * freedom)) ** 0.5) ** 3
    assert chi_square < bound


def test_a_row_does_not_depend_on_its_batch() -> None:
    tokens = np.random.default_rng(0).integers(4, size=(12, 40))
    together = shuffle_dinucleotides(tokens, 4, noise_for(1, 12))
    alone = [shuffle_dinucleotides(tokens[n : n + 1], 4, noise_for(1, 1, start=n)) for n in (0, 7)]
    np.testing.assert_array_equal(together[[0, 7]], np.concatenate(alone))


def test_sequences_too_short_to_shuffle() -> None:
    for length in range(4):
        for row in itertools.product(range(2), repeat=length):
            tokens = np.array([row], dtype=np.int64).reshape(1, length)
            np.testing.assert_array_equal(shuffle_dinucleotides(tokens, 2, noise_for(0, 1)), tokens)
    assert shuffle_dinucleotides(np.zeros((0, 9), int), 4, noise_for(0, 0)).shape == (0, 9)
