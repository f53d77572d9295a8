"""Codon adaptation index: how much a coding sequence uses the codons of highly expressed genes."""

from __future__ import annotations

from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from pydantic import model_validator

from designkit.errors import RewardError
from designkit.rewards._codon_weights import Host, published_weights, trained_weights
from designkit.rewards._lengths import tokens_by_length
from designkit.rewards.base import Output, Reward, RewardInfo, Scores
from designkit.settings import Settings

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from designkit.alphabet import Alphabet

_STOPS = ("TAA", "TAG", "TGA")
_SINGLE = ("ATG", "TGG")  # their amino acids have no other codon


class CodonAdaptationSettings(Settings):
    """Whose codons; either a host or a reference.

    Args:
        host: ``ecoli`` or ``yeast``, by the tables of Sharp and Li 1987.
        reference: coding sequences of highly expressed genes, FASTA or a table; T and U are alike.
        column: of the sequences, where the reference is a table.
    """

    host: Host | None = None
    reference: Path | None = None
    column: str = "sequence"

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if (self.host is None) == (self.reference is None):
            raise ValueError("give either host=ecoli, host=yeast or reference=FILE")
        return self


class CodonAdaptation(Reward):
    """Codon adaptation index, the geometric mean of the weights w of the codons, 0 to 1.

    w is the frequency of a codon among highly expressed genes over that of the most frequent codon
    of the same amino acid (standard genetic code). ATG, TGG and a last stop codon are left out. The
    sequence is read from its first letter.
    """

    template = RewardInfo(
        name="codon_adaptation",
        alphabets=("dna", "rna"),
        outputs=(Output("codon_adaptation", unit="index", range=(0, 1)),),
        citation="Sharp and Li 1987, Nucleic Acids Res 15:1281",
    )
    settings_type = CodonAdaptationSettings
    settings: CodonAdaptationSettings

    def __init__(self, **parameters: Any):
        super().__init__(**parameters)
        host, reference = self.settings.host, self.settings.reference
        if host is not None:
            self._weights = published_weights(host)
        elif reference is not None:
            self._weights = trained_weights(reference, self.settings.column)
        self._alphabet: Alphabet | None = None

    def bind(self, alphabet: Alphabet) -> None:
        """Number the codons by the letters of the alphabet."""
        import numpy as np

        super().bind(alphabet)
        codons = [
            "".join(letters).replace("U", "T") for letters in product(alphabet.letters, repeat=3)
        ]
        self._alphabet = alphabet
        self._is_stop = np.array([codon in _STOPS for codon in codons])
        self._counts = np.array([codon not in (*_STOPS, *_SINGLE) for codon in codons])
        self._log_weights = np.log([self._weights.get(codon, 1.0) for codon in codons])

    def score(self, sequences: list[str]) -> Scores:
        """(N, 1) index; what is no open reading frame has none."""
        import numpy as np

        alphabet = self._alphabet
        if alphabet is None:
            raise RewardError("reward 'codon_adaptation': bind an alphabet before scoring")
        values = np.full((len(sequences), 1), np.nan)
        errors: list[str | None] = [None] * len(sequences)
        for rows, tokens in tokens_by_length(alphabet, sequences):
            length = tokens.shape[1]
            if length == 0 or length % 3:
                reason = f"length {length} is not a multiple of 3" if length else "empty sequence"
                for row in rows:
                    errors[row] = reason
                continue
            codons = tokens.reshape(len(rows), -1, 3) @ np.array([16, 4, 1])  # (n, L / 3)
            values[rows, 0] = self._index(codons)
            for row, stops in zip(rows, self._is_stop[codons[:, :-1]], strict=True):
                if stops.any():
                    errors[row] = f"stop codon inside, codon {stops.argmax() + 1} of {length // 3}"
                    values[row] = np.nan
                elif np.isnan(values[row, 0]):
                    errors[row] = "no codon that has a synonym"
        return Scores(values, errors)

    def _index(self, codons: NDArray[np.int64]) -> NDArray[np.float64]:
        """Index of (n, codons) rows: (n,)."""
        import numpy as np

        counted = self._counts[codons]
        number = counted.sum(axis=1)
        total = (self._log_weights[codons] * counted).sum(axis=1)
        index: NDArray[np.float64] = np.exp(total / np.where(number == 0, np.nan, number))
        return index
