"""Judging a prior: bits per letter, and a standard error that near-copies do not shrink."""

from __future__ import annotations

import math

import numpy as np
import pytest

from designkit.recipes._prior import _bits_per_letter


def test_bits_and_classical_standard_error() -> None:
    scores = -np.random.default_rng(0).normal(100, 10, 500)
    lengths = np.full(500, 50)
    bits, error = _bits_per_letter(scores, lengths, np.arange(500))
    assert bits == pytest.approx(-scores.mean() / 50 / math.log(2))
    assert error == pytest.approx(scores.std(ddof=1) / math.sqrt(500) / 50 / math.log(2))


def test_copies_add_no_evidence() -> None:
    scores = -np.random.default_rng(1).normal(60, 5, 40)
    lengths = np.full(40, 30)
    alone = _bits_per_letter(scores, lengths, np.arange(40))
    copied = _bits_per_letter(scores.repeat(9), lengths.repeat(9), np.arange(40).repeat(9))
    assert copied == pytest.approx(alone)
    ungrouped = _bits_per_letter(scores.repeat(9), lengths.repeat(9), np.arange(360))
    assert ungrouped[1] < alone[1] / 2.5


def test_one_group_has_no_standard_error() -> None:
    bits, error = _bits_per_letter(np.array([-3.0]), np.array([2]), np.array([0]))
    assert bits == pytest.approx(1.5 / math.log(2))
    assert math.isnan(error)
