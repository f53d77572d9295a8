"""Sequential Monte Carlo: a population whose members are weighed and resampled while decoded.

Each particle takes its step from the model; its weight grows by exp((v_s - v_t) / temperature), v
being the estimated value. When the effective size falls below a share of the population, particles
are drawn anew in proportion to their weights (Wu et al. 2023, arXiv 2306.17775, with the model
itself as proposal; Li et al. 2024, arXiv 2408.08252, sec. 2.3). For many particles the designs
follow p(x) exp(r(x) / temperature), whatever the value estimator; a better one needs fewer.
"""

from __future__ import annotations

from designkit.algorithms.sampling._particles import ParticleSampler


class SMC(ParticleSampler):
    """Settings of sequential Monte Carlo: those of ``ParticleSampler``."""
