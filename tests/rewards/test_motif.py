"""Motif scores against Bio.motifs, over formats, strands and letters."""

from __future__ import annotations

import csv
import gzip
import json
import random
from io import StringIO
from itertools import islice, product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from Bio import motifs
from Bio.Seq import Seq

from designkit.alphabet import DNA, RNA
from designkit.errors import ConfigurationError, RewardError
from designkit.rewards._motif_file import BIOPYTHON_FORMATS
from designkit.rewards.motif import Motif
from tests.rewards.examples import JASPAR, JASPAR_TWO, MOTIF_FILES, Example, random_sequences

SEQUENCES = ["".join(random.Random(n).choices("ACGT", k=30 + n % 5)) for n in range(60)]


def examples(folder: Path) -> list[Example]:
    file = folder / "arnt.jaspar"
    file.write_text(JASPAR)
    more = ["", "&strand=forward", "&score=total", "&score=count&relative=0.6"]
    refs = [f"motif?file={file}{parameters}" for parameters in more]
    return [Example(ref, random_sequences()) for ref in refs]


def best_by_biopython(text: str, file_format: str, pseudocounts: float, both: bool) -> list[float]:
    motif = next(iter(motifs.parse(StringIO(text), BIOPYTHON_FORMATS[file_format])))
    pssm = motif.counts.normalize(pseudocounts=pseudocounts).log_odds()
    matrices = [pssm, pssm.reverse_complement()] if both else [pssm]
    return [max(float(m.calculate(Seq(s)).max()) for m in matrices) for s in SEQUENCES]


@pytest.mark.parametrize("file_format", sorted(MOTIF_FILES))
@pytest.mark.parametrize("both", [True, False])
@pytest.mark.parametrize("pseudocounts", [0.5, 0.01])
def test_equals_biopython(
    tmp_path: Path, file_format: str, both: bool, pseudocounts: float
) -> None:
    path = tmp_path / "motif.txt"
    path.write_text(MOTIF_FILES[file_format])
    strand = "both" if both else "forward"
    reward = Motif(file=path, strand=strand, pseudocounts=pseudocounts)
    reward.bind(DNA)
    expected = best_by_biopython(MOTIF_FILES[file_format], file_format, pseudocounts, both)
    found = reward.score(SEQUENCES).values[:, 0]
    np.testing.assert_allclose(found, expected, rtol=1e-5)  # Bio.motifs scores DNA in float32


def test_consensus_by_hand(motif_file: Path) -> None:
    reward = Motif(file=motif_file, pseudocounts=1)
    reward.bind(DNA)
    counts = [16, 19, 20, 20, 20, 20]  # of C A C G T G among 20 sites
    expected = sum(np.log2((count + 1) / 24 / 0.25) for count in counts)
    output = reward.info.outputs[0]
    assert output.range is not None
    assert output.range[1] == pytest.approx(expected)
    found = reward.score(["TTCACGTGTT", "CACGTG", "AACACGTGAA"]).values[:, 0]
    np.testing.assert_allclose(found, expected)


def test_strands(motif_file: Path) -> None:
    site, other = "TTTCACGTT", "AACGTGAAA"  # one reads as the other on the other strand
    assert DNA.reverse_complement(site) == other
    scores = {}
    for strand in ("both", "forward", None):
        reward = Motif(file=motif_file, strand=strand)
        reward.bind(DNA)
        scores[strand] = reward.score([site, other]).values[:, 0].tolist()
    assert scores["both"][0] == scores["both"][1] == max(scores["forward"])
    assert scores["forward"][0] != scores["forward"][1]
    assert scores[None] == scores["both"]


def site_scores(path: Path, pseudocounts: float, sequences: list[str]) -> list[np.ndarray]:
    """Scores of the sites on both strands of each sequence, by Bio.motifs."""
    with path.open() as handle:
        motif = motifs.read(handle, "jaspar")
    pssm = motif.counts.normalize(pseudocounts=pseudocounts).log_odds()
    strands = (pssm, pssm.reverse_complement())
    sites = ([np.atleast_1d(strand.calculate(Seq(s))) for strand in strands] for s in sequences)
    return [np.concatenate(pair).astype(np.float64) for pair in sites]


def test_total_and_count_equal_sums_over_the_sites_of_biopython(motif_file: Path) -> None:
    sequences = ["".join(random.Random(n).choices("ACGT", k=20 + n % 90)) for n in range(400)]
    sites = site_scores(motif_file, 0.5, sequences)
    total = Motif(file=motif_file, score="total")
    total.bind(DNA)
    expected = [np.log2((2**one).sum()) for one in sites]
    np.testing.assert_allclose(total.score(sequences).values[:, 0], expected, rtol=1e-4, atol=1e-5)
    best = Motif(file=motif_file)
    limits = best.info.outputs[0].range
    assert limits is not None
    for relative in (0.6, 0.8):
        count = Motif(file=motif_file, score="count", relative=relative)
        count.bind(DNA)
        threshold = limits[0] + relative * (limits[1] - limits[0])
        numbers = [(one >= threshold - 1e-5).sum() for one in sites]
        np.testing.assert_array_equal(count.score(sequences).values[:, 0], numbers)
        assert 0.1 < np.mean(numbers) < 20
        assert count.info.outputs[0].unit == "sites"


@pytest.mark.parametrize("p_value", [0.0003, 0.001, 0.01, 0.05, 0.3])
def test_p_value_is_the_share_of_all_words(motif_file: Path, p_value: float) -> None:
    words = ["".join(letters) for letters in product("ACGT", repeat=6)]
    best = Motif(file=motif_file, strand="forward")
    count = Motif(file=motif_file, strand="forward", score="count", p_value=p_value)
    for reward in (best, count):
        reward.bind(DNA)
    scores = best.score(words).values[:, 0]
    chosen = count.score(words).values[:, 0] == 1
    assert 0 < chosen.mean() <= p_value
    assert scores[chosen].min() > scores[~chosen].max()
    next_lower = scores[~chosen].max()
    assert (scores >= next_lower - 1e-6).mean() > p_value


def test_a_threshold_that_no_site_reaches_is_refused(motif_file: Path) -> None:
    with pytest.raises(
        RewardError, match=r"no site has a p-value of 0\.0001, the best one has 0\.00"
    ):
        Motif(file=motif_file, score="count")
    whole = Motif(file=motif_file, score="count", relative=1)
    whole.bind(DNA)
    # The second is the first read on the other strand; the palindrome CACGTG is nearly the motif.
    assert whole.score(["TTCACGTGTT", "AACACGTGAA", "CACGTC"]).values[:, 0].tolist() == [2, 2, 0]


def test_rna_is_read_with_u_and_on_one_strand(motif_file: Path) -> None:
    dna, rna = Motif(file=motif_file, strand="forward"), Motif(file=motif_file)
    dna.bind(DNA)
    rna.bind(RNA)
    expected = dna.score(SEQUENCES).values
    found = rna.score([sequence.replace("T", "U") for sequence in SEQUENCES]).values
    np.testing.assert_array_equal(found, expected)


def test_too_short_has_no_score(motif_file: Path) -> None:
    reward = Motif(file=motif_file)
    reward.bind(DNA)
    scores = reward.score(["CACGT", "CACGTG", ""])
    assert scores.errors[0] == "shorter than the motif (5 < 6)"
    assert np.isnan(scores.values[:, 0]).tolist() == [True, False, True]
    assert reward.score_relaxed(torch.ones(2, 5, 4) / 4).tolist() == [-np.inf, -np.inf]


def test_sites_end_where_the_sequence_does(motif_file: Path) -> None:
    reward = Motif(file=motif_file)
    reward.bind(DNA)
    probs = torch.eye(4, dtype=torch.float64)[torch.from_numpy(DNA.encode(["AAAAAAACACGTG"]))]
    valid = torch.tensor([[True] * 10 + [False] * 3])
    found = reward.score_relaxed(probs, valid)
    assert found.item() == pytest.approx(reward.score(["AAAAAAACAC"]).values[0, 0])
    assert found.item() < reward.score_relaxed(probs).item()


def test_choosing_among_several(tmp_path: Path) -> None:
    path = tmp_path / "two.pfm"
    path.write_text(JASPAR_TWO)
    with pytest.raises(RewardError, match=r"holds 2 motifs.*motif=NAME: MA0004.1/Arnt"):
        Motif(file=path)
    assert Motif(file=path, motif="Second").width == 3
    assert Motif(file=path, motif="MA0004.1").width == 6
    with pytest.raises(RewardError, match="no motif 'arnt1'; did you mean 'Arnt'"):
        Motif(file=path, motif="arnt1")
    path.write_text(JASPAR + JASPAR)
    with pytest.raises(RewardError, match="2 motifs are called 'Arnt'"):
        Motif(file=path, motif="Arnt")


def test_transfac_names(tmp_path: Path) -> None:
    path = tmp_path / "arnt.dat"
    path.write_text(MOTIF_FILES["transfac"])
    assert Motif(file=path, motif="MA0004.1").width == Motif(file=path, motif="Arnt").width == 6


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no motif|not in"),
        (">x\nA [ 1 2 ]\nC [ 1 2 ]\n", "no motif in jaspar format"),
        (">x\nA [ 1 2 ]\nC [ 1 2 ]\nG [ 1 2 ]\nT [ 1 ]\n", "not in jaspar format"),
        ("1 2\n3 four\n5 6\n7 8\n", "not in pfm format"),
        ("MEME version 4\n", "not in meme format"),
        ("something else\n", "no motif|not in transfac format"),
    ],
)
def test_files_that_are_no_motifs(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "odd.txt"
    path.write_text(text)
    with pytest.raises(RewardError, match=message) as caught:
        Motif(file=path)
    assert "odd.txt" in str(caught.value)


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(RewardError, match=r"absent\.pfm: No such file"):
        Motif(file=tmp_path / "absent.pfm")


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({}, "reward motif needs file: motif?file=..."),
        ({"file": "x", "pseudocounts": 0}, "must be above 0"),
        ({"file": "x", "strand": "forwards"}, "did you mean 'forward'?"),
        ({"file": "x", "p_value": 0.01}, "p_value is a threshold of score=count, not of best"),
        ({"file": "x", "score": "count", "p_value": 0.1, "relative": 1}, "give one"),
    ],
)
def test_parameters_are_checked(parameters: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        Motif(**parameters)
    assert message in str(caught.value)


SHARED = Path(__file__).parents[3] / "shared" / "data"


@pytest.mark.shared
@pytest.mark.skipif(not SHARED.is_dir(), reason="needs the curated data beside the checkout")
def test_equals_biopython_on_jaspar_and_yeast_promoters(tmp_path: Path) -> None:
    with gzip.open(SHARED / "jaspar2024_core_pfms.jsonl.gz", "rt") as handle:
        matrices = [json.loads(line) for line in handle][::100]
    with gzip.open(SHARED / "dna_yeast_promoter80_expression.csv.gz", "rt") as handle:
        promoters = [row["sequence"] for row in islice(csv.DictReader(handle), 0, 2000, 50)]
    promoters += ["".join(random.Random(n).choices("ACGT", k=60 + n % 9)) for n in range(300)]
    path = tmp_path / "all.jaspar"
    path.write_text(
        "".join(
            f">{m['matrix_id']} {m['name'].replace(' ', '')}\n"
            + "".join(f"{c} [ {' '.join(map(str, m['counts'][c]))} ]\n" for c in "ACGT")
            for m in matrices
        )
    )
    with path.open() as handle:
        parsed = motifs.parse(handle, "jaspar")
    assert len(parsed) == len(matrices) > 10
    for motif in parsed:
        reward = Motif(file=path, motif=motif.matrix_id)
        reward.bind(DNA)
        pssm = motif.counts.normalize(pseudocounts=0.5).log_odds()
        strands = [pssm, pssm.reverse_complement()]
        expected = [max(float(m.calculate(Seq(s)).max()) for m in strands) for s in promoters]
        found = reward.score(promoters).values[:, 0]
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)
