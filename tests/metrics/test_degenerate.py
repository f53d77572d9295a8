"""Master keys by enumeration, intervals by their formula, verdicts by hand."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from designkit.alphabet import DNA
from designkit.errors import InputError
from designkit.metrics.degenerate import (
    audit,
    homopolymers,
    short_name,
    tandem_repeats,
    truncated,
    wilson_interval,
)


@pytest.mark.parametrize("length", [8, 9, 50])
def test_repeats_are_all_there_are(length: int) -> None:
    found, in_all = tandem_repeats(4, length, 4, 1000, seed=0)
    units = ["".join(u) for n in (2, 3, 4) for u in itertools.product("ACGT", repeat=n)]
    known = {(unit * length)[:length] for unit in units} - {c * length for c in "ACGT"}
    assert in_all == len(found) == len(known) == 312
    assert set(DNA.decode(found)) == known
    assert DNA.decode(homopolymers(4, 3)) == ["AAA", "CCC", "GGG", "TTT"]


def test_repeats_are_drawn_where_they_are_too_many() -> None:
    found, in_all = tandem_repeats(20, 30, 2, 50, seed=1)
    assert (len(found), in_all) == (50, 380)
    assert len({tuple(row) for row in found.tolist()}) == 50
    assert len(tandem_repeats(4, 3, 4, 1000, seed=0)[0]) == 0  # no unit fits twice


def test_truncated_designs() -> None:
    rows = [np.arange(12) % 3 + 1] * 48
    found = DNA.decode(np.stack(truncated(rows, 4, shortest=12)))
    whole = "CGTCGTCGTCGT"
    assert found[:4] == ["CGT" + "A" * 9, "A" * 9 + "CGT", whole[:6] + "A" * 6, "A" * 6 + whole[:6]]
    assert found[6] == "CGT" + "C" * 9
    assert [row[-1] for row in found[0:24:6]] == list("ACGT")
    cut = truncated(rows, 4, shortest=6)
    assert sorted({len(row) for row in cut}) == [6, 9, 12]
    assert all(len(row) == 12 for row in cut[:24])


def test_wilson_interval() -> None:
    # Newcombe 1998, table I: 81 of 263, and 15 of 148.
    assert wilson_interval(81, 263) == pytest.approx((0.2553, 0.3662), abs=5e-5)
    assert wilson_interval(15, 148) == pytest.approx((0.0624, 0.1605), abs=5e-5)
    assert wilson_interval(0, 20) == pytest.approx((0, 0.1611), abs=5e-5)
    assert wilson_interval(0, 0) == (0, 1)


def example(above: int, sign: int = 1):
    """400 repeats, ``above`` of them better than all but 1 % of 1000 natural scores 0 to 999."""
    natural = np.arange(1000.0)
    repeats = np.where(np.arange(400) < above, 5000.0, 10.0)
    values = {"natural": sign * natural, "repeats": sign * repeats, "random": np.full(3, np.nan)}
    written = {name: [f"{name}{n}" for n in range(len(found))] for name, found in values.items()}
    return audit(written, values, sign)


@pytest.mark.parametrize("sign", [1, -1])
def test_verdicts(sign: int) -> None:
    # Wilson's upper limit of the natural 10 of 1000 is 1.83 %; the lower one of 12 of 400 is
    # 1.72 %, of 13 it is 1.91 %.
    verdicts = {above: example(above, sign).verdict for above in (0, 4, 5, 12, 13, 20)}
    by_hand = ["passes", "passes", "not clear", "not clear", "can be fooled", "can be fooled"]
    assert list(verdicts.values()) == by_hand
    found = example(20, sign)
    assert found.threshold == pytest.approx(sign * 989.01)
    assert found.classes["natural"].share.share == 0.01
    assert (found.degenerate.count, found.degenerate.share) == (400, 0.05)
    assert found.worst == ("repeats0", sign * 5000.0)
    assert (found.classes["random"].without_score, found.classes["random"].share.count) == (3, 0)
    assert found.to_dict()["classes"]["random"]["median"] is None
    side = "above the 99th" if sign > 0 else "below the 1st"
    assert f"can be fooled: 5 % of 400 degenerate sequences score {side} perc" in found.sentence


@pytest.mark.parametrize("natural", [10, 50, 256, 1000])
def test_harmless_rewards_are_seldom_called_fooled(natural: int) -> None:
    """Natural and degenerate scores of one law, however few natural ones set the threshold."""
    source = np.random.default_rng(natural)
    fooled = 0
    for _ in range(200):
        values = {"natural": source.normal(size=natural), "repeats": source.normal(size=440)}
        written = {name: ["A"] * len(found) for name, found in values.items()}
        fooled += audit(written, values, 1).verdict == "can be fooled"
    assert fooled <= 10


def test_few_degenerate_sequences_are_not_enough_to_pass() -> None:
    values = {"natural": np.arange(500.0), "repeats": np.zeros(5)}
    written = {name: ["A"] * len(found) for name, found in values.items()}
    assert audit(written, values, 1).verdict == "not clear"


def test_nothing_to_compare() -> None:
    values = {"natural": np.arange(9.0), "repeats": np.full(2, np.nan)}
    written = {"natural": ["A"] * 9, "repeats": ["A"] * 2}
    assert audit(written, values, 1).verdict == "not clear"
    with pytest.raises(InputError, match="natural sequences with a score"):
        audit(written, {**values, "natural": np.full(9, np.nan)}, 1)


def test_short_names() -> None:
    assert short_name("AAAA") == "poly-A"
    assert short_name("TATATAT") == "(TA)n"
    assert short_name("ACGGTCCA") == "ACGGTCCA"
    assert short_name("ACGTTGCA" * 8) == "ACGTTGCAACGT...AACGTTGCA"
