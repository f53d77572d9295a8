"""Minimum free energy: how stable the best structure of an RNA is."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator

from designkit.rewards._vienna import (
    FOLDING,
    FoldingReward,
    FoldingSettings,
    minimum_energy,
    whole_number,
)
from designkit.rewards.base import Output, RewardInfo


class MFESettings(FoldingSettings):
    """The energy model, as in RNAfold, and the unit.

    Args:
        temperature: degrees Celsius.
        dangles: energy of bases beside a helix: 2 always, 1 for one helix each, 3 also between
            stacked helices, 0 never.
        no_gu: no pairs of G and U.
        per_base: divide by the length, for sequences of several lengths.
    """

    dangles: Annotated[Literal[0, 1, 2, 3], BeforeValidator(whole_number)] = 2  # type: ignore[assignment]
    per_base: bool = False


class MFE(FoldingReward):
    """Energy in kcal/mol of the structure s that has the least, ``min E(s)``; 0 without pairs.

    The nearest-neighbour energies of Turner 2004; less is more stable. T is read as U.
    """

    template = RewardInfo(
        name="mfe",
        alphabets=("rna", "dna"),
        outputs=(Output("mfe", unit="kcal/mol", direction="minimize"),),
        cost="expensive",
        citation=f"Zuker and Stiegler 1981, Nucleic Acids Res 9:133; {FOLDING}",
    )
    settings_type = MFESettings
    settings: MFESettings

    def __init__(self, **parameters: Any):
        super().__init__(**parameters)
        if self.settings.per_base:
            output = Output("mfe", unit="kcal/mol per base", direction="minimize")
            self.info = replace(self.info, outputs=(output,))

    def fold(self, sequence: str) -> list[float]:
        """The energy."""
        energy = minimum_energy(self.compound(sequence, pairs=False))[1]
        return [energy / len(sequence) if self.settings.per_base else energy]
