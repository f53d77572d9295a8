"""The best candidates of a batch that also differ from each other."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Values = NDArray[np.float64]
    Choose = Callable[[Sequence[Any], Values, int], list[int]]

SCALE = 0.1
"""Share of differing letters in which similarity falls by 1 / e."""
_LEAST_VOLUME = 1e-12


def varied(tokens: Sequence[Any], rewards: Values, count: int) -> list[int]:
    """Places of candidates that raise the determinant of exp((a_i + a_j) / 2 - d_ij / SCALE) most.

    a are standardised rewards, d shares of differing letters. One candidate is taken after the
    other, and the Cholesky factor grows by a row each time (Chen, Zhang and Zhou 2018, arXiv
    1709.05135, algorithm 1).

    Args:
        tokens: N candidates, best first.
        rewards: (N,) theirs.
        count: of places; all where there are no more.
    """
    import numpy as np

    spread = float(rewards.std()) if len(rewards) else 0.0
    quality = (rewards - rewards.max()) / spread if spread > 0 else np.zeros(len(rewards))
    taken: list[int] = []
    rows = np.zeros((0, len(rewards)))
    volume = np.ones(len(rewards))
    while len(taken) < min(count, len(rewards)):
        gain = quality + np.log(volume.clip(min=_LEAST_VOLUME))
        gain[taken] = -np.inf
        best = int(gain.argmax())
        taken.append(best)
        similarity = np.exp(-_distances(tokens, best) / SCALE)
        row = (similarity - rows[:, best] @ rows) / np.sqrt(max(volume[best], _LEAST_VOLUME))
        rows, volume = np.vstack([rows, row]), volume - row**2
    return taken


def _distances(tokens: Sequence[Any], place: int) -> Values:
    """Shares (N,) of letters in which candidates differ from one of them."""
    import numpy as np

    from designkit.sequence_stats import by_length, edit_distances

    one, found = tokens[place], np.zeros(len(tokens))
    for rows, block in by_length(tokens):
        if block.shape[1] == len(one):
            apart = (block != one).sum(1)
        else:
            apart = edit_distances(np.broadcast_to(one, (len(block), len(one))), block)
        found[rows] = apart / max(len(one), block.shape[1])
    return found
