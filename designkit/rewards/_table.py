"""The values of some sequences, as far as they are known, while they are scored."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from designkit.rewards._part import Part


class ScoreTable:
    """What is known of some sequences while they are scored.

    Attributes:
        values: (N, columns) float64, NaN where not known.
        reasons: (N) why something is not known.
    """

    def __init__(self, sequences: list[str], width: int):
        import numpy as np

        self.sequences = sequences
        self.values = np.full((len(sequences), width), np.nan)
        self.reasons: list[str | None] = [None] * len(sequences)

    def fill(self, part: Part, places: Sequence[int], new: list[str] | None = None) -> None:
        """Score the sequences at some places with one reward; ``new`` as ``Part.unknown`` said."""
        import numpy as np

        if not places:
            return
        scores = part.score([self.sequences[place] for place in places], new)
        self.values[places, part.columns] = scores.values
        missing = np.isnan(self.values[places, part.chosen])
        for row in np.flatnonzero(missing).tolist():  # what another output lacks is no failure
            error = scores.errors[row] or "the reward gave no score"
            self.explain(part, [places[row]], error)

    def explain(self, part: Part, places: Iterable[int], why: str) -> None:
        """Add a reason at some places."""
        for place in places:
            earlier = self.reasons[place]
            self.reasons[place] = "; ".join(filter(None, [earlier, f"{part.label}: {why}"]))

    def violation(self, part: Part) -> NDArray[np.float64]:
        """How far each sequence is outside the bounds of a reward, (N,)."""
        return part.violation(self.values[:, part.chosen])
