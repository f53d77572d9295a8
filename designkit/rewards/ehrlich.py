"""An Ehrlich function: a made-up landscape with motifs, epistasis, bans and a known optimum."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Self

from pydantic import Field, model_validator

from designkit.errors import RewardError
from designkit.rewards._ehrlich_function import EhrlichFunction, draw_function
from designkit.rewards._lengths import tokens_by_length
from designkit.rewards.base import Output, Reward, RewardInfo, Scores
from designkit.settings import Settings

if TYPE_CHECKING:
    from designkit.alphabet import Alphabet


class EhrlichSettings(Settings):
    """Which function; together with the size of the alphabet these fix it.

    Args:
        length: of the sequences.
        num_motifs: motifs to be found.
        motif_length: elements of each.
        quantization: levels that a motif's quality can take above 0; divides ``motif_length``,
            which is the default.
        epistasis: 0 to 4, how much a half-complete motif loses; above 3 one more element can
            lower the value.
        seed: of the motifs, the spacings and the banned transitions.
        infeasible: value of sequences with a banned transition, below 0.
    """

    length: int = Field(ge=2)
    num_motifs: int = Field(default=2, ge=1)
    motif_length: int = Field(default=4, ge=2)
    quantization: int | None = Field(default=None, ge=1)
    epistasis: float = Field(default=0, ge=0, le=4)
    seed: int = Field(default=0, ge=0, lt=2**63)
    infeasible: float = Field(default=-1.0, lt=0, allow_inf_nan=False)

    @model_validator(mode="after")
    def _possible(self) -> Self:
        needed = self.num_motifs * self.motif_length
        if needed > self.length:
            raise ValueError(
                f"{self.num_motifs} motifs of {self.motif_length} letters need length={needed}, "
                f"not {self.length}"
            )
        if self.quantization is not None and self.motif_length % self.quantization:
            raise ValueError(
                f"quantization={self.quantization} does not divide motif_length="
                f"{self.motif_length}: no sequence would reach the value 1"
            )
        return self


class Ehrlich(Reward):
    """Product over motifs of h(1 + e h (h - 1)), h the share of a motif present, in steps of 1/q.

    The share counts the elements found at their spacing at the motif's best place, rounded down to
    q levels (``quantization``); e is ``epistasis``. A sequence with a letter pair that is banned
    is infeasible: it gets the value ``infeasible`` instead of the paper's minus infinity, so that
    it ranks last but is no failure, and 0 in the output ``feasible``.
    """

    template = RewardInfo(
        name="ehrlich",
        outputs=(Output("ehrlich"), Output("feasible", range=(0, 1))),
        citation="Stanton et al. 2024, arXiv 2407.00236",
    )
    settings_type = EhrlichSettings
    settings: EhrlichSettings

    def __init__(self, **parameters: Any):
        super().__init__(**parameters)
        value = Output("ehrlich", range=(self.settings.infeasible, 1))
        self.info = replace(self.info, outputs=(value, self.info.outputs[1]))
        self._alphabet: Alphabet | None = None
        self._function: EhrlichFunction | None = None

    def bind(self, alphabet: Alphabet) -> None:
        """Draw the function for the size of the alphabet.

        Raises:
            RewardError: this seed gives no function for so many letters.
        """
        super().bind(alphabet)
        chosen = self.settings
        self._alphabet = alphabet
        self._function = draw_function(
            alphabet.size, chosen.length, chosen.num_motifs, chosen.motif_length, chosen.seed
        )

    def optimum(self) -> str:
        """A sequence of value 1; others may have it too."""
        alphabet, function = self._bound()
        return alphabet.decode(function.optimum()[None])[0]

    def score(self, sequences: list[str]) -> Scores:
        """(N, 2) values and feasibility; sequences of another length have no score."""
        import numpy as np

        alphabet, function = self._bound()
        levels = self.settings.quantization or self.settings.motif_length
        elements_a_level = self.settings.motif_length // levels
        values = np.full((len(sequences), 2), np.nan)
        errors: list[str | None] = [None] * len(sequences)
        for rows, tokens in tokens_by_length(alphabet, sequences):
            if tokens.shape[1] != function.length:
                for row in rows:
                    errors[row] = f"length {tokens.shape[1]}, not {function.length}"
                continue
            share = function.elements_present(tokens) // elements_a_level / levels  # (n, c)
            quality = (share * (1 + self.settings.epistasis * share * (share - 1))).prod(axis=1)
            feasible = function.feasible(tokens)
            values[rows, 0] = np.where(feasible, quality, self.settings.infeasible)
            values[rows, 1] = feasible
        return Scores(values, errors)

    def _bound(self) -> tuple[Alphabet, EhrlichFunction]:
        if self._alphabet is None or self._function is None:
            raise RewardError("reward 'ehrlich': bind an alphabet before scoring")
        return self._alphabet, self._function
