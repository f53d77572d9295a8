"""How water-repelling a protein is on average: the mean hydropathy of its residues."""

from __future__ import annotations

from designkit.rewards._residues import ResidueReward, ResidueValues
from designkit.rewards.base import Output, RewardInfo


class Gravy(ResidueReward):
    """Grand average of hydropathy, ``sum of h(residue) / length``: Kyte and Doolittle's scale.

    Above 0 a protein is rather hydrophobic, below 0 rather hydrophilic; soluble ones have about
    -0.4.
    """

    template = RewardInfo(
        name="gravy",
        alphabets=("protein",),
        outputs=(Output("gravy", unit="hydropathy", range=(-4.5, 4.5)),),
        differentiable=True,
        citation="Kyte and Doolittle 1982, J Mol Biol 157:105",
    )
    mean = True

    def residue_values(self) -> ResidueValues:
        """Hydropathy of each amino acid, -4.5 (R) to 4.5 (I)."""
        from Bio.SeqUtils.ProtParamData import kd

        return ResidueValues(kd)
