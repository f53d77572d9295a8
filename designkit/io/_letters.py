"""What a symbol outside the alphabet most likely is, and T/U conversion."""

from __future__ import annotations

from collections.abc import Callable

from designkit.alphabet import Alphabet
from designkit.errors import UsageError

_NUCLEOTIDE_CODES = frozenset("ACGTURYSWKMBDHVN-")
_UNUSUAL_RESIDUES = {
    "X": "any residue",
    "B": "aspartate or asparagine",
    "Z": "glutamate or glutamine",
    "J": "leucine or isoleucine",
    "U": "selenocysteine",
    "O": "pyrrolysine",
}


def explain_symbol(alphabet: Alphabet, symbol: str) -> str:
    """One clause on what to do about a symbol that is not in the alphabet."""
    nucleotides = _is_nucleotide(alphabet)
    if symbol.upper() in alphabet.index:
        return "lower case is not accepted unless asked for: pass --uppercase"
    if symbol in ("U", "u", "T", "t") and nucleotides:
        wanted = "T" if symbol in "Uu" else "U"
        return f"T and U are exchanged only when asked: pass --convert-t-u to read it as {wanted}"
    if symbol == "*" and not nucleotides:
        return "it is a stop codon; remove it and what follows it"
    if symbol in ("-", "."):
        return "it is an alignment gap; remove the gaps"
    if symbol.isspace():
        return "remove the spaces inside the sequence"
    if nucleotides and symbol.upper() in _NUCLEOTIDE_CODES:
        return "it is a code for several bases; replace it, or pass --on-invalid skip"
    if alphabet.name == "protein" and symbol.upper() in _UNUSUAL_RESIDUES:
        meaning = _UNUSUAL_RESIDUES[symbol.upper()]
        return f"it stands for {meaning}; replace it, or pass --on-invalid skip"
    return "correct it, or pass --on-invalid skip to leave such records out"


def converter_t_u(alphabet: Alphabet | None) -> Callable[[str], str]:
    """The function that writes U as T (DNA) or T as U (RNA), in either case.

    Raises:
        UsageError: no alphabet, or one that is neither DNA nor RNA.
    """
    if alphabet is None or not _is_nucleotide(alphabet):
        name = alphabet.name if alphabet else "unknown"
        raise UsageError(f"--convert-t-u is for DNA and RNA; the alphabet here is {name}")
    table = str.maketrans("Uu", "Tt") if "T" in alphabet.index else str.maketrans("Tt", "Uu")
    return lambda sequence: sequence.translate(table)


def _is_nucleotide(alphabet: Alphabet) -> bool:
    has_one = ("T" in alphabet.index) != ("U" in alphabet.index)
    return has_one and set(alphabet.letters) <= _NUCLEOTIDE_CODES
