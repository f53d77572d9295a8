"""The network of the predictor ``linear``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from designkit.models.linear import LinearPredictor


class LinearNet(nn.Module):
    """A weight for each letter at each position and for the share of each word of 2, 3, ...

    Args:
        settings: of the predictor.
        size: letters K.
        outputs: labels.
        length: positions L.
    """

    def __init__(self, settings: LinearPredictor, size: int, outputs: int, length: int):
        super().__init__()
        wanted = range(2, min(settings.longest, length) + 1)
        self.orders = [k for k in wanted if size**k <= settings.most_words]
        width = length * size + sum(size**k for k in self.orders)
        self.weights = nn.Linear(width, outputs)

    def features(self, x: Tensor) -> Tensor:
        """What the weights are for: one-hots and shares of words, (B, L, K) to (B, F)."""
        columns, words = [x.flatten(1)], x
        for k in range(2, max(self.orders, default=1) + 1):
            joined = words[:, :-1, :, None] * x[:, k - 1 :, None, :]
            words = joined.flatten(2)
            columns.append(words.mean(1))
        return torch.cat(columns, dim=1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, L, K) to (B, outputs)."""
        out: Tensor = self.weights(self.features(x))
        return out
