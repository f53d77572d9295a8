"""Twisted diffusion sampling: SMC whose particles take their steps where the reward rises.

Each particle draws its step from the model's law tilted by exp(g / temperature), g being the
first-order change of the value by each letter, and its weight grows by exp((v_s - v_t) /
temperature) times the model's probability of the step over the tilted one's, the normaliser of the
tilt included (Wu et al. 2023, arXiv 2306.17775, algorithm 1, here for masked diffusion). For many
particles the designs follow p(x) exp(r(x) / temperature) whatever the gradient is worth; a good one
needs fewer. A ``guidance_scale`` above 1 proposes too few of the sequences that first order takes
for bad, and their weights grow without bound: the target stays, the particles that it takes do not.
"""

from __future__ import annotations

from designkit.algorithms.sampling._gradient import GradientGuided
from designkit.algorithms.sampling._particles import ParticleSampler


class TDS(GradientGuided, ParticleSampler):
    """Settings of twisted SMC: those of ``ParticleSampler`` and ``GradientGuided``."""
