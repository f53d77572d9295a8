"""How aromatic a protein is: the share of phenylalanine, tryptophan and tyrosine."""

from __future__ import annotations

from designkit.alphabet import PROTEIN
from designkit.rewards._residues import ResidueReward, ResidueValues
from designkit.rewards.base import Output, RewardInfo


class Aromaticity(ResidueReward):
    """Share of aromatic residues, ``(F + W + Y) / length``."""

    template = RewardInfo(
        name="aromaticity",
        alphabets=("protein",),
        outputs=(Output("aromaticity", unit="fraction", range=(0, 1)),),
        differentiable=True,
        citation="Lobry and Gautier 1994, Nucleic Acids Res 22:3174",
    )
    mean = True

    def residue_values(self) -> ResidueValues:
        """1 for F, W and Y, 0 for the others."""
        return ResidueValues({letter: float(letter in "FWY") for letter in PROTEIN.letters})
