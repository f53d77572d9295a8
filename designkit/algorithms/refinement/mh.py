"""Metropolis-Hastings: chains whose designs follow p(x) exp(r(x) / temperature) exactly.

A round masks a random set of positions, whose choice does not depend on the sequence, and draws
them from the prior given the others. That leaves the prior p as it is and is reversible, so that a
child x' of x is accepted with probability min(1, exp((r(x') - r(x)) / temperature)) (Metropolis et
al. 1953, doi 10.1063/1.1699114; Hastings 1970, doi 10.1093/biomet/57.1.97). It is as exact as the
prior's conditionals, one position at a time, are those of one law.

Constraints are kept by refusing children: the law is then that of p restricted to them.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from designkit.algorithms.refinement._metropolis import Metropolis

if TYPE_CHECKING:
    from designkit.algorithms.refinement.base import Archive, Brief, Population
    from designkit.models.base import DiffusionModel
    from designkit.randomness import Noise


class MH(Metropolis):
    """Settings of Metropolis-Hastings: those of ``Metropolis``."""

    def rounds(
        self,
        model: DiffusionModel,
        archive: Archive,
        population: Population,
        brief: Brief,
        noise: Noise,
    ) -> Iterator[Population]:
        """See ``Refiner.rounds``."""
        return self.chains(model, archive, population, brief, noise)
