"""A Markov chain as a prior: each letter depends on the one before it; its conditionals are exact.

The frequencies of first letters and of pairs of neighbours are counted from the training sequences
(the maximum-likelihood estimate: Anderson and Goodman 1957, doi 10.1214/aoms/1177707039). Given any
letters of a sequence, the law of a masked one follows from the nearest known letter on either side,
b at distance i and c at distance j: p(a) is in proportion to (P^i)[b, a] (P^j)[a, c], P being the
matrix of transitions. Decoding one position a step, in any order, therefore draws from the chain
itself, and what it may not write, given what is kept, it never writes.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from pydantic import Field

from designkit.errors import UsageError
from designkit.models._counted import CountedSettings

if TYPE_CHECKING:
    from torch import Tensor, nn


class MarkovDenoiser(CountedSettings):
    """Settings of the Markov chain.

    Attributes:
        pseudocount: added to the count of every transition, and of every first letter; with 0,
            transitions that no training sequence has are never written.
    """

    pseudocount: float = Field(0.0, ge=0, allow_inf_nan=False)

    def counted(self, rows: Iterable[tuple[Tensor, Tensor]], size: int) -> dict[str, Tensor]:
        """See ``CountedSettings.counted``.

        Returns:
            ``start`` (K,) and ``transitions`` (K, K), probabilities, float32. A letter that
            nothing ever followed is followed by any letter, as often as that is found at all.
        """
        import torch

        def count(codes: Tensor, share: Tensor, kinds: int) -> Tensor:
            weights = share.double()[:, None].expand(codes.shape).flatten()
            return torch.bincount(codes.flatten(), weights, minlength=kinds)

        start, letters, pairs = (
            torch.full((kinds,), self.pseudocount, dtype=torch.float64)
            for kinds in (size, size, size * size)
        )
        for tokens, share in rows:
            start += count(tokens[:, :1], share, size)
            letters += count(tokens, share, size)
            pairs += count(tokens[:, :-1] * size + tokens[:, 1:], share, size * size)
        table = pairs.view(size, size)
        table = table.where(table.sum(1, keepdim=True) > 0, letters)
        return {
            "start": (start / start.sum()).float(),
            "transitions": (table / table.sum(1, keepdim=True)).float(),
        }

    def build(self, states: int, size: int, classes: int = 0) -> nn.Module:
        """The network; see ``DenoiserSettings.build``.

        Raises:
            UsageError: there are classes.
        """
        from designkit.models._markov_net import MarkovNet

        if classes:
            raise UsageError("architecture markov has no classes; count a prior for each")
        return MarkovNet(size)
