"""Melting temperature of the duplex of a sequence with its complement, or how far from a target."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from itertools import product
from typing import TYPE_CHECKING, Any, Literal, Self

from pydantic import Field, model_validator

from designkit.errors import RewardError
from designkit.rewards._lengths import tokens_by_length
from designkit.rewards.base import Output, Reward, RewardInfo, Scores
from designkit.sequence_stats import kmer_counts
from designkit.settings import Settings

if TYPE_CHECKING:
    from torch import Tensor

    from designkit.alphabet import Alphabet

_GAS_CONSTANT = 1.987  # cal / (mol K)


class MeltingTemperatureSettings(Settings):
    """How it is computed, and the conditions.

    Args:
        target: wanted temperature in degrees Celsius; the reward is then the distance from it.
        method: ``nearest_neighbor`` thermodynamics; ``gc``, a formula for long molecules; or
            ``wallace``, 2 degrees for A and T, 4 for G and C, for DNA of 14 to 20 letters.
        sodium: mM of monovalent ions.
        magnesium: mM, turned into sodium that does the same (von Ahsen et al. 2001).
        primer: nM of the strand that there is more of (nearest_neighbor).
        complement: nM of the other strand (nearest_neighbor).
    """

    target: float | None = Field(default=None, allow_inf_nan=False)
    method: Literal["nearest_neighbor", "gc", "wallace"] = "nearest_neighbor"
    sodium: float = Field(default=50, ge=0, allow_inf_nan=False)
    magnesium: float = Field(default=0, ge=0, allow_inf_nan=False)
    primer: float = Field(default=25, gt=0, allow_inf_nan=False)
    complement: float = Field(default=25, ge=0, allow_inf_nan=False)

    @model_validator(mode="after")
    def _possible(self) -> Self:
        if self.sodium + self.magnesium == 0:
            raise ValueError("without salt there is no duplex: sodium or magnesium must be above 0")
        if self.complement > self.primer:
            raise ValueError(
                f"complement={self.complement:g} is above primer={self.primer:g}: primer is the "
                "strand that there is more of"
            )
        return self


class MeltingTemperature(Reward):
    """Temperature at which half of the duplexes are apart; equals ``Bio.SeqUtils.MeltingTemp``.

    Nearest neighbor: ``T = dH / (dS + R ln(primer - complement / 2)) - 273.15`` with the values of
    Allawi and SantaLucia 1997 for DNA, those of Xia et al. 1998 for RNA, and dS corrected by
    ``0.368 (L - 1) ln(sodium)`` (SantaLucia 1998). The two strands are different ones: no
    correction for sequences that are their own complement. ``gc``, concentrations in M: ``81.5 +
    0.41 GC% - 600 / L + 16.6 log10(sodium)`` for DNA, ``78 + 0.7 GC% - 500 / L + 16.6
    log10(sodium / (1 + 0.7 sodium))`` for RNA (Wetmur 1991).

    With ``target`` the first output is ``|T - target|``, and T is recorded beside it. The relaxed
    score takes the expected counts of neighbors, those of independent letters.
    """

    template = RewardInfo(
        name="melting_temperature",
        alphabets=("dna", "rna"),
        outputs=(Output("melting_temperature", unit="degrees C"),),
        differentiable=True,
        citation="SantaLucia 1998, PNAS 95:1460; Xia et al. 1998, Biochemistry 37:14719",
    )
    settings_type = MeltingTemperatureSettings
    settings: MeltingTemperatureSettings

    def __init__(self, **parameters: Any):
        super().__init__(**parameters)
        if self.settings.target is not None:
            distance = Output("melting_temperature", unit="degrees C", direction="minimize")
            temperature = Output("temperature", unit="degrees C")
            self.info = replace(self.info, outputs=(distance, temperature))
        self._alphabet: Alphabet | None = None

    def bind(self, alphabet: Alphabet) -> None:
        """Choose the tables of DNA or RNA.

        Raises:
            RewardError: the Wallace rule for RNA, or another molecule.
        """
        super().bind(alphabet)
        if self.settings.method == "wallace" and "U" in alphabet.index:
            raise RewardError("reward 'melting_temperature': wallace is a rule for DNA, not RNA")
        self._alphabet = alphabet

    def score(self, sequences: list[str]) -> Scores:
        """(N, 1) temperatures, or (N, 2) distances and temperatures; one letter has none."""
        import numpy as np
        import torch

        alphabet = self._bound()
        values = np.full((len(sequences), 1), np.nan)
        errors: list[str | None] = [None] * len(sequences)
        for rows, tokens in tokens_by_length(alphabet, sequences):
            if tokens.shape[1] < 2:
                for row in rows:
                    errors[row] = "a duplex needs at least 2 letters"
                continue
            pairs = torch.from_numpy(kmer_counts(tokens, 2, 4)).double()
            ends = torch.eye(4, dtype=torch.float64)[torch.from_numpy(tokens[:, [0, -1]])]
            values[rows, 0] = self._temperature(pairs.view(-1, 4, 4), ends).numpy()
        if self.settings.target is not None:
            values = np.concatenate([abs(values - self.settings.target), values], axis=1)
        return Scores(values, errors)

    def score_relaxed(self, probs: Tensor, valid: Tensor | None = None) -> Tensor:
        """Temperature, or distance, of the expected counts of neighbors, (B, L, K) to (B,).

        Rows of fewer than two letters have nan.
        """
        import torch

        self._bound()
        if probs.shape[1] < 2:
            return probs.sum((1, 2)) * torch.nan
        here = torch.ones_like(probs[..., 0], dtype=torch.bool) if valid is None else valid
        first = probs[:, :-1] * here[:, 1:, None]
        last = probs[torch.arange(len(probs), device=probs.device), here.sum(1) - 1]
        pairs = torch.einsum("bli,blj->bij", first, probs[:, 1:])
        value = self._temperature(pairs, torch.stack([probs[:, 0], last], 1))
        value = torch.where(here.sum(1) > 1, value, torch.nan)
        return value if self.settings.target is None else (value - self.settings.target).abs()

    def _temperature(self, pairs: Tensor, ends: Tensor) -> Tensor:
        """Degrees Celsius, (B,), from counts of neighbors (B, 4, 4) and end letters (B, 2, 4)."""
        from Bio.SeqUtils import MeltingTemp

        settings, rna = self.settings, "U" in self._bound().index
        sodium = (settings.sodium + 120 * math.sqrt(settings.magnesium)) / 1000  # M
        neighbors = pairs.sum((1, 2))
        gc = pairs[:, 1:3].sum((1, 2)) + ends[:, 1, 1:3].sum(1)  # number of C and G
        if settings.method == "wallace":
            return 2 * (neighbors + 1) + 2 * gc
        if settings.method == "gc":
            constant, slope, length = (78.0, 70.0, 500.0) if rna else (81.5, 41.0, 600.0)
            salt = 16.6 * math.log10(sodium / (1 + 0.7 * sodium) if rna else sodium)
            return constant + salt + (slope * gc - length) / (neighbors + 1)
        table = MeltingTemp.RNA_NN2 if rna else MeltingTemp.DNA_NN3
        enthalpy, entropy = (_sum(table, part, pairs, ends) for part in (0, 1))
        strands = (settings.primer - settings.complement / 2) * 1e-9  # M
        entropy = entropy + 0.368 * neighbors * math.log(sodium)
        return 1000 * enthalpy / (entropy + _GAS_CONSTANT * math.log(strands)) - 273.15

    def _bound(self) -> Alphabet:
        if self._alphabet is None:
            raise RewardError("reward 'melting_temperature': bind an alphabet before scoring")
        return self._alphabet


def _sum(
    table: Mapping[str, tuple[float, float]], part: int, pairs: Tensor, ends: Tensor
) -> Tensor:
    """Enthalpy (part 0) or entropy (part 1) of duplexes, from counts: (B,)."""
    letters, complement = "ACGT", dict(zip("ACGT", "TGCA", strict=True))
    by_pair = []
    for a, b in product(letters, repeat=2):
        key = f"{a}{b}/{complement[a]}{complement[b]}"  # a table has it or the other strand
        by_pair.append(table.get(key, table.get(key[::-1], (math.nan, math.nan)))[part])
    by_end = [table["init_A/T" if letter in "AT" else "init_G/C"][part] for letter in letters]
    inside = (pairs * pairs.new_tensor(by_pair).view(4, 4)).sum((1, 2))
    return inside + (ends * ends.new_tensor(by_end)).sum((1, 2)) + table["init"][part]
