"""The pH at which a protein has no net charge, or how far that is from a wanted pH."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from pydantic import Field

from designkit.alphabet import PROTEIN
from designkit.rewards._ionisation import CITATION, charged_share, ends, side_chains
from designkit.rewards._lengths import tokens_by_length
from designkit.rewards.base import Output, Reward, RewardInfo, Scores
from designkit.sequence_stats import kmer_counts
from designkit.settings import Settings

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from designkit.alphabet import Alphabet

_HALVINGS = 48  # of 14 pH units: exact to 1e-13


class IsoelectricPointSettings(Settings):
    """The wanted point; without one the reward is the isoelectric point itself.

    Args:
        target: wanted isoelectric point, 0 to 14.
    """

    target: float | None = Field(default=None, ge=0, le=14)


class IsoelectricPoint(Reward):
    """The pH where ``charge(pH) = 0``; with a target ``|pI - target|``, and the pI beside it.

    The charge is that of the reward ``charge``. Chains that are still charged at pH 0 or 14 get
    that end of the scale.
    """

    template = RewardInfo(
        name="isoelectric_point",
        alphabets=("protein",),
        outputs=(Output("isoelectric_point", unit="pH", range=(0, 14)),),
        citation=CITATION,
    )
    settings_type = IsoelectricPointSettings
    settings: IsoelectricPointSettings

    def __init__(self, **parameters: Any):
        super().__init__(**parameters)
        self._alphabet = PROTEIN
        target = self.settings.target
        if target is not None:
            farthest = max(target, 14 - target)
            distance = Output("distance", unit="pH", direction="minimize", range=(0, farthest))
            point = Output("value", unit="pH", range=(0, 14))
            self.info = replace(self.info, outputs=(distance, point))

    def bind(self, alphabet: Alphabet) -> None:
        """Note the order of the letters."""
        super().bind(alphabet)
        self._alphabet = alphabet

    def score(self, sequences: list[str]) -> Scores:
        """(N, 1) pI, or (N, 2) distance and pI; an empty sequence has none."""
        import numpy as np

        size = self._alphabet.size
        counts = np.zeros((len(sequences), size))
        first = np.zeros(len(sequences), dtype=np.int64)
        last = np.zeros(len(sequences), dtype=np.int64)
        for rows, tokens in tokens_by_length(self._alphabet, sequences):
            if tokens.shape[1]:
                counts[rows] = kmer_counts(tokens, 1, size)
                first[rows], last[rows] = tokens[:, 0], tokens[:, -1]
        points = _neutral_ph(self._alphabet, counts, first, last)
        points[counts.sum(axis=1) == 0] = np.nan
        columns = [points]
        if self.settings.target is not None:
            columns = [np.abs(points - self.settings.target), points]
        errors = [None if sequence else "empty sequence" for sequence in sequences]
        return Scores(np.stack(columns, axis=1), errors)


def _neutral_ph(
    alphabet: Alphabet,
    counts: NDArray[np.float64],
    first: NDArray[np.int64],
    last: NDArray[np.int64],
) -> NDArray[np.float64]:
    """By bisection, since charge falls with pH: (N, K) letter counts and end tokens to (N,)."""
    import numpy as np

    sign, pk = side_chains(alphabet.letters)
    charged = np.flatnonzero(sign)
    counts, sign, pk = counts[:, charged], sign[charged], pk[charged]
    first_pks, last_pks = ends(alphabet.letters)
    first_pk, last_pk = first_pks[first], last_pks[last]
    low, high = np.zeros(len(counts)), np.full(len(counts), 14.0)
    for _ in range(_HALVINGS):
        ph = (low + high) / 2
        charge = (counts * charged_share(sign, pk, ph[:, None])).sum(axis=1)
        charge += charged_share(1.0, first_pk, ph) + charged_share(-1.0, last_pk, ph)
        low, high = np.where(charge > 0, ph, low), np.where(charge > 0, high, ph)
    return np.asarray((low + high) / 2)
