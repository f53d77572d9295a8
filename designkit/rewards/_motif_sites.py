"""Scores of all sites of a motif, and which score is rare among random sites."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_BIN = 1e-3  # bits


def site_scores(tokens: NDArray[np.int64], matrix: NDArray[np.float64]) -> NDArray[np.float64]:
    """Sums of a (width, K) matrix over each site of (N, L) tokens, (N, L - width + 1)."""
    import numpy as np

    sites = tokens.shape[1] - len(matrix) + 1
    scores = np.zeros((len(tokens), sites))
    # One pass for each column of the motif, over all sequences and sites at once.
    for offset, column in enumerate(matrix):
        scores += column[tokens[:, offset : offset + sites]]
    return scores


def rare_score(columns: Sequence[Sequence[float]], p_value: float) -> tuple[float, float]:
    """The lowest score that random sites reach with at most a probability (Staden 1989).

    The distribution is summed up column by column over scores rounded to 0.001 bits, letters being
    equally likely.

    Args:
        columns: scores of the letters in each column of the motif, in bits.
        p_value: the probability.

    Returns:
        The score, infinite where even the best site is more likely, and the probability of the
        best site.
    """
    import numpy as np

    chances = np.ones(1)
    for column in columns:
        steps = [round((score - min(column)) / _BIN) for score in column]
        longer = np.zeros(len(chances) + max(steps))
        for step in steps:
            longer[step : step + len(chances)] += chances / len(column)
        chances = longer
    reached = np.cumsum(chances[::-1])[::-1]  # chance of a bin or a higher one
    rare = np.flatnonzero(reached <= p_value * (1 + 1e-9))
    if not len(rare):
        return math.inf, float(reached[-1])
    # Rounding moves the score of a site by at most half a bin in each column.
    first = rare[0] + np.argmax(chances[rare[0] :] > 0)
    lowest = sum(min(column) for column in columns)
    return float(lowest + (first - len(columns) / 2) * _BIN), float(reached[-1])
