from __future__ import annotations

import math
import random
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from designkit.alphabet import DNA, PROTEIN, RNA, Alphabet
from designkit.errors import ConfigurationError, RewardError
from designkit.rewards.low_complexity import LowComplexity
from tests.rewards.examples import Example

SMILES = Alphabet("smiles", ("C", "Cl", "N", "(", ")", "=", "O", "Br"), separator=" ")


def mixed(alphabet: Alphabet, count: int = 40, seed: int = 0) -> list[str]:
    """Random letters with a stretch of few letters in them, of mixed lengths."""
    source = random.Random(seed)
    found = []
    for _ in range(count):
        few = source.choices(source.sample(alphabet.letters, 2), k=source.randint(4, 40))
        ends = source.choices(alphabet.letters, k=source.randint(10, 60))
        found.append(alphabet.separator.join([*ends[:7], *few, *ends[7:]]))
    return found


def examples(folder: Path) -> list[Example]:
    return [
        Example("low_complexity", mixed(PROTEIN), PROTEIN),
        Example("low_complexity?window=20", mixed(DNA), DNA),
        Example("low_complexity?word=2&entropy=0.8", mixed(SMILES), SMILES),
    ]


def one_by_one(
    sequence: list[str], window: int, word: int, largest_words: float, limit: float
) -> float:
    """The definition, window by window and letter by letter."""
    window = min(window, len(sequence))
    covered = [False] * len(sequence)
    for start in range(len(sequence) - window + 1):
        part = sequence[start : start + window]
        words = ["".join(part[place : place + word]) for place in range(window - word + 1)]
        shares = [count / len(words) for count in Counter(words).values()]
        entropy = -sum(share * math.log2(share) for share in shares)
        if entropy <= limit * math.log2(min(len(words), largest_words)) + 1e-9:
            covered[start : start + window] = [True] * window
    return sum(covered) / len(covered)


@pytest.mark.parametrize(
    ("alphabet", "window", "word", "entropy"),
    [
        (PROTEIN, 12, 1, 2.2 / math.log2(12)),
        (PROTEIN, 25, 2, 0.6),
        (DNA, 64, 3, 0.7),
        (RNA, 20, 1, 0.8),
        (SMILES, 12, 1, 0.7),
    ],
)
def test_equals_the_definition(alphabet: Alphabet, window: int, word: int, entropy: float) -> None:
    reward = LowComplexity(window=window, word=word, entropy=entropy)
    reward.bind(alphabet)
    sequences = mixed(alphabet, count=60, seed=1)
    expected = [
        one_by_one(alphabet.split(s), window, word, alphabet.size**word, entropy) for s in sequences
    ]
    assert 2 < len(set(expected))
    np.testing.assert_allclose(reward.score(sequences).values[:, 0], expected)


@pytest.mark.parametrize(
    ("alphabet", "settings"),
    [
        (PROTEIN, {"window": 12, "word": 1, "entropy": 2.2 / math.log2(12)}),
        (SMILES, {"window": 12, "word": 1, "entropy": 2.2 / math.log2(12)}),
        (DNA, {"window": 64, "word": 3, "entropy": 0.7}),
        (RNA, {"window": 64, "word": 3, "entropy": 0.7}),
    ],
)
def test_defaults_depend_on_the_alphabet(alphabet: Alphabet, settings: dict[str, float]) -> None:
    default, written = LowComplexity(), LowComplexity(**settings)
    default.bind(alphabet)
    written.bind(alphabet)
    sequences = mixed(alphabet, seed=2)
    found = default.score(sequences).values
    np.testing.assert_array_equal(found, written.score(sequences).values)
    assert len(np.unique(found)) > 1


def test_by_hand() -> None:
    reward = LowComplexity()
    reward.bind(PROTEIN)
    # Four letters, three of each, have 2 bits; six letters, two of each, 2.58.
    low, high = "ACDE" * 3, "ACDEFG" * 2
    assert reward.score([low, high, "Q" * 12]).values[:, 0].tolist() == [1, 0, 1]
    # 7 Q and 5 other letters have log2(12) - 7 log2(7) / 12 = 1.95 bits, 6 Q and 6 others 2.29:
    # the windows of a run of ten reach 5 letters beyond it.
    values = reward.score(["ACDEFGHIKLMNPRS" + "Q" * 10 + "ACDEFGHIKLMNPRS"]).values
    assert values[0, 0] == pytest.approx((10 + 5 + 5) / 40)


def test_repeats_in_dna_are_seen_by_words() -> None:
    reward = LowComplexity()
    reward.bind(DNA)
    source = random.Random(0)
    random_dna = "".join(source.choices("ACGT", k=200))
    values = reward.score(["ACGT" * 50, "CAG" * 60, random_dna, "A" * 64]).values[:, 0]
    assert values.tolist() == [1, 1, 0, 1]  # the letters of ACGTACGT... alone are as even as can be


def test_sequences_with_fewer_than_two_words_have_no_score() -> None:
    reward = LowComplexity()
    reward.bind(DNA)
    scores = reward.score(["", "ACG", "ACGT"])
    assert np.isnan(scores.values[:2, 0]).all()
    assert scores.errors[1:] == ["shorter than two words of 3 (length 3)", None]
    assert scores.values[2, 0] == 0


def test_settings_are_checked() -> None:
    with pytest.raises(ConfigurationError, match=r"entropy: must be at most 1"):
        LowComplexity(entropy=2.2)
    with pytest.raises(RewardError, match="window=3 must be longer than word=3"):
        LowComplexity(window=3).bind(DNA)
    with pytest.raises(RewardError, match="bind"):
        LowComplexity().score(["ACGT"])
