"""The best designs that are also different from each other."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from designkit.settings import Settings

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from designkit.sequence_stats import TokenRows

    Values = NDArray[np.float64]

_LEAST_VOLUME = 1e-12
"""What a design adds to the determinant that is as good as a copy of others."""


class Diversity(Settings):
    """How different the designs of a final set are to be.

    Attributes:
        kind: ``clusters`` takes the best of each cluster: no two designs are closer than
            ``distance``, and whatever is left out is closer than that to a better one. ``maxmin``
            takes the best, and then always the design that is farthest from those taken. ``dpp``
            takes what is good and different together: it raises the determinant of a kernel of
            quality and similarity (Kulesza and Taskar 2012, doi 10.1561/2200000044).
        distance: as a share of the letters: differing positions of designs of one length, the edit
            distance over the longer length of others. For ``dpp`` similarity falls by 1 / e in it.
        pool: designs to choose from, best first, for each one asked for; ``clusters`` looks further
            where there are too few.
        quality: of ``dpp``: what a standard deviation of the rewards of the pool counts for, in
            logarithms of the determinant; 0 looks at differences alone.
    """

    kind: Literal["clusters", "maxmin", "dpp"] = "clusters"
    distance: float = Field(default=0.1, gt=0, le=1)
    pool: int = Field(default=10, ge=1)
    quality: float = Field(default=1.0, ge=0)

    def choose(self, tokens: TokenRows, rewards: Values, count: int) -> list[int]:
        """Places of the designs that are taken, in the order in which they were.

        Args:
            tokens: N designs, best first.
            rewards: (N,) theirs, finite.
            count: how many; fewer are taken where there are no more, or no more clusters.
        """
        most = self.pool * count
        if self.kind == "clusters":
            return _clusters(tokens, count, self.distance, most)
        distances = Distances(tokens[:most])
        if self.kind == "maxmin":
            return _maxmin(distances, count)
        return _dpp(distances, self._log_qualities(rewards[:most]), count, self.distance)

    def _log_qualities(self, rewards: Values) -> Values:
        """What designs count for by themselves, (N,), 0 for the best."""
        import numpy as np

        spread = float(np.std(rewards)) if len(rewards) else 0.0
        if spread == 0:
            return np.zeros(len(rewards))
        standardised: Values = (rewards - rewards.max()) / spread
        return self.quality * standardised


def as_mapping(value: Any) -> Any:
    """The fields of a kind alone; anything else as it is."""
    return {"kind": value} if isinstance(value, str) else value


DiversityOption = Annotated[Diversity, BeforeValidator(as_mapping)]
"""A setting that says how designs are to differ, as a kind alone or as keys."""


class Distances:
    """Distances of N designs, a row at a time.

    Args:
        tokens: of the designs.
    """

    def __init__(self, tokens: TokenRows):
        from designkit.sequence_stats import by_length

        self._tokens = tokens
        self._blocks = list(by_length(tokens))

    def __len__(self) -> int:
        return len(self._tokens)

    def to(self, place: int) -> Values:
        """Distances (N,) of all designs from one of them; see ``Diversity.distance``."""
        import numpy as np

        from designkit.sequence_stats import edit_distances

        one = self._tokens[place]
        found = np.zeros(len(self))
        for rows, block in self._blocks:
            longest = max(len(one), block.shape[1], 1)
            if block.shape[1] == len(one):
                apart = (block != one).sum(1)
            else:
                apart = edit_distances(np.broadcast_to(one, (len(block), len(one))), block)
            found[rows] = apart / longest
        return found


def _clusters(tokens: TokenRows, count: int, least: float, part: int) -> list[int]:
    """The first of all, the first that is not near it, ...; ``part`` are looked at in one go."""
    taken: list[int] = []
    for start in range(0, len(tokens), part):
        numbers = [*taken, *range(start, min(start + part, len(tokens)))]
        distances = Distances([tokens[number] for number in numbers])
        taken = [numbers[place] for place in _apart(distances, len(taken), count, least)]
        if len(taken) == count:
            break
    return taken


def _apart(distances: Distances, given: int, count: int, least: float) -> list[int]:
    """The first ``given`` of all, and then others that are near none before them."""
    import numpy as np

    taken: list[int] = []
    is_open = np.ones(len(distances), dtype=bool)
    while len(taken) < count and is_open.any():
        taken.append(len(taken) if len(taken) < given else int(is_open.argmax()))
        is_open &= distances.to(taken[-1]) >= least
    return taken


def _maxmin(distances: Distances, count: int) -> list[int]:
    """The first, and then whatever is farthest from the nearest one taken.

    The smallest distance within such a set is at least half the largest possible (Gonzalez 1985,
    doi 10.1016/0304-3975(85)90224-5).
    """
    import numpy as np

    taken: list[int] = []
    nearest = np.full(len(distances), np.inf)
    while len(taken) < min(count, len(distances)):
        taken.append(int(nearest.argmax()))
        nearest = np.minimum(nearest, distances.to(taken[-1]))
        nearest[taken[-1]] = -np.inf
    return taken


def _dpp(distances: Distances, log_qualities: Values, count: int, scale: float) -> list[int]:
    """Whatever raises the logarithm of the determinant most, one after the other.

    The kernel is exp((a_i + a_j) / 2 - d_ij / scale), a being the log-qualities; of differing
    positions it is positive definite. Its Cholesky factor grows by a row for each design that is
    taken (Chen, Zhang and Zhou 2018, arXiv 1709.05135, algorithm 1).
    """
    import numpy as np

    taken: list[int] = []
    rows = np.zeros((0, len(distances)))
    volume = np.ones(len(distances))  # what of each design the taken ones do not span, squared
    while len(taken) < min(count, len(distances)):
        gain = log_qualities + np.log(volume.clip(min=_LEAST_VOLUME))
        gain[taken] = -np.inf
        best = int(gain.argmax())
        taken.append(best)
        own = np.exp(-distances.to(best) / scale) - rows[:, best] @ rows
        row = own / np.sqrt(max(volume[best], _LEAST_VOLUME))
        rows, volume = np.vstack([rows, row]), volume - row**2
    return taken
