"""Relative adaptiveness of codons: published tables, and trained on highly expressed genes."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from designkit.alphabet import DNA
from designkit.errors import RewardError

Host = Literal["ecoli", "yeast"]

# Sharp and Li 1987, Nucleic Acids Res 15:1281, table 1: codon, w in Escherichia coli, w in
# Saccharomyces cerevisiae; one or two lines for each amino acid.
_SHARP_AND_LI = """
TTT 0.296 0.113 TTC 1 1
TTA 0.02 0.117 TTG 0.02 1 CTT 0.042 0.006 CTC 0.037 0.003
CTA 0.007 0.039 CTG 1 0.003
ATT 0.185 0.823 ATC 1 1 ATA 0.003 0.003
ATG 1 1
GTT 1 1 GTC 0.066 0.831 GTA 0.495 0.002 GTG 0.221 0.018
TCT 1 1 TCC 0.744 0.693 TCA 0.077 0.036 TCG 0.017 0.005
AGT 0.085 0.021 AGC 0.41 0.031
CCT 0.07 0.047 CCC 0.012 0.009 CCA 0.135 1 CCG 1 0.002
ACT 0.965 0.921 ACC 1 1 ACA 0.076 0.012 ACG 0.099 0.006
GCT 1 1 GCC 0.122 0.316 GCA 0.586 0.015 GCG 0.424 0.001
TAT 0.239 0.071 TAC 1 1
CAT 0.291 0.245 CAC 1 1
CAA 0.124 1 CAG 1 0.007
AAT 0.051 0.053 AAC 1 1
AAA 1 0.135 AAG 0.253 1
GAT 0.434 0.554 GAC 1 1
GAA 1 1 GAG 0.259 0.016
TGT 0.5 1 TGC 1 0.077
TGG 1 1
CGT 1 0.137 CGC 0.356 0.002 CGA 0.004 0.002 CGG 0.004 0.002
AGA 0.004 1 AGG 0.002 0.003
GGT 1 1 GGC 0.724 0.02 GGA 0.01 0.002 GGG 0.019 0.004
"""


def published_weights(host: Host) -> dict[str, float]:
    """Weight w, 0 to 1, of the 61 codons that are no stop codons, written with T."""
    fields = _SHARP_AND_LI.split()
    weights = fields[1::3] if host == "ecoli" else fields[2::3]
    return {codon: float(w) for codon, w in zip(fields[::3], weights, strict=True)}


def trained_weights(path: Path, column: str) -> dict[str, float]:
    """Weights of 64 codons, written with T, from the coding sequences of a file.

    A codon that does not occur counts as half a one (Sharp and Li 1987).

    Args:
        path: FASTA or a table of coding sequences in DNA or RNA letters.
        column: of the sequences, where it is a table.

    Raises:
        InputError: the file cannot be read, or holds other letters.
        RewardError: a sequence is no whole number of codons.
    """
    from Bio.SeqUtils import CodonAdaptationIndex

    from designkit.io.sequences import read_sequences

    genes: list[str] = []
    with read_sequences(str(path), alphabet=DNA, column=column, convert_t_u=True) as reader:
        for chunk in reader:
            for name, gene in zip(chunk["id"], chunk["sequence"], strict=True):
                if len(gene) % 3:
                    raise RewardError(
                        f"reference {path}: {name}: length {len(gene)} is not a multiple of 3; "
                        "give whole coding sequences"
                    )
                genes.append(gene)
    return dict(CodonAdaptationIndex(genes))  # type: ignore[no-untyped-call]
