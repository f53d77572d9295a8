"""How likely a sequence is to fold into a G-quadruplex: its G4Hunter score."""

from __future__ import annotations

import re
from typing import Literal

from pydantic import Field

from designkit.rewards import Output, Reward, RewardInfo, Scores
from designkit.settings import Settings

_RUNS = re.compile("G+|C+")
_LONGEST = 4


class G4HunterSettings(Settings):
    """Where to look.

    Args:
        window: letters of a window; a shorter sequence is one window.
        strand: ``forward``, or ``both``: a quadruplex of the other strand counts as well.
        threshold: mean from which a window is taken for a quadruplex, for the second output.
    """

    window: int = Field(default=25, ge=1)
    strand: Literal["forward", "both"] = "forward"
    threshold: float = Field(default=1.2, ge=0, le=_LONGEST)


class G4Hunter(Reward):
    """Highest mean of a window, where each G of a run of n scores min(n, 4) and each C -min(n, 4).

    Recorded beside it: the share of windows at or above the threshold.
    """

    template = RewardInfo(
        name="g4hunter",
        alphabets=("dna", "rna"),
        outputs=(
            Output("g4hunter", unit="score", range=(-_LONGEST, _LONGEST)),
            Output("share", unit="fraction", range=(0, 1)),
        ),
        citation="Bedrat, Lacroix and Mergny 2016, Nucleic Acids Res 44:1746",
    )
    settings_type = G4HunterSettings
    settings: G4HunterSettings

    def score(self, sequences: list[str]) -> Scores:
        """(N, 2) score and share; an empty sequence has neither."""
        import numpy as np

        values = np.full((len(sequences), 2), np.nan)
        errors: list[str | None] = [None] * len(sequences)
        for row, sequence in enumerate(sequences):
            if not sequence:
                errors[row] = "empty sequence"
                continue
            letters = np.zeros(len(sequence) + 1)
            for run in _RUNS.finditer(sequence):
                sign = 1 if run[0][0] == "G" else -1
                letters[run.start() + 1 : run.end() + 1] = sign * min(len(run[0]), _LONGEST)
            total = np.cumsum(letters)  # total[k] is that of the first k letters
            width = min(self.settings.window, len(sequence))
            means = (total[width:] - total[:-width]) / width
            if self.settings.strand == "both":
                means = np.abs(means)
            values[row] = means.max(), (means >= self.settings.threshold).mean()
        return Scores(values, errors)
