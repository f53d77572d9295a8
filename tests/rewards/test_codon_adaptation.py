"""Codon adaptation against the numbers of Sharp and Li and against Biopython."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from Bio.SeqUtils import CodonAdaptationIndex

from designkit.alphabet import DNA, RNA, Alphabet
from designkit.errors import ConfigurationError, InputError, RewardError
from designkit.rewards._codon_weights import published_weights
from designkit.rewards.base import Scores
from designkit.rewards.codon_adaptation import CodonAdaptation
from tests.rewards.examples import Example

# Gene rpsU of Escherichia coli, the worked example of Sharp and Li 1987: index 0.726.
RPSU = (
    "ATGCCGGTAATTAAAGTACGTGAAAACGAGCCGTTCGACGTAGCTCTGCGTCGCTTCAAGCGTTCCTGCGAAAAAGCAGGTGTTCTGGCG"
    "GAAGTTCGTCGTCGTGAGTTCTATGAAAAACCGACTACCGAACGTAAGCGCGCTAAAGCTTCTGCAGTGAAACGTCACGCGAAGAAACTG"
    "GCTCGCGAAAACGCACGCCGCACTCGTCTGTACTAA"
)
# Table 1 of Sharp and Li 1987: the use of a codon relative to even use of its synonyms (RSCU), in
# highly expressed genes of Escherichia coli and Saccharomyces cerevisiae.
RSCU = """
Phe TTT 0.456 0.203 TTC 1.544 1.797
Leu TTA 0.106 0.601 TTG 0.106 5.141 CTT 0.225 0.029 CTC 0.198 0.014 CTA 0.040 0.200 CTG 5.326 0.014
Ile ATT 0.466 1.352 ATC 2.525 1.643 ATA 0.008 0.005
Met ATG 1.000 1.000
Val GTT 2.244 2.161 GTC 0.148 1.796 GTA 1.111 0.004 GTG 0.496 0.039
Ser TCT 2.571 3.359 TCC 1.912 2.327 TCA 0.198 0.122 TCG 0.044 0.017 AGT 0.220 0.070 AGC 1.055 0.105
Pro CCT 0.231 0.179 CCC 0.038 0.036 CCA 0.442 3.776 CCG 3.288 0.009
Thr ACT 1.804 1.899 ACC 1.870 2.063 ACA 0.141 0.025 ACG 0.185 0.013
Ala GCT 1.877 3.005 GCC 0.228 0.948 GCA 1.099 0.044 GCG 0.796 0.004
Tyr TAT 0.386 0.132 TAC 1.614 1.868
His CAT 0.451 0.394 CAC 1.549 1.606
Gln CAA 0.220 1.987 CAG 1.780 0.013
Asn AAT 0.097 0.100 AAC 1.903 1.900
Lys AAA 1.596 0.237 AAG 0.404 1.763
Asp GAT 0.605 0.713 GAC 1.395 1.287
Glu GAA 1.589 1.968 GAG 0.411 0.032
Cys TGT 0.667 1.857 TGC 1.333 0.143
Trp TGG 1.000 1.000
Arg CGT 4.380 0.718 CGC 1.561 0.008 CGA 0.017 0.008 CGG 0.017 0.008 AGA 0.017 5.241 AGG 0.008 0.017
Gly GGT 2.283 3.898 GGC 1.652 0.077 GGA 0.022 0.009 GGG 0.043 0.017
"""


def genes(count: int, codons: int, seed: int = 0) -> list[str]:
    source, known = random.Random(seed), sorted(published_weights("ecoli"))
    return ["ATG" + "".join(source.choices(known, k=codons)) for _ in range(count)]


def examples(folder: Path) -> list[Example]:
    file = folder / "genes.fa"
    file.write_text("".join(f">{n}\n{gene}\n" for n, gene in enumerate(genes(5, 200, seed=9))))
    rna = [gene.replace("T", "U") for gene in genes(30, 12)]
    return [
        Example("codon_adaptation?host=ecoli", genes(30, 12)),
        Example("codon_adaptation?host=yeast", rna, RNA),
        Example(f"codon_adaptation?reference={file}", genes(30, 12)),
    ]


def scores(sequences: list[str], alphabet: Alphabet = DNA, **parameters: Any) -> Scores:
    reward = CodonAdaptation(**parameters)
    reward.bind(alphabet)
    return reward.score(sequences)


def test_the_example_of_the_paper() -> None:
    assert scores([RPSU], host="ecoli").values[0, 0] == pytest.approx(0.726, abs=5e-4)
    assert scores([RPSU[:-3]], host="ecoli").values[0, 0] == pytest.approx(0.726, abs=5e-4)
    assert scores([RPSU.replace("T", "U")], RNA, host="ecoli").values[0, 0] == pytest.approx(
        0.726, abs=5e-4
    )


@pytest.mark.parametrize(("host", "column"), [("ecoli", 0), ("yeast", 1)])
def test_published_weights_are_the_published_codon_use(host: Any, column: int) -> None:
    weights = published_weights(host)
    checked = 0
    for line in RSCU.split("\n")[1:-1]:
        fields = line.split()[1:]
        use = {fields[i]: float(fields[i + 1 + column]) for i in range(0, len(fields), 3)}
        for codon, value in use.items():
            assert weights[codon] == pytest.approx(value / max(use.values()), abs=7e-4), codon
            checked += 1
    assert checked == len(weights) == 61


def test_worked_by_hand() -> None:
    sequences = ["CTGAAA", "CTGTTA", "ATGTTATGGTTA", "TTATAA", "CTGCTGTTATTA"]
    expected = [1, 0.02**0.5, 0.02, 0.02, 0.02**0.5]
    np.testing.assert_allclose(scores(sequences, host="ecoli").values[:, 0], expected)


def test_equals_biopython_when_trained(tmp_path: Path) -> None:
    reference, sequences = genes(4, 60, seed=1), genes(40, 30, seed=2)
    path = tmp_path / "genes.csv"
    path.write_text("cds\n" + "\n".join(gene.replace("T", "U") for gene in reference))
    index = CodonAdaptationIndex(reference)
    found = scores(sequences, reference=path, column="cds").values[:, 0]
    np.testing.assert_allclose(found, [index.calculate(s) for s in sequences])
    assert np.ptp(found) > 0.05


def test_what_is_no_reading_frame_has_no_score() -> None:
    found = scores(["CTGC", "", "CTGTAACTG", "ATGTGG", "TAA", "CTGTGA"], host="ecoli")
    assert found.errors == [
        "length 4 is not a multiple of 3",
        "empty sequence",
        "stop codon inside, codon 2 of 3",
        "no codon that has a synonym",
        "no codon that has a synonym",
        None,
    ]
    assert np.isnan(found.values[:, 0]).tolist() == [True] * 5 + [False]


def test_parameters_are_checked(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="give either host=ecoli"):
        CodonAdaptation()
    with pytest.raises(ConfigurationError, match="give either host=ecoli"):
        CodonAdaptation(host="yeast", reference="x.fa")
    with pytest.raises(ConfigurationError, match="did you mean 'ecoli'"):
        CodonAdaptation(host="e.coli")
    with pytest.raises(InputError, match=r"absent\.fa"):
        CodonAdaptation(reference=tmp_path / "absent.fa")
    path = tmp_path / "odd.fa"
    path.write_text(">good\nATGCTG\n>odd\nATGC\n")
    with pytest.raises(RewardError, match=r"odd\.fa: odd: length 4 is not a multiple of 3"):
        CodonAdaptation(reference=path)
    with pytest.raises(RewardError, match="bind"):
        CodonAdaptation(host="ecoli").score(["CTG"])
