"""How far the k-mers of a sequence are from those of a reference set of sequences."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from designkit.errors import RewardError
from designkit.rewards._lengths import tokens_by_length
from designkit.rewards.base import Output, Reward, RewardInfo, Scores
from designkit.sequence_stats import kmer_counts
from designkit.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor

    from designkit.alphabet import Alphabet

_MOST_KMERS = 1_000_000
_COUNTS_AT_A_TIME = 8_000_000
_TINY = 1e-12
_UPPER = {"jensen_shannon": 1.0, "cosine": 1.0, "euclidean": 2**0.5}


class KmerSettings(Settings):
    """The reference, and what to compare.

    Args:
        reference: FASTA, CSV, TSV or JSON lines with the sequences to be like.
        column: of the sequences, where the reference is a table.
        k: letters per k-mer.
        distance: ``jensen_shannon`` (the square root of the divergence in bits), ``euclidean``, or
            ``cosine`` (1 - the cosine).
    """

    reference: Path
    column: str = "sequence"
    k: int = Field(default=3, ge=1)
    distance: Literal["jensen_shannon", "euclidean", "cosine"] = "jensen_shannon"


class Kmer(Reward):
    """Distance of the k-mer frequencies of a sequence from those of all references together.

    Overlapping k-mers are counted; the frequencies of a sequence, and those of the references, sum
    to 1. With m the mean of frequencies p and q, the Jensen-Shannon distance is
    ``sqrt(sum(p log2(p / m) + q log2(q / m)) / 2)``. A short sequence holds few k-mers, so that its
    distance is well above 0 even if it comes from the reference. In the relaxed score the counts
    are those expected of independent letters. T in the reference is read as U in RNA.
    """

    template = RewardInfo(
        name="kmer",
        outputs=(Output("kmer", unit="distance", direction="minimize", range=(0, 2**0.5)),),
        differentiable=True,
        citation="Blaisdell 1986, PNAS 83:5155; Lin 1991, IEEE Trans Inf Theory 37:145",
    )
    settings_type = KmerSettings
    settings: KmerSettings

    def __init__(self, **parameters: Any):
        super().__init__(**parameters)
        limits = (0, _UPPER[self.settings.distance])
        self.info = replace(self.info, outputs=(replace(self.info.outputs[0], range=limits),))
        self._alphabet: Alphabet | None = None
        self._reference: Tensor | None = None

    def bind(self, alphabet: Alphabet) -> None:
        """Read the reference in the letters of the alphabet.

        Raises:
            RewardError: too many k-mers, or no reference sequence that holds one.
            InputError: the reference cannot be read, or holds other letters.
        """
        import torch

        from designkit.io.sequences import read_sequences

        super().bind(alphabet)
        k, path = self.settings.k, self.settings.reference
        if alphabet.size**k > _MOST_KMERS:
            raise RewardError(
                f"reward 'kmer': k={k} makes {alphabet.size}^{k} k-mers of the {alphabet.name} "
                f"alphabet; at most {_MOST_KMERS:,} can be counted: lower k"
            )
        self._alphabet = alphabet
        total = torch.zeros(alphabet.size**k, dtype=torch.float64)
        with read_sequences(
            str(path),
            alphabet=alphabet,
            column=self.settings.column,
            convert_t_u=alphabet.name in ("dna", "rna"),
        ) as reader:
            for chunk in reader:
                for _, tokens in tokens_by_length(alphabet, chunk["sequence"].tolist()):
                    total += sum(counts.sum(0) for counts in self._counts(tokens, alphabet.size))
        if not total.any():
            raise RewardError(f"reward 'kmer': no sequence of {path} has {k} letters")
        self._reference = total / total.sum()

    def score(self, sequences: list[str]) -> Scores:
        """(N, 1) distances; a sequence shorter than k has none."""
        import numpy as np
        import torch

        alphabet, reference = self._bound()
        k = self.settings.k
        values = np.full((len(sequences), 1), np.nan)
        errors: list[str | None] = [None] * len(sequences)
        for rows, tokens in tokens_by_length(alphabet, sequences):
            if tokens.shape[1] < k:
                for row in rows:
                    errors[row] = f"shorter than k ({tokens.shape[1]} < {k})"
                continue
            found = [
                self._distance(counts, reference) for counts in self._counts(tokens, alphabet.size)
            ]
            values[rows, 0] = torch.cat(found).numpy()
        return Scores(values, errors)

    def score_relaxed(self, probs: Tensor, valid: Tensor | None = None) -> Tensor:
        """Distance of the expected k-mer frequencies, (B, L, K) to (B,).

        Rows shorter than k have nan.
        """
        import torch

        k, windows = self.settings.k, probs.shape[1] - self.settings.k + 1
        reference = self._bound()[1].to(probs)
        if windows < 1:
            return probs.sum((1, 2)) * torch.nan
        first = torch.ones_like(probs[:, :windows, :1])  # the k-mers without their last letter
        if valid is not None:
            first = first * valid.unfold(1, k, 1).all(-1)[..., None]
        for offset in range(k - 1):
            letter = probs[:, offset : offset + windows]
            first = (first[..., :, None] * letter[..., None, :]).flatten(2)
        counts = torch.einsum("bwi,bwj->bij", first, probs[:, k - 1 :]).flatten(1)
        return self._distance(counts, reference)

    def _counts(self, tokens: NDArray[np.int64], size: int) -> Iterator[Tensor]:
        """(n, K^k) counts of a few rows at a time, so that memory stays small."""
        import torch

        k = self.settings.k
        rows = max(1, _COUNTS_AT_A_TIME // size**k)
        for start in range(0, len(tokens), rows):
            yield torch.from_numpy(kmer_counts(tokens[start : start + rows], k, size)).double()

    def _distance(self, counts: Tensor, reference: Tensor) -> Tensor:
        """Distance of (B, K^k) counts from the reference frequencies: (B,)."""
        import torch

        frequencies = counts / counts.sum(1, keepdim=True)
        if self.settings.distance == "euclidean":
            euclidean: Tensor = torch.linalg.vector_norm(frequencies - reference, dim=1)
            return euclidean
        if self.settings.distance == "cosine":
            return 1 - torch.cosine_similarity(frequencies, reference[None], dim=1)
        # With the tiny numbers absent k-mers have a finite slope.
        p, q = frequencies + _TINY, reference + _TINY
        middle = (p + q) / 2
        divergence = (p * (p / middle).log2() + q * (q / middle).log2()).sum(1) / 2
        return divergence.clamp(min=_TINY).sqrt()

    def _bound(self) -> tuple[Alphabet, Tensor]:
        if self._alphabet is None or self._reference is None:
            raise RewardError("reward 'kmer': bind an alphabet before scoring")
        return self._alphabet, self._reference
