from __future__ import annotations

import random
from collections import Counter
from itertools import product
from math import sqrt
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from designkit.alphabet import DNA, PROTEIN, RNA, Alphabet
from designkit.errors import ConfigurationError, InputError, RewardError
from designkit.rewards.kmer import Kmer
from tests.rewards.examples import Example, random_sequences


def examples(folder: Path) -> list[Example]:
    dna, protein = folder / "dna.fa", folder / "protein.csv"
    dna.write_text("".join(f">{n}\n{s}\n" for n, s in enumerate(random_sequences(seed=5))))
    lines = random_sequences(PROTEIN, seed=6, length=30)
    protein.write_text("\n".join(["id,chain", *(f"p{n},{s}" for n, s in enumerate(lines))]))
    return [
        Example(f"kmer?reference={dna}", random_sequences()),
        Example(f"kmer?reference={dna}&k=1&distance=cosine", random_sequences(RNA), RNA),
        Example(f"kmer?reference={dna}&k=4&distance=euclidean", random_sequences()),
        Example(
            f"kmer?reference={protein}&column=chain&k=2",
            random_sequences(PROTEIN),
            PROTEIN,
        ),
    ]


@pytest.fixture
def reference(tmp_path: Path) -> Path:
    path = tmp_path / "reference.fa"
    path.write_text(">a\nAACA\n>b\nACCCC\n>c\nA\n")
    return path


def bound(alphabet: Alphabet = DNA, **parameters: Any) -> Kmer:
    reward = Kmer(**parameters)
    reward.bind(alphabet)
    return reward


@pytest.mark.parametrize(
    ("distance", "sequence", "expected"),
    [
        # Of the references: AA 1/7, AC 2/7, CA 1/7, CC 3/7.
        ("euclidean", "AAA", sqrt(36 + 4 + 1 + 9) / 7),
        ("euclidean", "GG", sqrt(49 + 1 + 4 + 1 + 9) / 7),
        ("cosine", "AAA", 1 - 1 / sqrt(15)),
        ("cosine", "ACC", 1 - (2 + 3) / sqrt(15 * 2)),
        ("cosine", "GTGT", 1),
        ("jensen_shannon", "GTGT", 1),  # nothing in common: one bit
        ("jensen_shannon", "ACAACCCC", 0),  # AC 2, CA 1, AA 1, CC 3
        (
            "jensen_shannon",
            "AAA",
            sqrt((np.log2(7 / 4) + np.log2(1 / 4) / 7 + 6 / 7) / 2),
        ),
    ],
)
def test_worked_by_hand(reference: Path, distance: str, sequence: str, expected: float) -> None:
    reward = bound(reference=reference, k=2, distance=distance)
    found = reward.score([sequence]).values[0, 0]
    assert found == pytest.approx(expected, abs=2e-6)


@pytest.mark.parametrize("distance", ["jensen_shannon", "euclidean", "cosine"])
def test_equals_a_plain_count(tmp_path: Path, distance: str) -> None:
    source = random.Random(2)
    sequences = ["".join(source.choices("ACGT", k=n)) for n in (50, 80, 80, 33) * 5]
    path = tmp_path / "r.csv"
    path.write_text("sequence\n" + "\n".join(sequences[:4]))
    names = ["".join(letters) for letters in product("ACGT", repeat=3)]

    def frequencies(texts: list[str]) -> np.ndarray:
        counts = Counter(t[i : i + 3] for t in texts for i in range(len(t) - 2))
        return np.array([counts[name] for name in names]) / counts.total()

    q = frequencies(sequences[:4])
    expected = []
    for p in (frequencies([s]) for s in sequences):
        m = (p + q) / 2
        with np.errstate(divide="ignore", invalid="ignore"):
            parts = np.nansum(p * np.log2(p / m)), np.nansum(q * np.log2(q / m))
        expected.append(
            {
                "jensen_shannon": sqrt(sum(parts) / 2),
                "euclidean": float(np.sqrt(((p - q) ** 2).sum())),
                "cosine": float(1 - p @ q / np.sqrt(p @ p * (q @ q))),
            }[distance]
        )
    found = bound(reference=path, distance=distance).score(sequences).values[:, 0]
    np.testing.assert_allclose(found, expected, atol=1e-8)


def test_rna_reads_the_reference_with_u(tmp_path: Path) -> None:
    path = tmp_path / "r.fa"
    path.write_text(">a\nTTAC\n")
    found = bound(RNA, reference=path, k=1).score(["UUAC", "GGGG"]).values[:, 0]
    np.testing.assert_allclose(found, [0, 1], atol=2e-6)


def test_one_hot_sequences_have_finite_slopes(reference: Path) -> None:
    for distance in ("jensen_shannon", "euclidean", "cosine"):
        reward = bound(reference=reference, k=2, distance=distance)
        probs = torch.eye(4)[torch.from_numpy(DNA.encode(["ACGTAC", "ACAACA"]))].requires_grad_()
        reward.score_relaxed(probs).sum().backward()
        assert probs.grad is not None
        assert torch.isfinite(probs.grad).all()
        assert probs.grad.abs().max() > 0.01


def test_positions_that_do_not_exist_are_not_counted(reference: Path) -> None:
    reward = bound(reference=reference, k=2)
    probs = torch.eye(4)[torch.from_numpy(DNA.encode(["AACAGG"]))]
    valid = torch.tensor([[True] * 4 + [False] * 2])
    expected = reward.score(["AACA"]).values[0, 0]
    assert reward.score_relaxed(probs, valid).item() == pytest.approx(expected, abs=1e-6)
    assert torch.isnan(reward.score_relaxed(probs[:, :1])).all()


def test_too_short_has_no_score(reference: Path) -> None:
    scores = bound(reference=reference).score(["AC", "ACG"])
    assert scores.errors == ["shorter than k (2 < 3)", None]
    assert np.isnan(scores.values[0, 0])


def test_what_cannot_be_used_is_refused(reference: Path, tmp_path: Path) -> None:
    with pytest.raises(RewardError, match=r"k=9 makes 20\^9 k-mers .* lower k"):
        bound(PROTEIN, reference=reference, k=9)
    with pytest.raises(RewardError, match=r"no sequence of .*reference\.fa has 6 letters"):
        bound(reference=reference, k=6)
    with pytest.raises(InputError, match=r"absent\.fa"):
        bound(reference=tmp_path / "absent.fa")
    with pytest.raises(ConfigurationError, match="did you mean 'cosine'"):
        Kmer(reference=reference, distance="cosin")
    with pytest.raises(ConfigurationError, match="reward kmer needs reference"):
        Kmer()
    with pytest.raises(RewardError, match="bind"):
        Kmer(reference=reference).score(["A"])
