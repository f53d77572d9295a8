"""The networks of ``cnn``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch.nn.functional as functional
from torch import Tensor, nn

from designkit.models._layers import ClassEmbedding, Composition, Conv, FourierTime, ResidualConv

if TYPE_CHECKING:
    from designkit.models.cnn import CNNDenoiser


class CNNDenoiserNet(nn.Module):
    """Stem, residual dilated convolutions, position-wise head.

    Args:
        settings: sizes.
        states: number of noisy tokens V.
        size: number of letters K.
        classes: number of classes.
    """

    def __init__(self, settings: CNNDenoiser, states: int, size: int, classes: int = 0):
        super().__init__()
        width = settings.channels
        self.stem = Conv(states, width, settings.kernel)
        self.positions = nn.Embedding(settings.positions, width) if settings.positions else None
        self.composition = Composition(size, width) if settings.composition else None
        self.time = FourierTime(width) if settings.time_conditioned else None
        self.classes = ClassEmbedding(classes, width) if classes else None
        self.layers = nn.ModuleList(
            ResidualConv(width, settings.kernel, dilation, settings.dropout)
            for dilation in settings.dilations
            for _ in range(settings.repeats)
        )
        self.norm = nn.LayerNorm(width)
        self.hidden = nn.Linear(width, width)
        self.head = nn.Linear(width, size)

    def forward(
        self,
        x_t: Tensor,
        t: Tensor,
        condition: Tensor | None = None,
        valid: Tensor | None = None,
    ) -> Tensor:
        """(B, L, V) noisy one-hots or probabilities and (B,) times to logits (B, L, K).

        ``valid`` (B, L) is 0 at padding; valid positions get the logits of the unpadded sequence.
        """
        present = None if valid is None else valid[..., None].to(x_t.dtype)
        x = functional.relu(self.stem(x_t if present is None else x_t * present), inplace=True)
        if self.positions is not None:
            x = x + self.positions.weight[: x.shape[1]]
        if self.composition is not None:
            x = x + self.composition(x_t, present)
        if self.time is not None:
            x = x + self.time(t)
        if self.classes is not None:
            x = x + self.classes(condition)
        for layer in self.layers:
            x = layer(x, present)
        logits: Tensor = self.head(functional.relu(self.hidden(self.norm(x)), inplace=True))
        return logits
