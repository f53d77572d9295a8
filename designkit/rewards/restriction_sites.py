"""How many recognition sites of named restriction enzymes a DNA sequence holds."""

from __future__ import annotations

from typing import Any

from designkit.errors import RewardError, did_you_mean
from designkit.rewards._words import CommaSeparated, WordReward
from designkit.rewards.base import Output, RewardInfo
from designkit.settings import Settings


class RestrictionSitesSettings(Settings):
    """Which enzymes.

    Args:
        enzymes: names of REBASE, separated by commas: ``EcoRI,BsaI``.
    """

    enzymes: CommaSeparated


class RestrictionSites(WordReward):
    """Number of recognition sites on either strand of a linear molecule.

    A palindromic site is one site. A site counts wherever the enzyme cuts, even beyond the end of
    the sequence, where what the sequence is joined to would be cut. Enzymes that recognise the same
    site count it once. The relaxed score is the expected number if the letters are independent.

    Raises:
        RewardError: an enzyme that ``Bio.Restriction`` does not know.
    """

    template = RewardInfo(
        name="restriction_sites",
        alphabets=("dna",),
        outputs=(Output("restriction_sites", unit="sites", direction="minimize"),),
        differentiable=True,
        citation="Roberts et al. 2015, Nucleic Acids Res 43:D298, REBASE",
    )
    settings_type = RestrictionSitesSettings
    settings: RestrictionSitesSettings
    both_strands = True

    def __init__(self, **parameters: Any):
        super().__init__(**parameters)
        self.words = _recognition_sites(self.settings.enzymes)


def _recognition_sites(names: tuple[str, ...]) -> list[str]:
    from Bio.Restriction import AllEnzymes  # type: ignore[attr-defined]

    if not names:
        raise RewardError(
            "reward 'restriction_sites' needs enzymes: restriction_sites?enzymes=EcoRI,BsaI"
        )
    known = {str(enzyme): str(enzyme.site) for enzyme in AllEnzymes}
    for name in names:
        if name not in known:
            raise RewardError(
                f"reward 'restriction_sites': unknown enzyme {name!r}{did_you_mean(name, known)}"
            )
    # Few enzymes have two sites, written A|B.
    return [site for name in names for site in known[name].split("|")]
