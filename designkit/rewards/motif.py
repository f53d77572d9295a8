"""How well the best site of a sequence matches a binding motif.

The score of a site is the sum over the motif's columns of log2(p(letter) / background), the
log-odds, as in ``Bio.motifs``.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from designkit.errors import RewardError
from designkit.rewards._lengths import tokens_by_length
from designkit.rewards._motif_file import MotifFormat, read_motif
from designkit.rewards.base import Output, Reward, RewardInfo, Scores
from designkit.settings import Settings

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor

    from designkit.alphabet import Alphabet


class MotifSettings(Settings):
    """Which motif, and where it may lie.

    Args:
        file: a JASPAR, MEME or TRANSFAC file.
        motif: identifier or name, where the file holds several.
        format: of the file; told from its first line by default.
        pseudocounts: added to each count of each letter, above 0.
        strand: ``both``, or only ``forward``; by default both in DNA, forward in RNA.
    """

    file: Path
    motif: str | None = None
    format: MotifFormat | None = None
    pseudocounts: float = Field(default=0.5, gt=0, allow_inf_nan=False)
    strand: Literal["both", "forward"] | None = None


class Motif(Reward):
    """Log-odds in bits of the best site, over a uniform background.

    A motif written with T is read with U in RNA, and the other way round.
    """

    template = RewardInfo(
        name="motif",
        alphabets=("dna", "rna"),
        outputs=(Output("motif", unit="bits"),),
        differentiable=True,
        citation="Stormo 2000, Bioinformatics 16:16, DNA binding sites",
    )
    settings_type = MotifSettings
    settings: MotifSettings

    def __init__(self, **parameters: Any):
        super().__init__(**parameters)
        found = read_motif(self.settings.file, self.settings.format, self.settings.motif)
        background = dict.fromkeys(found.alphabet, 1 / len(found.alphabet))
        weights = found.counts.normalize(pseudocounts=self.settings.pseudocounts)
        self._log_odds: dict[str, list[float]] = dict(weights.log_odds(background))
        self._alphabet: Alphabet | None = None
        self._matrices: list[NDArray[np.float64]] = []
        self.width: int = found.counts.length
        lowest = sum(map(min, zip(*self._log_odds.values(), strict=True)))
        highest = sum(map(max, zip(*self._log_odds.values(), strict=True)))
        limits = Output("motif", unit="bits", range=(lowest, highest))
        self.info = replace(self.info, outputs=(limits,))

    def bind(self, alphabet: Alphabet) -> None:
        """Lay the motif out in the order of the alphabet's tokens, for each strand."""
        import numpy as np

        super().bind(alphabet)
        same = {"T": "U", "U": "T"}
        letters = [c if c in self._log_odds else same.get(c, c) for c in alphabet.letters]
        forward = np.array([self._log_odds[c] for c in letters]).T  # (width, K)
        self._alphabet = alphabet
        self._matrices = [forward]
        strand = self.settings.strand or ("forward" if "U" in alphabet.index else "both")
        if strand == "both" and alphabet.complement_tokens is not None:
            self._matrices.append(forward[::-1, list(alphabet.complement_tokens)].copy())

    def score(self, sequences: list[str]) -> Scores:
        """(N, 1) bits; a sequence shorter than the motif has no score."""
        import numpy as np

        values = np.full((len(sequences), 1), np.nan)
        errors: list[str | None] = [None] * len(sequences)
        for rows, tokens in tokens_by_length(self._bound(), sequences):
            if tokens.shape[1] < self.width:
                for row in rows:
                    errors[row] = f"shorter than the motif ({tokens.shape[1]} < {self.width})"
                continue
            values[rows, 0] = np.max([_best_site(tokens, m) for m in self._matrices], axis=0)
        return Scores(values, errors)

    def score_relaxed(self, probs: Tensor, valid: Tensor | None = None) -> Tensor:
        """Best expected log-odds of a site, (B, L, K) to (B,); the gradient is the best site's.

        Rows without room for the motif get -inf.
        """
        import torch

        self._bound()
        if probs.shape[1] < self.width:
            return probs.sum((1, 2)) * 0 - torch.inf
        windows = probs.unfold(1, self.width, 1)  # (B, sites, K, width)
        matrices = torch.stack([torch.from_numpy(matrix.T) for matrix in self._matrices])
        sites = torch.einsum("bskw,mkw->bms", windows, matrices.to(probs))
        if valid is not None:
            inside = valid.unfold(1, self.width, 1).all(-1)  # (B, sites)
            sites = sites.masked_fill(~inside[:, None], -torch.inf)
        return sites.amax((1, 2))

    def _bound(self) -> Alphabet:
        if self._alphabet is None:
            raise RewardError("reward 'motif': bind an alphabet before scoring")
        return self._alphabet


def _best_site(tokens: NDArray[np.int64], matrix: NDArray[np.float64]) -> NDArray[np.float64]:
    """Best sum of a (width, K) matrix over the sites of (N, L) tokens: (N,)."""
    import numpy as np

    sites = tokens.shape[1] - len(matrix) + 1
    scores = np.zeros((len(tokens), sites))
    # One pass for each column of the motif, over all sequences and sites at once.
    for offset, column in enumerate(matrix):
        scores += column[tokens[:, offset : offset + sites]]
    best: NDArray[np.float64] = scores.max(axis=1)
    return best
