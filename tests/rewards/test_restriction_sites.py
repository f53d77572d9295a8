from __future__ import annotations

import random
from pathlib import Path

import pytest
from Bio.Restriction import AllEnzymes, BsaI
from Bio.Seq import Seq

from designkit.alphabet import DNA
from designkit.errors import ConfigurationError, RewardError
from designkit.rewards.restriction_sites import RestrictionSites
from tests.rewards.examples import Example, random_sequences


def examples(folder: Path) -> list[Example]:
    return [
        Example("restriction_sites?enzymes=AluI,MseI,HinfI", random_sequences(length=40)),
        Example("restriction_sites?enzymes=MnlI", random_sequences(length=60)),
    ]


def counts(enzymes: str, sequences: list[str]) -> list[float]:
    reward = RestrictionSites(enzymes=enzymes)
    reward.bind(DNA)
    found: list[float] = reward.score(sequences).values[:, 0].tolist()
    return found


def test_worked_by_hand() -> None:
    sequences = ["AGAATTCA", "TGGTCTCAGAGACCT", "GAATTCGGTCTCGAATTC", "GAATT", ""]
    assert counts("EcoRI", sequences) == [1, 0, 2, 0, 0]  # palindromic: once, not per strand
    assert counts("BsaI", sequences) == [0, 2, 1, 0, 0]  # GGTCTC, and GAGACC on the other strand
    assert counts("EcoRI,BsaI", sequences) == [1, 2, 3, 0, 0]
    assert counts("BsaI, Eco31I", sequences) == [0, 2, 1, 0, 0]  # isoschizomers: the same site
    assert counts("HinfI", ["GAATC", "GACTC", "GAGTCGATTC", "GACCTC"]) == [1, 1, 2, 0]  # GANTC


def test_a_site_whose_cut_lies_beyond_the_end_counts() -> None:
    assert len(BsaI.search(Seq("AAGGTCTC"))) == 0
    assert counts("BsaI", ["AAGGTCTC"]) == [1]


def test_equals_the_search_of_biopython_for_all_enzymes() -> None:
    source = random.Random(3)
    sequences = ["".join(source.choices("ACGT", k=1500)) for _ in range(2)]
    # Room for the cut: Biopython leaves out sites that are cut beyond the ends, and gives several
    # cuts for a site of an enzyme that cuts twice.
    room = "A" * 60
    checked = found = 0
    for enzyme in sorted(AllEnzymes, key=str):
        if enzyme.cut_twice() or enzyme.cut_once() is False:
            continue
        longer = [room + s + room for s in sequences]
        expected = [len(enzyme.search(Seq(s))) for s in longer]
        assert counts(str(enzyme), longer) == expected, enzyme
        checked += 1
        found += sum(expected)
    assert checked > 700
    assert found > 1000


def test_unknown_enzymes_are_refused() -> None:
    with pytest.raises(RewardError, match="unknown enzyme 'ecori'; did you mean 'EcoRI'"):
        RestrictionSites(enzymes="BsaI,ecori")
    with pytest.raises(RewardError, match="needs enzymes"):
        RestrictionSites(enzymes=" ")
    with pytest.raises(ConfigurationError, match="reward restriction_sites needs enzymes"):
        RestrictionSites()
    with pytest.raises(RewardError, match="bind"):
        RestrictionSites(enzymes="EcoRI").score(["A"])
