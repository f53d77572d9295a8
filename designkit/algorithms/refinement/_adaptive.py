"""How much of a sequence to change, learned from how often that was a success.

The rule of Rechenberg 1973, "Evolutionsstrategie": larger steps where more than a fifth of the
children are better than their parents, smaller ones where fewer are.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

    from designkit.algorithms.refinement._archive import Archive, Population

SHARE = "share"
"""Name of the shares in the memory of a population."""

_SUCCESSES = 0.2
"""Share of better children at which steps stay as they are."""


def shares_of(members: Population, lineages: int, first: float) -> Tensor:
    """Largest shares of positions (lineages,) float64; ``first`` before anything was learned."""
    import torch

    known = members.memory.get(SHARE)
    return torch.full((lineages,), first, dtype=torch.float64) if known is None else known


def adapted(archive: Archive, shares: Tensor, numbers: Sequence[int], most: float) -> Tensor:
    """Shares (lineages,) after a round.

    Args:
        archive: of the run.
        shares: before it.
        numbers: of the designs that the round made.
        most: largest share.
    """
    import torch

    children, better = torch.zeros_like(shares), torch.zeros_like(shares)
    for number in numbers:
        design = archive.designs[number]
        if design.parent >= 0:
            children[design.lineage] += 1
            better[design.lineage] += archive.reward(number) > archive.reward(design.parent)
    rate = better / children.clamp(min=1)
    factor = (rate - _SUCCESSES).exp().where(children > 0, 1.0)
    return (shares * factor).clamp(min=math.ulp(1.0), max=most)
