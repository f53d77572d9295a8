from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from designkit import alphabet
from designkit.errors import ConfigurationError
from designkit.rewards.accessibility import Accessibility
from tests.rewards.examples import Example, random_sequences
from tests.rewards.rna_structures import SHORT, probabilities


def examples(folder: Path) -> list[Example]:
    return [
        Example(
            "accessibility?start=3&end=9", random_sequences(alphabet.RNA, length=30), alphabet.RNA
        ),
        Example("accessibility?start=-5&end=-1&dangles=0", random_sequences(length=30)),
    ]


def by_definition(sequence: str, region: slice, **model: Any) -> list[float]:
    ensemble = probabilities(sequence, **model)
    shares = [s[region].count(".") / len(s[region]) for s in ensemble]
    each = list(ensemble.values())
    mean = sum(share * p for share, p in zip(shares, each, strict=True))
    whole = sum(p for share, p in zip(shares, each, strict=True) if share == 1)
    return [mean, whole]


@pytest.mark.parametrize(
    ("start", "end", "region"),
    [
        (1, 4, slice(0, 4)),
        (3, 3, slice(2, 3)),
        (-4, -1, slice(-4, None)),
        (5, -2, slice(4, -1)),
        (-6, 12, slice(-6, 12)),
        (1, -1, slice(None)),
    ],
)
@pytest.mark.parametrize("no_gu", [False, True])
def test_equals_enumeration(start: int, end: int, region: slice, no_gu: bool) -> None:
    sequences = [s for s in SHORT if len(s[region]) > 0]
    reward = Accessibility(start=start, end=end, dangles=0, no_gu=no_gu)
    expected = [by_definition(s, region, no_gu=no_gu) for s in sequences]
    np.testing.assert_allclose(reward.score(sequences).values, expected, rtol=1e-8, atol=1e-9)


def test_a_long_sequence_is_as_accessible_as_its_parts() -> None:
    # 200 bases that pair with nothing change a region's probabilities only through dangling ends.
    reward = Accessibility(start=1, end=4, dangles=0)
    short, long = reward.score(["GGGGAAAACCCC", "GGGGAAAACCCC" + "A" * 200]).values
    np.testing.assert_allclose(long, short, rtol=1e-6)
    assert short[1] < short[0] < 0.1


def test_regions_that_are_not_there() -> None:
    scores = Accessibility(start=5, end=8).score(["ACGUACGU", "ACGUACG", ""])
    assert scores.errors == [
        None,
        "length 7; there is no region from 5 to 8",
        "length 0; there is no region from 5 to 8",
    ]
    np.testing.assert_array_equal(np.isnan(scores.values), [[False] * 2, [True] * 2, [True] * 2])
    crossed = Accessibility(start=5, end=-5).score(["ACGUACGU", "ACGUACGUA"])
    assert crossed.errors == ["length 8; there is no region from 5 to -5", None]


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"start": 0, "end": 3}, "start: positions count from 1, or from the end with -1"),
        ({"start": 9, "end": 3}, "start=9 is after end=3"),
        ({"start": -1, "end": -3}, "start=-1 is after end=-3"),
        ({"start": 1}, "reward accessibility needs end"),
        ({"start": "a", "end": 3}, "start: must be a whole number, not 'a'"),
    ],
)
def test_parameters_are_checked(parameters: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        Accessibility(**parameters)
    assert message in str(caught.value)
