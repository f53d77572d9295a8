import itertools

import numpy as np
import pytest

from designkit.alphabet import DNA
from designkit.errors import InputError
from designkit.sequence_stats import (
    by_length,
    cluster_near_duplicates,
    composition,
    edit_distances,
    hamming_diversity,
    kmer_counts,
    longest_homopolymer,
)


def random_sequences(count: int, length: int, seed: int) -> list[str]:
    tokens = np.random.default_rng(seed).integers(4, size=(count, length))
    return DNA.decode(tokens)


def mutated(sequence: str, positions: range) -> str:
    letters = list(sequence)
    for position in positions:
        letters[position] = "ACGT"["CGTA".index(letters[position])]
    return "".join(letters)


@pytest.mark.parametrize("k", [1, 2, 3])
def test_kmer_counts_are_the_counts_of_a_naive_scan(k):
    sequences = random_sequences(5, 11, seed=1)
    names = ["".join(letters) for letters in itertools.product("ACGT", repeat=k)]
    naive = [[sum(s[i : i + k] == n for i in range(11)) for n in names] for s in sequences]
    np.testing.assert_array_equal(kmer_counts(DNA.encode(sequences), k, 4), naive)


def test_sequences_shorter_than_k_hold_no_kmers():
    counts = kmer_counts(np.zeros((2, 3), dtype=np.int64), 4, 4)
    assert counts.shape == (2, 256)
    assert counts.sum() == 0


def test_composition_is_the_share_of_each_letter():
    np.testing.assert_allclose(composition(DNA.encode(["AACG"]), 4), [[0.5, 0.25, 0.25, 0]])


def test_hamming_diversity_is_the_mean_over_all_pairs():
    tokens = DNA.encode(random_sequences(7, 9, seed=2))
    pairs = [float((a != b).mean()) for a, b in itertools.combinations(tokens, 2)]
    assert hamming_diversity(tokens, 4) == pytest.approx(np.mean(pairs), abs=1e-12)
    assert hamming_diversity(DNA.encode(["AC", "GT"]), 4) == 1.0
    assert np.isnan(hamming_diversity(tokens[:1], 4))


def test_longest_homopolymer_by_hand():
    tokens = DNA.encode(["ACGT", "AAAA", "CAAG", "GCCC"])
    np.testing.assert_array_equal(longest_homopolymer(tokens), [1, 4, 2, 3])


def test_by_length_gives_every_row_once_in_its_block():
    rows = [np.array([0, 1]), np.array([2]), np.array([3, 3])]
    blocks = {tuple(where): block.tolist() for where, block in by_length(rows)}
    assert blocks == {(1,): [[2]], (0, 2): [[0, 1], [3, 3]]}


def test_unrelated_sequences_stay_apart_and_numbers_follow_first_appearance():
    sequences = random_sequences(2000, 60, seed=3)
    np.testing.assert_array_equal(cluster_near_duplicates(sequences), np.arange(2000))


def test_exact_duplicates_are_always_together():
    sequences = ["A", "AAAAAAAA", "A", "ACGTACGTTTGACA", "AAAAAAAA"]
    assert cluster_near_duplicates(sequences).tolist() == [0, 1, 0, 2, 1]
    assert cluster_near_duplicates([]).tolist() == []
    assert cluster_near_duplicates(["", "", "AC"]).tolist() == [0, 0, 1]


BASE = random_sequences(1, 80, seed=4)[0]


@pytest.mark.parametrize(
    ("relative", "related"),
    [
        (mutated(BASE, range(0, 20)), True),  # 60 of 80 agree
        (mutated(BASE, range(0, 28)), False),
        (BASE[10:] + "ACGTTGCATG", True),  # shifted: 70 of 70 agree
        (BASE[30:] + random_sequences(1, 30, seed=5)[0], False),  # overlap 50 of 80
        (BASE[:40] + BASE[42:], True),  # deletion in the middle
        (BASE[:40] + "GT" + BASE[40:], True),  # insertion in the middle
        (BASE[:40] + BASE[47:], False),  # a deletion longer than is bridged
        (BASE[:62], True),  # truncated to 78 %
        (BASE[:50], False),  # truncated to 63 %
    ],
)
def test_what_counts_as_a_near_duplicate(relative, related):
    filler = random_sequences(500, 80, seed=6)
    for pair in ([BASE, relative], [relative, BASE]):
        clusters = cluster_near_duplicates([*pair, *filler])
        assert (clusters[0] == clusters[1]) == related
        assert clusters.max() == 501 - related


def test_a_trajectory_is_one_cluster_though_its_ends_have_nothing_in_common():
    start, end = random_sequences(2, 80, seed=7)
    trajectory = [end[:i] + start[i:] for i in range(0, 81, 8)]
    assert set(cluster_near_duplicates(trajectory).tolist()) == {0}
    assert cluster_near_duplicates([trajectory[0], trajectory[-1]]).tolist() == [0, 1]


def test_clusters_match_all_pairs_single_linkage():
    generator = np.random.default_rng(8)
    founders = generator.integers(4, size=(40, 60))
    tokens = np.repeat(founders, 8, axis=0)
    where = generator.random(tokens.shape) < 0.08
    tokens[where] = generator.integers(4, size=int(where.sum()))
    generator.shuffle(tokens)
    naive = np.arange(len(tokens))
    for i, j in itertools.combinations(range(len(tokens)), 2):
        if (tokens[i] == tokens[j]).mean() >= 0.75:
            naive[naive == naive[j]] = naive[i]
    found = cluster_near_duplicates(DNA.decode(tokens))
    same = found[:, None] == found
    np.testing.assert_array_equal(same, naive[:, None] == naive)


def test_clusters_do_not_depend_on_the_order_of_the_rows():
    sequences = [mutated(s, range(i)) for s in random_sequences(30, 50, seed=9) for i in range(4)]
    order = np.random.default_rng(10).permutation(len(sequences))
    straight = cluster_near_duplicates(sequences)[order]
    shuffled = cluster_near_duplicates([sequences[i] for i in order])
    np.testing.assert_array_equal(straight[:, None] == straight, shuffled[:, None] == shuffled)


def test_a_common_flank_and_poly_a_tails_do_not_make_relatives():
    flank = random_sequences(1, 12, seed=11)[0]
    sequences = [flank + s + "A" * 12 for s in random_sequences(600, 60, seed=12)]
    assert len(set(cluster_near_duplicates(sequences).tolist())) == 600


def test_impossible_thresholds_are_refused():
    with pytest.raises(InputError, match=r"identity=1\.5"):
        cluster_near_duplicates(["ACGT"], identity=1.5)


def slow_edit_distance(first: str, second: str) -> int:
    """By the recursive definition."""
    if not first or not second:
        return len(first) + len(second)
    if first[0] == second[0]:
        return slow_edit_distance(first[1:], second[1:])
    return 1 + min(
        slow_edit_distance(first[1:], second),
        slow_edit_distance(first, second[1:]),
        slow_edit_distance(first[1:], second[1:]),
    )


def test_edit_distances() -> None:
    rng = np.random.default_rng(0)
    for length, other in ((5, 5), (4, 6), (6, 3), (1, 4), (0, 2), (3, 0)):
        first = rng.integers(3, size=(20, length))
        second = rng.integers(3, size=(20, other))
        expected = [
            slow_edit_distance("".join(map(str, a)), "".join(map(str, b)))
            for a, b in zip(first, second, strict=True)
        ]
        assert edit_distances(first, second).tolist() == expected
