"""What a symbol outside the alphabet most likely is, and T/U conversion."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

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


@dataclass(frozen=True)
class Ways:
    """How a command is asked to read sequences in another way; empty where it cannot be.

    Attributes:
        uppercase: lower-case letters as upper case.
        convert_t_u: T as U, or U as T.
        skip: without the records that cannot be used.
    """

    uppercase: str = ""
    convert_t_u: str = ""
    skip: str = ""

    @property
    def or_skip(self) -> str:
        """The end of a message that says what else can be done."""
        return f", or {self.skip}" if self.skip else ""


NO_WAYS = Ways()
"""Of commands without."""

BY_FLAGS = Ways("pass --uppercase", "pass --convert-t-u", "pass --on-invalid skip")
"""Of commands that have these options."""


def explain_symbol(alphabet: Alphabet, symbol: str, ways: Ways) -> str:
    """One clause on what to do about a symbol that is not in the alphabet."""
    nucleotides = _is_nucleotide(alphabet)
    if symbol.upper() in alphabet.index:
        if not ways.uppercase:
            return "lower case is not accepted: write it in upper case"
        return f"lower case is not accepted unless asked for: {ways.uppercase}"
    if symbol in ("U", "u", "T", "t") and nucleotides:
        wanted = "T" if symbol in "Uu" else "U"
        if not ways.convert_t_u:
            return f"T and U are not exchanged: write it as {wanted}"
        return f"T and U are exchanged only when asked: {ways.convert_t_u} to read it as {wanted}"
    if symbol == "*" and not nucleotides:
        return "it is a stop codon; remove it and what follows it"
    if symbol in ("-", "."):
        return "it is an alignment gap; remove the gaps"
    if symbol.isspace():
        return "remove the spaces inside the sequence"
    if nucleotides and symbol.upper() in _NUCLEOTIDE_CODES:
        return f"it is a code for several bases; replace it{ways.or_skip}"
    if alphabet.name == "protein" and symbol.upper() in _UNUSUAL_RESIDUES:
        meaning = _UNUSUAL_RESIDUES[symbol.upper()]
        return f"it stands for {meaning}; replace it{ways.or_skip}"
    return f"correct it{ways.or_skip} to leave such records out" if ways.skip else "correct it"


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
