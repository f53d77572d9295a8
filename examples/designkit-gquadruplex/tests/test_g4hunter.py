"""G4Hunter worked by hand, and the checks that designkit makes of every reward."""

import random

import numpy as np
import pytest

from designkit.alphabet import DNA, RNA
from designkit.errors import ConfigurationError
from designkit.rewards import check_reward, load_reward

TELOMERE = "GGGTTAGGGTTAGGGTTAGGG"  # 12 G in runs of three: 12 * 3 over 21 letters


@pytest.mark.parametrize(
    ("sequence", "score"),
    [
        (TELOMERE, 36 / 21),
        (TELOMERE.replace("T", "U"), 36 / 21),
        ("G", 1),
        ("GGAGGGGG", (2 * 2 + 5 * 4) / 8),
        ("CCCC", -4),
        ("GC", 0),
        ("ATTA", 0),
    ],
)
def test_worked_by_hand(sequence: str, score: float) -> None:
    found = load_reward("g4hunter").score([sequence])
    np.testing.assert_allclose(found.values[0, 0], score)


def test_windows() -> None:
    sequence = "A" * 20 + "GGGG" + "A" * 20  # windows of 8 that hold k of the four G: mean k / 2
    found = load_reward("g4hunter?window=8&threshold=1.5").score([sequence]).values
    # 44 - 8 + 1 windows; five hold all four G, two hold three.
    np.testing.assert_allclose(found, [[2, 7 / 37]])


def test_the_other_strand() -> None:
    other = DNA.reverse_complement(TELOMERE)
    assert load_reward("g4hunter").score([other]).values[0, 0] < 0
    both = load_reward("g4hunter?strand=both").score([other, TELOMERE]).values[:, 0]
    np.testing.assert_allclose(both, 36 / 21)


def test_parameters_are_checked() -> None:
    with pytest.raises(ConfigurationError, match="window: must be at least 1"):
        load_reward("g4hunter?window=0")


@pytest.mark.parametrize("alphabet", [DNA, RNA], ids=["dna", "rna"])
@pytest.mark.parametrize("ref", ["g4hunter", "g4hunter?window=10&strand=both"])
def test_the_contract_is_kept(ref: str, alphabet) -> None:
    source = random.Random(0)
    sequences = ["".join(source.choices(alphabet.letters, k=40)) for _ in range(30)]
    findings = check_reward(load_reward(ref), alphabet, sequences)
    assert [f"{f.check}: {f.detail}" for f in findings if f.outcome == "failed"] == []
