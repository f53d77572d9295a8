from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest
import torch

from designkit.alphabet import DNA, RNA
from designkit.errors import RewardError
from designkit.rewards.cpg import CpG
from tests.rewards.examples import Example


def examples(folder: Path) -> list[Example]:
    source = random.Random(0)
    sequences = ["CG" + "".join(source.choices("ACGT", k=18)) for _ in range(30)]
    return [
        Example("cpg", sequences),
        Example("cpg", [s.replace("T", "U") for s in sequences], RNA),
    ]


@pytest.mark.parametrize(
    ("sequence", "ratio", "share"),
    [
        ("CGCG", 2 * 4 / (2 * 2), 0.5),
        ("ACGTACGT", 2 * 8 / (2 * 2), 0.25),
        ("GCGC", 1 * 4 / (2 * 2), 0.25),
        ("GGGCCC", 0, 0),
        ("CGAAAAAAAA", 10, 0.1),
        ("CCGGU", 1 * 5 / (2 * 2), 0.2),
    ],
)
def test_worked_by_hand(sequence: str, ratio: float, share: float) -> None:
    np.testing.assert_allclose(CpG().score([sequence]).values, [[ratio, share]])


def test_independent_letters_have_a_ratio_of_one() -> None:
    sequence = "".join(random.Random(1).choices("ACGT", weights=[3, 1, 2, 1], k=400_000))
    assert CpG().score([sequence]).values[0, 0] == pytest.approx(1, abs=0.02)
    reward = CpG()
    reward.bind(DNA)
    probs = torch.tensor([0.2, 0.5, 0.2, 0.1]).expand(1, 10_000, 4)
    assert reward.score_relaxed(probs).item() == pytest.approx(1, abs=1e-3)


def test_positions_that_do_not_exist_are_not_counted() -> None:
    reward = CpG()
    reward.bind(DNA)
    probs = torch.eye(4)[torch.from_numpy(DNA.encode(["ACGTCGCG"]))]
    valid = torch.tensor([[True] * 5 + [False] * 3])
    expected = reward.score(["ACGTC"]).values[0, 0]
    assert reward.score_relaxed(probs, valid).item() == pytest.approx(expected)


def test_no_c_or_no_g_has_no_score() -> None:
    scores = CpG().score(["ATCC", "GGTA", "", "CG"])
    assert scores.errors == ["no C or no G"] * 3 + [None]
    assert np.isnan(scores.values[:3]).all()


def test_relaxed_needs_an_alphabet() -> None:
    with pytest.raises(RewardError, match="bind"):
        CpG().score_relaxed(torch.ones(1, 2, 4))
