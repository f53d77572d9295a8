"""Alphabets: which letters a sequence may hold, and the numbers the networks see.

Token ``i`` is letter ``letters[i]``; the mask of masked diffusion is token ``len(letters)``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

from designkit.errors import ConfigurationError, InputError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

UNKNOWN_TOKEN = 255

# Cornish-Bowden 1985, Nucleic Acids Res 13:3021; T stands for U in RNA.
NUCLEOTIDE_CODES = {
    "R": "AG",
    "Y": "CT",
    "S": "CG",
    "W": "AT",
    "K": "GT",
    "M": "AC",
    "B": "CGT",
    "D": "AGT",
    "H": "ACT",
    "V": "ACG",
    "N": "ACGT",
}
# IUPAC-IUB 1984, Eur J Biochem 138:9, and J of later tables.
AMINO_ACID_CODES = {"B": "DN", "Z": "EQ", "J": "IL", "X": "ACDEFGHIKLMNPQRSTVWY"}
ANY_LETTER = "?"


@dataclass(frozen=True)
class Alphabet:
    """An ordered set of letters (or of tokens separated by spaces).

    Args:
        name: how commands and model cards refer to it.
        letters: the K symbols, in token order.
        complement: letter to complementary letter; empty where strands mean nothing.
        separator: what stands between two tokens of a written sequence: nothing or one space.
    """

    name: str
    letters: tuple[str, ...]
    complement: Mapping[str, str] = field(default_factory=dict, hash=False)
    separator: str = ""

    def __post_init__(self) -> None:
        problems = []
        if len(set(self.letters)) != len(self.letters):
            problems.append(f"alphabet {self.name!r}: a letter appears twice")
        if not 2 <= len(self.letters) <= 250:
            problems.append(
                f"alphabet {self.name!r}: {len(self.letters)} letters; 2 to 250 allowed"
            )
        if not self.separator and any(len(letter) != 1 for letter in self.letters):
            problems.append(f"alphabet {self.name!r}: symbols of several letters need a separator")
        if not self.separator and any(not letter.isascii() for letter in self.letters):
            problems.append(f"alphabet {self.name!r}: letters must be ASCII")
        if self.separator not in ("", " "):
            problems.append(f"alphabet {self.name!r}: separator must be empty or one space")
        if any(not letter or letter.split() != [letter] for letter in self.letters):
            problems.append(f"alphabet {self.name!r}: symbols must be non-empty, without spaces")
        pairs = self.complement
        if pairs and (
            set(pairs) != set(self.letters)
            or any(pairs.get(partner) != letter for letter, partner in pairs.items())
        ):
            problems.append(f"alphabet {self.name!r}: complement must pair all letters")
        if problems:
            raise ConfigurationError(problems)

    @property
    def size(self) -> int:
        """Number of letters K; the mask token is not counted."""
        return len(self.letters)

    @property
    def mask(self) -> int:
        """Token of the mask: K, one past the last letter."""
        return len(self.letters)

    @cached_property
    def index(self) -> dict[str, int]:
        """Letter to token."""
        return {letter: token for token, letter in enumerate(self.letters)}

    @cached_property
    def complement_tokens(self) -> tuple[int, ...] | None:
        """Token of the complement of each token, or None where there is none."""
        if not self.complement:
            return None
        return tuple(self.index[self.complement[letter]] for letter in self.letters)

    @cached_property
    def _byte_table(self) -> bytes:
        table = bytearray([UNKNOWN_TOKEN] * 256)
        for letter, token in self.index.items():
            table[ord(letter)] = token
        return bytes(table)

    @cached_property
    def _letter_codes(self) -> NDArray[np.uint8]:
        import numpy as np

        return np.frombuffer("".join(self.letters).encode(), dtype=np.uint8)

    def split(self, sequence: str) -> list[str]:
        """The symbols of a written sequence."""
        return list(sequence) if not self.separator else sequence.split()

    def find_invalid(self, sequence: str) -> tuple[int, str] | None:
        """First symbol outside the alphabet as (1-based position, symbol), or None."""
        if self.is_valid(sequence):
            return None
        for position, symbol in enumerate(self.split(sequence), start=1):
            if symbol not in self.index:
                return position, symbol
        return None

    def is_valid(self, letters: str) -> bool:
        """Whether a text holds letters alone; False where symbols are words, unless it is empty."""
        return not (letters if self.separator else letters.translate(self._without_letters))

    @cached_property
    def _without_letters(self) -> dict[int, None]:
        return {ord(letter): None for letter in self.letters}

    @cached_property
    def _patterns(self) -> dict[str, tuple[int, ...]]:
        found = {ANY_LETTER: tuple(range(self.size))}
        letters = "".join(self.letters)
        if letters in ("ACGT", "ACGU"):
            codes = {"T": "T", "U": "T"} | NUCLEOTIDE_CODES
            index = {"T": 3} | self.index
        else:
            codes = AMINO_ACID_CODES if letters == AMINO_ACID_CODES["X"] else {}
            index = self.index
        found |= {code: tuple(index[letter] for letter in meant) for code, meant in codes.items()}
        found |= {letter: (token,) for letter, token in self.index.items()}
        lower = {symbol.lower(): tokens for symbol, tokens in found.items() if codes}
        return lower | found

    def tokens_of(self, symbol: str) -> tuple[int, ...]:
        """Tokens that a symbol of a pattern stands for; none where it means nothing.

        A letter stands for itself, ``?`` for any letter. DNA and RNA have the IUPAC codes, and T
        and U for each other; proteins have B, J, X and Z; both are read in either case.
        """
        return self._patterns.get(symbol, ())

    def encode(self, sequences: Sequence[str]) -> NDArray[np.int64]:
        """Tokens of sequences of one length.

        Args:
            sequences: N strings, each of the same number of symbols.

        Returns:
            (N, L) int64 tokens, 0 to K - 1.

        Raises:
            InputError: a letter outside the alphabet, or different lengths; names the sequence's
                0-based place in the list and the 1-based position.
        """
        import numpy as np

        if not sequences:
            return np.zeros((0, 0), dtype=np.int64)
        if self.separator:
            rows = [
                [self.index.get(symbol, UNKNOWN_TOKEN) for symbol in self.split(sequence)]
                for sequence in sequences
            ]
            lengths = {len(row) for row in rows}
        else:
            lengths = {len(sequence) for sequence in sequences}
        if len(lengths) > 1:
            raise InputError(f"sequences of different lengths in one batch: {sorted(lengths)[:5]}")
        if self.separator:
            tokens = np.array(rows, dtype=np.int64).reshape(len(rows), -1)
        else:
            joined = "".join(sequences)
            if not joined.isascii():  # byte 255 is never a letter
                joined = re.sub(r"[^\x00-\x7f]", "\xff", joined)
            codes = joined.encode("latin-1").translate(self._byte_table)
            tokens = np.frombuffer(codes, dtype=np.uint8).astype(np.int64)
            tokens = tokens.reshape(len(sequences), -1)
        if (tokens == UNKNOWN_TOKEN).any():
            row = int((tokens == UNKNOWN_TOKEN).any(axis=1).argmax())
            found = self.find_invalid(sequences[row])
            assert found is not None
            raise InputError(
                f"sequence {row}: {found[1]!r} at position {found[0]} is not in the "
                f"{self.name} alphabet ({self.describe()})"
            )
        return tokens

    def decode(self, tokens: Any) -> list[str]:
        """Written sequences of (N, L) tokens (array or CPU tensor), 0 to K - 1."""
        import numpy as np

        array = np.asarray(tokens)
        if self.separator:
            return [self.separator.join(self.letters[token] for token in row) for row in array]
        text, length = self._letter_codes[array].tobytes().decode("latin-1"), array.shape[1]
        return [text[row * length : (row + 1) * length] for row in range(len(array))]

    def reverse_complement(self, sequence: str) -> str:
        """The other strand, 5' to 3'.

        Raises:
            InputError: the alphabet has no complement, or a letter is not in it.
        """
        if not self.complement:
            raise InputError(f"the {self.name} alphabet has no complement")
        found = self.find_invalid(sequence)
        if found is not None:
            raise InputError(
                f"{found[1]!r} at position {found[0]} is not in the {self.name} alphabet "
                f"({self.describe()})"
            )
        return self.separator.join(self.complement[s] for s in reversed(self.split(sequence)))

    def describe(self) -> str:
        """The letters, for messages; the first 40 of a longer vocabulary."""
        shown = self.separator.join(self.letters[:40])
        return shown if self.size <= 40 else f"{shown}{self.separator}..."

    def to_dict(self) -> dict[str, Any]:
        """What ``from_dict`` reads: the form stored in model cards and alphabet files."""
        return {
            "name": self.name,
            "letters": list(self.letters),
            "complement": dict(self.complement),
            "separator": self.separator,
        }

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> Alphabet:
        """Build from the form of ``to_dict``.

        ``letters`` may also be one string: split at spaces when the separator is one.

        Raises:
            ConfigurationError: unknown keys, or letters that do not make an alphabet.
        """
        unknown = set(fields) - {"name", "letters", "complement", "separator"}
        if unknown or "letters" not in fields:
            raise ConfigurationError(
                [
                    "an alphabet needs 'letters' and may have 'name', 'complement' and 'separator'"
                    + (f"; unknown: {', '.join(sorted(map(str, unknown)))}" if unknown else "")
                ]
            )
        separator = str(fields.get("separator", ""))
        letters = fields["letters"]
        if isinstance(letters, str):
            letters = letters.split() if separator else list(letters)
        complement = fields.get("complement") or {}
        if not isinstance(letters, list | tuple) or not isinstance(complement, Mapping):
            raise ConfigurationError(["an alphabet's 'letters' is a list, 'complement' a mapping"])
        for symbol in (*letters, *complement, *complement.values()):
            if not isinstance(symbol, str):  # YAML reads No and 1 as a truth value and a number
                raise ConfigurationError(
                    [f"an alphabet's letters are text, {symbol!r} is not; put it in quotes"]
                )
        return cls(
            name=str(fields.get("name", "custom")),
            letters=tuple(letters),
            complement=dict(complement),
            separator=separator,
        )


DNA = Alphabet("dna", tuple("ACGT"), dict(zip("ACGT", "TGCA", strict=True)))
RNA = Alphabet("rna", tuple("ACGU"), dict(zip("ACGU", "UGCA", strict=True)))
PROTEIN = Alphabet("protein", tuple("ACDEFGHIKLMNPQRSTVWY"))

BUILTIN_ALPHABETS = {alphabet.name: alphabet for alphabet in (DNA, RNA, PROTEIN)}
