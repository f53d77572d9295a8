"""Judging a prior: bits per letter, and a standard error that near-copies do not shrink."""

from __future__ import annotations

import itertools
import math
from pathlib import Path

import numpy as np
import pytest

from designkit.alphabet import DNA
from designkit.recipes._prior import _bits_per_letter, evaluation_rows
from designkit.recipes._training_data import load_training_data
from designkit.recipes.pretrain_settings import PretrainSettings


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


def test_evaluation_rows_stand_for_a_sorted_file(tmp_path: Path) -> None:
    sequences = ["".join(letters) for letters in itertools.product("ACGT", repeat=5)]
    parts = ["train", "valid", *["test"] * 1022]
    rows = [f"{s},{part}" for s, part in zip(sequences, parts, strict=True)]
    source = tmp_path / "sorted.csv"
    source.write_text("\n".join(["sequence,part", *rows]) + "\n")
    settings = PretrainSettings.model_validate({"split": {"by": "column:part"}})
    data = load_training_data([str(source)], settings, DNA)
    everything = data.rows("test")
    assert evaluation_rows(data, "test", 1022).tolist() == everything.tolist()
    chosen = evaluation_rows(data, "test", 200)
    assert len(chosen.unique()) == 200
    assert set(chosen.tolist()) <= set(everything.tolist())
    assert chosen.tolist() == evaluation_rows(data, "test", 200).tolist()
    # Each quarter of the file: 50 of 200, standard deviation of drawing without replacement 5.5.
    assert (abs(np.bincount(chosen.numpy() // 256, minlength=4) - 50) < 5 * 5.5).all()
