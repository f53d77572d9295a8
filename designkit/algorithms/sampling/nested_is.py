"""Nested importance sampling: SMC whose particles choose among M children in every step.

A particle draws M children from the model and keeps one with probability proportional to
exp(v / temperature), as SVDD does; its weight grows by the mean of these factors over exp of its
own value, so that the choice is paid for. Resampling the particles is as in SMC (Naesseth et al.
2015, arXiv 1502.02536; Li et al. 2025, arXiv 2501.09685, sec. 4.3).
"""

from __future__ import annotations

from pydantic import Field

from designkit.algorithms.sampling._particles import ParticleSampler


class NestedIS(ParticleSampler):
    """Settings of nested importance sampling, besides those of ``ParticleSampler``.

    Attributes:
        candidates: M, children of each particle in each step.
    """

    particles: int = Field(default=16, ge=2)
    candidates: int = Field(default=8, ge=1)

    @property
    def children(self) -> int:
        """M, among which each particle chooses in a step."""
        return self.candidates
