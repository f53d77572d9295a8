"""Accessibility: how likely a region of an RNA is free of base pairs."""

from __future__ import annotations

import math
from typing import Annotated, Self

from pydantic import AfterValidator, model_validator

from designkit.rewards._vienna import (
    FOLDING,
    FoldingReward,
    FoldingSettings,
    ensemble_energy,
    thermal_energy,
)
from designkit.rewards.base import Output, RewardInfo


def _not_zero(position: int) -> int:
    if position == 0:
        raise ValueError("positions count from 1, or from the end with -1, -2, ...; there is no 0")
    return position


Position = Annotated[int, AfterValidator(_not_zero)]


class AccessibilitySettings(FoldingSettings):
    """The region, and the energy model, as in RNAfold.

    Args:
        start: first position of the region, 1-based; -1 is the last base, -2 the one before it.
        end: last position of the region, counted in the same way.
        temperature: degrees Celsius.
        dangles: energy of bases beside a helix: 2 always, 0 never.
        no_gu: no pairs of G and U.
    """

    start: Position
    end: Position

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if (self.start > 0) == (self.end > 0) and self.start > self.end:
            raise ValueError(f"start={self.start} is after end={self.end}")
        return self


class Accessibility(FoldingReward):
    """Mean over the region of the probability that a base is unpaired, ``1 - sum_j p(i pairs j)``.

    Beside it the probability that all of the region is unpaired at once,
    ``exp((G - G_open) / RT)``, with G_open the free energy of the structures that have no pair in
    it. T is read as U.
    """

    template = RewardInfo(
        name="accessibility",
        alphabets=("rna", "dna"),
        outputs=(
            Output("accessibility", unit="probability", range=(0, 1)),
            Output("window", unit="probability", range=(0, 1)),
        ),
        cost="expensive",
        citation=(
            "Mückstein et al. 2006, Bioinformatics 22:1177; "
            f"Bernhart et al. 2011, Algorithms Mol Biol 6:3; {FOLDING}"
        ),
    )
    settings_type = AccessibilitySettings
    settings: AccessibilitySettings

    def refusal(self, sequence: str) -> str | None:
        """The region must lie in the sequence."""
        if not self._region(len(sequence)):
            start, end = self.settings.start, self.settings.end
            return f"length {len(sequence)}; there is no region from {start} to {end}"
        return None

    def fold(self, sequence: str) -> list[float]:
        """Mean probability of its bases, and probability of the whole region."""
        region = self._region(len(sequence))
        compound = self.compound(sequence)
        free = ensemble_energy(compound)
        pairs = compound.bpp()  # [i][j] for i < j, 1-based
        paired = sum(sum(pairs[i][i + 1 :]) for i in region)
        paired += sum(row[j] for j in region for row in pairs[1:j])
        opened = self.compound(sequence, pairs=False)
        for position in region:
            opened.hc_add_up(position)
        cost = ensemble_energy(opened) - free
        window = math.exp(-cost / thermal_energy(compound))
        mean = 1 - paired / len(region)
        return [min(max(mean, 0.0), 1.0), min(window, 1.0)]

    def _region(self, length: int) -> range:
        """1-based positions; none where the region is not inside the sequence."""
        first, last = (
            position if position > 0 else length + 1 + position
            for position in (self.settings.start, self.settings.end)
        )
        return range(first, last + 1) if 1 <= first and last <= length else range(0)
