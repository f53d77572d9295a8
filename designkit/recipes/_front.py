"""The designs of a run that none surpasses, and the volume below them."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from designkit.algorithms.refinement.base import Archive


class Front:
    """The non-dominated designs of a run, of all lineages, as it grows.

    Volumes are above the worst value of each objective in the first rounds with designs within the
    bounds, as few as give each objective two values, so that those of different rounds can be
    compared.

    Args:
        archive: of the run.
    """

    def __init__(self, archive: Archive):
        self._archive = archive
        self._seen = 0
        self._points: NDArray[np.float64] | None = None
        self._first: NDArray[np.float64] | None = None
        self._reference: NDArray[np.float64] | None = None

    def figures(self) -> dict[str, float]:
        """``front``, the number of its designs, and ``hypervolume``, in products of the rewards.

        Nothing where there is one objective; no volume, NaN, while an objective has one value.
        """
        from designkit.pareto import hypervolume

        self._grow()
        if self._points is None:
            return {}
        volume = float("nan")
        if self._reference is not None:
            volume = hypervolume(self._points.T, self._reference)
        return {"front": len(self._points), "hypervolume": volume}

    def _grow(self) -> None:
        """Take in the designs that have come since."""
        import numpy as np

        from designkit.pareto import pareto_fronts

        archive = self._archive
        new = [n for n in range(self._seen, len(archive)) if archive.is_within(n, -np.inf)]
        self._seen = len(archive)
        points = archive.objectives(new)
        if not new or points.shape[1] < 2:
            return
        if self._points is None:
            self._points = self._first = points[:0]
        self._refer(points, np.array([archive.designs[number].round for number in new]))
        every = np.concatenate([self._points, points])
        self._points = every[pareto_fronts(every.T, 1) == 0]

    def _refer(self, points: NDArray[np.float64], rounds: NDArray[np.int64]) -> None:
        """Find the point that volumes are above, if it is not known, with new points."""
        import numpy as np

        for round in np.unique(rounds):
            if self._reference is not None or self._first is None:
                return
            own = points[rounds == round]
            own = own[np.isfinite(own).all(1)]
            self._first = np.concatenate([self._first, own])
            lowest = self._first.min(0, initial=np.inf)
            if (self._first.max(0, initial=-np.inf) > lowest).all():
                self._reference, self._first = lowest, None
