"""How heavy a protein is."""

from __future__ import annotations

from designkit.rewards._residues import ResidueReward, ResidueValues
from designkit.rewards.base import Output, RewardInfo

_WATER = 18.0153


class MolecularWeight(ResidueReward):
    """Average mass in daltons, ``sum of (amino acid - water) + water``, as of a reduced chain.

    Average isotopic composition; no disulfide bonds, no modifications.
    """

    template = RewardInfo(
        name="molecular_weight",
        alphabets=("protein",),
        outputs=(Output("molecular_weight", unit="Da"),),
        differentiable=True,
        citation="Gasteiger et al. 2005, The Proteomics Protocols Handbook, 571 (ProtParam)",
    )

    def residue_values(self) -> ResidueValues:
        """Mass of each residue; that of one water is added where the chain starts."""
        from Bio.Data.IUPACData import protein_letters, protein_weights

        residues = {letter: protein_weights[letter] - _WATER for letter in protein_letters}
        return ResidueValues(residues, first=dict.fromkeys(protein_letters, _WATER))
