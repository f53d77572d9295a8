"""RNA that can form the pairs of a structure: a prior of rules, whose conditionals are exact.

Every pair of the structure and every unpaired base is drawn by itself: a pair is one of GC, CG, AU,
UA, GU, UG; an unpaired base is mostly A, which pairs least by chance, and beside a pair often
another letter, since mismatches there stabilise loops (what players of Eterna call a boost: Lee et
al. 2014, PNAS 111:2122). The probability of a sequence is the product of these, so the denoiser's
guess is that of the law itself: a masked base whose partner is known follows the pairs that the
partner can form, one whose partner is masked too follows the pairs' marginal law. A share of the
hairpins may be of those few whose loops are far more stable than the rest; a masked base of one
then follows the posterior of this mixture.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

from pydantic import Field, model_validator

from designkit.dot_bracket import DotBracket, loops, partners
from designkit.models._rules import RuleSettings
from designkit.models.base import LengthLaw

if TYPE_CHECKING:
    from torch import Tensor, nn

_LETTERS = "ACGU"

STABLE_HAIRPINS = {
    4: ("CCUCGG", "CUCCGG", "CUACGG", "CUGCGG"),
    6: ("ACAGUGUU", "ACAGUACU", "ACAGUGCU", "ACAGUGAU"),
}
"""By the size of the loop, hairpins that are more stable than all others that the same pair closes,
by 0.4 kcal/mol at least; with that pair (Mathews et al. 2004, PNAS 101:7287)."""


class BasePairsDenoiser(RuleSettings):
    """Settings of the law of paired RNA.

    Attributes:
        structure: dot-bracket, one character for each base.
        gc: share of pairs that are GC or CG.
        gu: share of pairs that are GU or UG; the rest are AU and UA.
        unpaired_a: share of A among unpaired bases that are not beside a pair; the rest is even.
        boosted_a: share of A among unpaired bases beside a pair; the rest is G, U and C, as
            4 : 2 : 1.
        hairpins: share of the hairpins with a loop of 4 or 6 bases that are, with the pair that
            closes them, one of ``STABLE_HAIRPINS``.
    """

    structure: DotBracket
    gc: float = Field(0.72, ge=0, le=1)
    gu: float = Field(0.08, ge=0, le=1)
    unpaired_a: float = Field(0.88, gt=0, le=1)
    boosted_a: float = Field(0.5, gt=0, le=1)
    hairpins: float = Field(0.0, ge=0, lt=1)

    @model_validator(mode="after")
    def _check_shares(self) -> Self:
        if self.gc + self.gu > 1:
            raise ValueError(f"gc and gu are {self.gc + self.gu:g} of all pairs: at most 1")
        return self

    @property
    def alphabet(self) -> str:
        """See ``RuleSettings.alphabet``."""
        return "rna"

    @property
    def length_law(self) -> LengthLaw:
        """That of the structure."""
        return LengthLaw({len(self.structure): 1})

    def pair_law(self) -> Tensor:
        """Probabilities (4, 4) of pairs, by the letters of their left and their right base."""
        import torch

        au = 1 - self.gc - self.gu
        law = torch.zeros(4, 4, dtype=torch.float64)
        for pair, share in (("GC", self.gc), ("GU", self.gu), ("AU", au)):
            left, right = (_LETTERS.index(letter) for letter in pair)
            law[left, right] = law[right, left] = share / 2
        return law

    def base_law(self, *, beside_a_pair: bool) -> Tensor:
        """Probabilities (4,) of an unpaired base."""
        import torch

        a = self.boosted_a if beside_a_pair else self.unpaired_a
        others = (1, 4, 2) if beside_a_pair else (1, 1, 1)  # C, G, U
        rest = [(1 - a) * share / sum(others) for share in others]
        return torch.tensor([a, *rest], dtype=torch.float64)

    def law(self) -> Tensor:
        """Probabilities (L, 5, 4) of a base, by the letter of its partner, the last one unknown.

        The partner of an unpaired base is itself, which does not matter.
        """
        import torch

        pair, partner = self.pair_law(), partners(self.structure)
        marginal = pair.sum(0)
        # A letter that is in no pair cannot be a partner; its row is the marginal law.
        given = (pair / pair.sum(1, keepdim=True)).where(pair.sum(1, keepdim=True) > 0, marginal)
        paired = torch.cat([given, marginal[None]])
        rows, last = [], len(partner) - 1
        for place, other in enumerate(partner):
            beside = any(partner[k] != k for k in (max(place - 1, 0), min(place + 1, last)))
            single = self.base_law(beside_a_pair=beside).expand(5, -1)
            rows.append(single if other == place else paired)
        return torch.stack(rows)

    def stable_hairpins(self) -> dict[int, tuple[list[list[int]], list[list[int]]]]:
        """By the size of the loop, the positions (H, P) of hairpins, and words (W, P) as tokens.

        Only of those that may be stable ones, the pair that closes them included.
        """
        found = {}
        closing = [loop.closing for loop in loops(self.structure) if not loop.inner]
        for size, words in STABLE_HAIRPINS.items():
            own = [list(range(i, j + 1)) for i, j in closing if j - i - 1 == size]
            if own and self.hairpins:
                found[size] = own, [list(map(_LETTERS.index, word)) for word in words]
        return found

    def build(self, states: int, size: int, classes: int = 0) -> nn.Module:
        """The network; see ``DenoiserSettings.build``."""
        from designkit.models._base_pairs_net import BasePairsNet

        return BasePairsNet(self)
