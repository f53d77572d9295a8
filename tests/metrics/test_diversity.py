import math

import pytest

from designkit.alphabet import DNA
from designkit.metrics.diversity import describe_set


def test_set_statistics_by_hand():
    statistics = describe_set(["AAAAAAAA", "AAAAAAAC", "AAAAAAAA", "ACGT"], DNA)
    assert statistics == pytest.approx(
        {
            "count": 4,
            "distinct": 3 / 4,
            "hamming": (1 / 8 + 0 + 1 / 8) / 3,
            "long_runs": 3 / 4,
            "share_A": (1 + 7 / 8 + 1 + 1 / 4) / 4,
            "share_C": (1 / 8 + 1 / 4) / 4,
            "share_G": 1 / 16,
            "share_T": 1 / 16,
        }
    )


def test_sets_without_pairs_have_no_diversity():
    assert math.isnan(describe_set(["ACGT", "AC"], DNA)["hamming"])
    empty = describe_set([], DNA)
    assert empty.pop("count") == 0
    assert len(empty) == 7
    assert all(math.isnan(value) for value in empty.values())
