"""The net electric charge of a protein in water of a given pH."""

from __future__ import annotations

from pydantic import Field

from designkit.alphabet import PROTEIN
from designkit.rewards._ionisation import CITATION, charged_share, ends, side_chains
from designkit.rewards._residues import ResidueReward, ResidueValues
from designkit.rewards.base import Output, RewardInfo
from designkit.settings import Settings


class ChargeSettings(Settings):
    """The water.

    Args:
        ph: pH, 0 to 14.
    """

    ph: float = Field(default=7.4, ge=0, le=14)


class Charge(ResidueReward):
    """Net charge in elementary charges: the sum over K, R, H, D, E, C, Y and both ends.

    A base has ``1 / (1 + 10^(pH - pK))``, an acid ``-1 / (1 + 10^(pK - pH))``; pK values of
    unfolded chains, whatever the fold.
    """

    template = RewardInfo(
        name="charge",
        alphabets=("protein",),
        outputs=(Output("charge", unit="e"),),
        differentiable=True,
        citation=CITATION,
    )
    settings_type = ChargeSettings
    settings: ChargeSettings

    def residue_values(self) -> ResidueValues:
        """Mean charge of each side chain, and of the ends by the letter that is there."""
        letters, ph = PROTEIN.letters, self.settings.ph
        each = charged_share(*side_chains(letters), ph)
        first_pk, last_pk = ends(letters)
        return ResidueValues(
            dict(zip(letters, each.tolist(), strict=True)),
            first=dict(zip(letters, charged_share(1.0, first_pk, ph).tolist(), strict=True)),
            last=dict(zip(letters, charged_share(-1.0, last_pk, ph).tolist(), strict=True)),
        )
