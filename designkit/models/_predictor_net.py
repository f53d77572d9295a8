"""The network of the predictors ``cnn`` and ``conv_gru``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
import torch.nn.functional as functional
from torch import Tensor, nn

from designkit.models._layers import Conv

if TYPE_CHECKING:
    from designkit.models._predictor_settings import BodySettings


class ChannelNorm(nn.BatchNorm1d):
    """Batch normalisation of the channels of (B, L, C)."""

    def forward(self, x: Tensor) -> Tensor:
        """(B, L, C) to (B, L, C)."""
        return super().forward(x.reshape(-1, x.shape[-1])).view(x.shape)


class PreactivationBlock(nn.Module):
    """x + pointwise(dropout(gelu(norm(conv(gelu(norm(x)))))))."""

    def __init__(self, settings: BodySettings, dilation: int):
        super().__init__()
        width = settings.channels
        self.norm_1 = ChannelNorm(width)
        self.conv = Conv(width, width, settings.kernel, dilation)
        self.norm_2 = ChannelNorm(width)
        self.pointwise = Conv(width, width, 1)
        self.dropout = nn.Dropout(settings.dropout)

    def forward(self, x: Tensor) -> Tensor:
        """(B, L, C) to (B, L, C)."""
        y = self.conv(functional.gelu(self.norm_1(x)))
        out: Tensor = x + self.pointwise(self.dropout(functional.gelu(self.norm_2(y))))
        return out


class PredictorNet(nn.Module):
    """Stem, residual convolutions, optional recurrent layer, pooled head.

    The head sees the mean and the maximum over positions, and ``slots`` weighted sums with learned
    position profiles: a low-rank form of a dense layer over all positions.

    Args:
        settings: sizes.
        size: number of letters K.
        outputs: number of labels.
        positions: length of the pooled canvas.
        recurrent: units of the recurrent layer in each direction, 0 for none.
    """

    def __init__(
        self,
        settings: BodySettings,
        size: int,
        outputs: int,
        positions: int,
        recurrent: int = 0,
    ):
        super().__init__()
        width = settings.channels
        self.pool = settings.pool
        self.mean_input = 1 / size
        self.stem = Conv(size, width, settings.stem)
        self.blocks = nn.ModuleList(PreactivationBlock(settings, d) for d in settings.dilations)
        self.norm = ChannelNorm(width)
        self.recurrent = (
            nn.GRU(width, recurrent, batch_first=True, bidirectional=True) if recurrent else None
        )
        features = 2 * recurrent if recurrent else width
        self.slots = (
            nn.Parameter(torch.randn(settings.slots, positions) / positions**0.5)
            if settings.slots
            else None
        )
        pooled = features * (2 + settings.slots)
        self.head = nn.Sequential(
            nn.Dropout(settings.head_dropout),
            nn.Linear(pooled, settings.head),
            nn.GELU(),
            nn.Dropout(settings.head_dropout),
            nn.Linear(settings.head, outputs),
        )

    def forward(self, probs: Tensor) -> Tensor:
        """(B, L, K) one-hots or probabilities to (B, outputs)."""
        x = self.stem(probs - self.mean_input)
        for depth, block in enumerate(self.blocks):
            x = block(x)
            if depth == 0 and self.pool > 1:
                x = functional.max_pool1d(x.transpose(1, 2), self.pool).transpose(1, 2)
        x = functional.gelu(self.norm(x))
        if self.recurrent is not None:
            x = self.recurrent(x)[0]
        pooled = [x.mean(1), x.amax(1)]
        if self.slots is not None:
            pooled.append(torch.einsum("sl,blc->bsc", self.slots, x).flatten(1))
        labels: Tensor = self.head(torch.cat(pooled, dim=1))
        return labels
