"""Free energy of the ensemble: how stable all structures of an RNA are together."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from designkit.rewards import _vienna
from designkit.rewards._vienna import FOLDING, FoldingReward, FoldingSettings
from designkit.rewards.base import Output, RewardInfo


class EnsembleEnergySettings(FoldingSettings):
    """The energy model, as in RNAfold, and the unit.

    Args:
        temperature: degrees Celsius.
        dangles: energy of bases beside a helix: 2 always, 0 never.
        no_gu: no pairs of G and U.
        per_base: divide by the length, for sequences of several lengths.
    """

    per_base: bool = False


class EnsembleEnergy(FoldingReward):
    """``-RT ln(sum over structures s of exp(-E(s) / RT))`` in kcal/mol, as of ``RNAfold -p``.

    It is the free energy of folding from the open chain; less is more stable. T is read as U.
    """

    template = RewardInfo(
        name="ensemble_energy",
        alphabets=("rna", "dna"),
        outputs=(Output("ensemble_energy", unit="kcal/mol", direction="minimize"),),
        cost="expensive",
        citation=f"McCaskill 1990, Biopolymers 29:1105; {FOLDING}",
    )
    settings_type = EnsembleEnergySettings
    settings: EnsembleEnergySettings

    def __init__(self, **parameters: Any):
        super().__init__(**parameters)
        if self.settings.per_base:
            output = Output("ensemble_energy", unit="kcal/mol per base", direction="minimize")
            self.info = replace(self.info, outputs=(output,))

    def fold(self, sequence: str) -> list[float]:
        """The free energy."""
        energy = _vienna.ensemble_energy(self.compound(sequence, pairs=False))
        return [energy / len(sequence) if self.settings.per_base else energy]
