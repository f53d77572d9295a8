"""SVDD: soft value-based decoding (Li et al. 2024, arXiv 2408.08252, algorithm 1).

In every step each state draws M children from the model and keeps one of them with probability
proportional to exp(v / temperature), v being the estimated soft value of the child. For M to
infinity and the exact value this is the soft-optimal policy, whose designs follow
p(x) exp(r(x) / temperature). Temperature 0 keeps the best child, and each design is then the best
clean sequence that was scored while it was decoded. Rows are independent.
"""

from __future__ import annotations

from pydantic import Field

from designkit.algorithms.sampling._candidates import CandidateSampler
from designkit.algorithms.sampling._guided import Temperature


class SVDD(CandidateSampler):
    """Settings of SVDD, besides those of ``CandidateSampler``.

    Attributes:
        temperature: alpha of the target p(x) exp(r(x) / alpha), in units of the reward; 0 is
            greedy, ``auto`` measures one.
    """

    candidates: int = Field(default=10, ge=1)
    temperature: Temperature = 0.0
