"""Upstream start codons, counted by hand and against a scan of each sequence."""

from __future__ import annotations

import csv
import gzip
import random
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from designkit.alphabet import DNA, RNA, Alphabet
from designkit.errors import ConfigurationError, RewardError
from designkit.rewards.uorf import Uorf
from tests.rewards.examples import Example, random_sequences


def examples(folder: Path) -> list[Example]:
    return [
        Example("uorf", random_sequences(length=50)),
        Example("uorf?flank=ATGGCATG", random_sequences(RNA, length=40), RNA),
    ]


def values(sequences: list[str], alphabet: Alphabet = DNA, **parameters: Any) -> np.ndarray:
    reward = Uorf(**parameters)
    reward.bind(alphabet)
    return reward.score(sequences).values


@pytest.mark.parametrize(
    ("sequence", "expected"),
    [
        # start codons, in frame, out of frame, terminated, best context
        ("CCCCCC", (0, 0, 0, 0, 0)),
        ("CCATGCCC", (1, 1, 0, 0, 1)),  # 6 letters to the main ATG: in frame
        ("CCATGCC", (1, 0, 1, 0, 1)),
        ("ACCATGCC", (1, 0, 1, 0, 2)),  # A at -3
        ("CCCATGGC", (1, 0, 1, 0, 2)),  # G at +4
        ("GCCATGGC", (1, 0, 1, 0, 3)),  # both
        ("TCCATGGCTGA", (1, 0, 1, 0, 2)),  # TGA is out of its frame
        ("TCCATGGCCTGAC", (1, 0, 0, 1, 2)),  # ATG GCC TGA
        ("CATGTAA", (1, 0, 0, 1, 1)),
        ("ATGCTAGCATAG", (1, 0, 0, 1, 1)),  # ATG CTA GCA TAG
        ("ATGATGCCTAACC", (2, 0, 2, 0, 2)),  # ATG ATG CCT AAC and ATG CCT AAC: both open
        ("ATGCATGTAGC", (2, 0, 1, 1, 1)),  # ATG CAT GTA is open, ATG TAG is not
        ("ATGTA", (1, 0, 1, 0, 1)),  # TA|A of the main ATG ends in it: it overlaps
        ("GATGC", (1, 0, 1, 0, 1)),
        ("AAATG", (1, 1, 0, 0, 1)),
        ("AT", (0, 0, 0, 0, 0)),
        ("", (0, 0, 0, 0, 0)),
    ],
)
def test_worked_by_hand(sequence: str, expected: tuple[int, ...]) -> None:
    np.testing.assert_array_equal(values([sequence]), [expected])
    rna = values([sequence.replace("T", "U")], RNA)
    np.testing.assert_array_equal(rna, [expected])


def scan(leader: str) -> list[int]:
    """The definition, one start codon at a time."""
    found = [0, 0, 0, 0, 0]
    for match in re.finditer("(?=ATG)", leader):
        place = match.start()
        found[0] += 1
        codons = [leader[i : i + 3] for i in range(place, len(leader) - 2, 3)]
        if {"TAA", "TAG", "TGA"} & set(codons):
            found[3] += 1
        else:
            found[1 if (len(leader) - place) % 3 == 0 else 2] += 1
        purine = place >= 3 and leader[place - 3] in "AG"
        found[4] = max(found[4], 1 + purine + (leader[place + 3 : place + 4] == "G"))
    return found


@pytest.mark.parametrize("flank", ["ATG", "GATG", "TGATAGCCACCATG"])
def test_equals_a_scan_of_each_sequence(flank: str) -> None:
    source = random.Random(4)
    weights = [3, 1, 2, 3]
    sequences = ["".join(source.choices("ACGT", weights, k=n % 61)) for n in range(600)]
    found = values(sequences, flank=flank)
    np.testing.assert_array_equal(found, [scan(s + flank[:-3]) for s in sequences])
    np.testing.assert_array_equal(found[:, 0], found[:, 1:4].sum(axis=1))
    assert (found.mean(axis=0) > 0.1).all()


def test_the_flank_completes_start_codons_and_contexts() -> None:
    np.testing.assert_array_equal(values(["CCAT"], flank="GGATG"), [[1, 0, 1, 0, 2]])
    np.testing.assert_array_equal(values(["CCAT"]), [[0, 0, 0, 0, 0]])
    np.testing.assert_array_equal(values(["CCAU"], RNA, flank="GGAUG"), [[1, 0, 1, 0, 2]])


def test_relaxed_rows_end_where_their_flank_begins() -> None:
    reward = Uorf(flank="GATG")
    reward.bind(DNA)
    probs = torch.eye(4)[torch.from_numpy(DNA.encode(["ATGAT", "ATGAT", "CCCCC"]))]
    valid = torch.tensor([[True] * 5, [True] * 4 + [False], [True] * 5])
    assert reward.score_relaxed(probs, valid).tolist() == [2, 1, 0]


@pytest.mark.parametrize("flank", ["", "GCC", "NATG", "ATGC"])
def test_a_flank_ends_in_the_main_start_codon(flank: str) -> None:
    with pytest.raises(ConfigurationError, match="must be letters A, C, G, T that end in ATG"):
        Uorf(flank=flank)


def test_needs_an_alphabet() -> None:
    with pytest.raises(RewardError, match="bind"):
        Uorf().score(["A"])


SHARED = Path(__file__).parents[3] / "shared" / "data"


@pytest.mark.shared
@pytest.mark.skipif(not SHARED.is_dir(), reason="needs the curated data beside the checkout")
def test_overlapping_frames_lower_the_measured_ribosome_load() -> None:
    with gzip.open(SHARED / "rna_5utr_mrl_m1pseudo2.csv.gz", "rt") as handle:
        rows = list(csv.DictReader(handle))[:4000]
    load = np.array([float(row["mrl"]) for row in rows])
    found = values([row["sequence"] for row in rows])
    without = load[found[:, 0] == 0].mean()
    for column in (2, 3):  # out of frame and terminated: fewer ribosomes on the reporter
        alone = (found[:, 0] == 1) & (found[:, column] == 1)
        assert load[alone].mean() < without - 0.5
    strong, weak = ((found[:, 2] == 1) & (found[:, 0] == 1) & (found[:, 4] == n) for n in (3, 1))
    assert load[strong].mean() < load[weak].mean()
