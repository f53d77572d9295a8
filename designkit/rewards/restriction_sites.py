"""How many recognition sites of named restriction enzymes a DNA sequence holds."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from designkit.errors import RewardError, did_you_mean
from designkit.rewards._lengths import tokens_by_length
from designkit.rewards._words import CommaSeparated, WordCounter
from designkit.rewards.base import Output, Reward, RewardInfo, Scores
from designkit.settings import Settings

if TYPE_CHECKING:
    from torch import Tensor

    from designkit.alphabet import Alphabet


class RestrictionSitesSettings(Settings):
    """Which enzymes.

    Args:
        enzymes: names of REBASE, separated by commas: ``EcoRI,BsaI``.
    """

    enzymes: CommaSeparated


class RestrictionSites(Reward):
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

    def __init__(self, **parameters: Any):
        super().__init__(**parameters)
        self._sites = _recognition_sites(self.settings.enzymes)
        self._alphabet: Alphabet | None = None
        self._counter: WordCounter | None = None

    def bind(self, alphabet: Alphabet) -> None:
        """Read the sites in the letters of the alphabet."""
        super().bind(alphabet)
        self._alphabet = alphabet
        self._counter = WordCounter(
            self._sites, alphabet, both_strands=True, name="restriction_sites"
        )

    def score(self, sequences: list[str]) -> Scores:
        """(N, 1) sites; a sequence shorter than all sites has none."""
        import numpy as np

        alphabet, counter = self._bound()
        values = np.zeros((len(sequences), 1))
        for rows, tokens in tokens_by_length(alphabet, sequences):
            values[rows, 0] = counter.count(tokens)
        return Scores(values, [None] * len(sequences))

    def score_relaxed(self, probs: Tensor, valid: Tensor | None = None) -> Tensor:
        """Expected sites, (B, L, K) to (B,)."""
        return self._bound()[1].expect(probs, valid)

    def _bound(self) -> tuple[Alphabet, WordCounter]:
        if self._alphabet is None or self._counter is None:
            raise RewardError("reward 'restriction_sites': bind an alphabet before scoring")
        return self._alphabet, self._counter


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
