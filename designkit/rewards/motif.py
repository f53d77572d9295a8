"""How well a sequence matches a binding motif: its best site, all sites, or their number.

The score of a site is the sum over the motif's columns of log2(p(letter) / background), the
log-odds, as in ``Bio.motifs``.
"""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self

from pydantic import Field, model_validator

from designkit.errors import RewardError
from designkit.rewards._lengths import tokens_by_length
from designkit.rewards._motif_file import MotifFormat, read_motif
from designkit.rewards._motif_sites import rare_score, site_scores
from designkit.rewards.base import Output, Reward, RewardInfo, Scores
from designkit.settings import Settings

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor

    from designkit.alphabet import Alphabet


class MotifSettings(Settings):
    """Which motif, where it may lie, and what to make of its sites.

    Args:
        file: a JASPAR, MEME or TRANSFAC file.
        motif: identifier or name, where the file holds several.
        format: of the file; told from its first line by default.
        pseudocounts: added to each count of each letter, above 0.
        strand: ``both``, or only ``forward``; by default both in DNA, forward in RNA.
        score: ``best`` site, ``total`` over all sites, or ``count`` of those above a threshold.
        p_value: of ``count``: chance of a random site to reach the threshold, as in FIMO; 0.0001
            where no ``relative`` is given.
        relative: of ``count``: threshold between the lowest (0) and the highest (1) possible score.
    """

    file: Path
    motif: str | None = None
    format: MotifFormat | None = None
    pseudocounts: float = Field(default=0.5, gt=0, allow_inf_nan=False)
    strand: Literal["both", "forward"] | None = None
    score: Literal["best", "total", "count"] = "best"
    p_value: float | None = Field(default=None, gt=0, lt=1)
    relative: float | None = Field(default=None, ge=0, le=1)

    @model_validator(mode="after")
    def _one_threshold(self) -> Self:
        given = [key for key in ("p_value", "relative") if getattr(self, key) is not None]
        if given and self.score != "count":
            raise ValueError(f"{given[0]} is a threshold of score=count, not of {self.score}")
        if len(given) > 1:
            raise ValueError("p_value and relative are two thresholds: give one")
        return self


class Motif(Reward):
    """Log-odds in bits of the best site, over a uniform background; or of all sites together.

    ``total`` is ``log2(sum of 2^score)`` over the sites: how much of the factor is bound where it
    is scarce (Granek and Clarke 2005). ``count`` is the number of sites that reach the threshold; a
    place that does so on both strands counts twice, as in FIMO (Grant et al. 2011). A motif written
    with T is read with U in RNA, and the other way round.

    Raises:
        RewardError: no such motif in the file, or no site that is as rare as ``p_value``.
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
        output = Output("motif", unit="bits", range=(lowest, highest))
        if self.settings.score == "total":
            output = replace(output, range=None)
        elif self.settings.score == "count":
            output = Output("motif", unit="sites")
            self._threshold = self._site_threshold(lowest, highest)
        smooth = self.settings.score != "count"
        self.info = replace(self.info, outputs=(output,), differentiable=smooth)

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
        """(N, 1) bits or sites; a sequence shorter than the motif has no score."""
        import numpy as np

        values = np.full((len(sequences), 1), np.nan)
        errors: list[str | None] = [None] * len(sequences)
        for rows, tokens in tokens_by_length(self._bound(), sequences):
            if tokens.shape[1] < self.width:
                for row in rows:
                    errors[row] = f"shorter than the motif ({tokens.shape[1]} < {self.width})"
                continue
            sites = np.hstack([site_scores(tokens, matrix) for matrix in self._matrices])
            if self.settings.score == "best":
                values[rows, 0] = sites.max(axis=1)
            elif self.settings.score == "total":
                values[rows, 0] = np.logaddexp2.reduce(sites, axis=1)
            else:
                values[rows, 0] = (sites >= self._threshold).sum(axis=1)
        return Scores(values, errors)

    def score_relaxed(self, probs: Tensor, valid: Tensor | None = None) -> Tensor:
        """Best, or total, of the expected log-odds of the sites, (B, L, K) to (B,).

        The gradient of ``best`` is that of the best site. Rows without room for the motif get -inf.

        Raises:
            RewardError: ``score=count``.
        """
        import torch

        if self.settings.score == "count":
            return super().score_relaxed(probs, valid)
        self._bound()
        if probs.shape[1] < self.width:
            return probs.sum((1, 2)) * 0 - torch.inf
        windows = probs.unfold(1, self.width, 1)  # (B, sites, K, width)
        matrices = torch.stack([torch.from_numpy(matrix.T) for matrix in self._matrices])
        sites = torch.einsum("bskw,mkw->bms", windows, matrices.to(probs))
        if valid is not None:
            inside = valid.unfold(1, self.width, 1).all(-1)  # (B, sites)
            sites = sites.masked_fill(~inside[:, None], -torch.inf)
        if self.settings.score == "total":
            return torch.logsumexp(sites.flatten(1) * math.log(2), 1) / math.log(2)
        return sites.amax((1, 2))

    def _site_threshold(self, lowest: float, highest: float) -> float:
        if self.settings.relative is not None:
            # A little lower, so that the best site counts at 1 however its sum is rounded.
            return lowest + self.settings.relative * (highest - lowest) - 1e-9
        p_value = self.settings.p_value or 1e-4
        columns = list(zip(*self._log_odds.values(), strict=True))
        threshold, rarest = rare_score(columns, p_value)
        if math.isinf(threshold):
            raise RewardError(
                f"reward 'motif': no site has a p-value of {p_value:g}, the best one has "
                f"{rarest:.2g}: raise p_value, or use relative=0.8"
            )
        return threshold

    def _bound(self) -> Alphabet:
        if self._alphabet is None:
            raise RewardError("reward 'motif': bind an alphabet before scoring")
        return self._alphabet
