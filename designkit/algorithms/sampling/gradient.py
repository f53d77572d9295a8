"""Gradient guidance: each step draws from the model's law tilted by exp(scale * g / temperature).

g is the first-order change of the value by each letter (Schiff et al. 2024, arXiv 2412.10193, sec.
3.2, "first-order approximation"; Chung et al. 2023, arXiv 2209.14687, through the denoiser). Only
letters are tilted, never the rate at which positions are decided, and rows are independent. What
first order misses is paid for where there are several ``candidates``: they are chosen among in
proportion to exp(value / temperature) times the model's probability over the tilted one's, which
for many draws from p(x) exp(r(x) / temperature) as SVDD does. With one, the default, nothing is
valued.
"""

from __future__ import annotations

from pydantic import Field

from designkit.algorithms.sampling._candidates import CandidateSampler
from designkit.algorithms.sampling._gradient import GradientGuided
from designkit.algorithms.sampling._guided import PositiveTemperature


class Gradient(GradientGuided, CandidateSampler):
    """Settings of gradient guidance: those of ``CandidateSampler`` and ``GradientGuided``."""

    candidates: int = Field(default=1, ge=1)
    temperature: PositiveTemperature | None = None
