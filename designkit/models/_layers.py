"""Layers shared by the networks; activations are (B, L, channels) in memory."""

from __future__ import annotations

import torch
import torch.nn.functional as functional
from torch import Tensor, nn


class Conv(nn.Module):
    """Same-length dilated convolution of (B, L, C) activations.

    It runs as a channels-last 2-D convolution of height 1, which avoids the transposed copies that
    a 1-D convolution makes around every normalisation, and leaves out taps that would reach only
    the padding of this length. Both are exact.

    Args:
        channels_in: C of the input.
        channels_out: C of the output.
        kernel: odd number of taps.
        dilation: distance between taps.
    """

    def __init__(self, channels_in: int, channels_out: int, kernel: int, dilation: int = 1):
        super().__init__()
        conv = nn.Conv1d(channels_in, channels_out, kernel)
        self.weight = conv.weight  # (C_out, C_in, kernel)
        self.bias = conv.bias
        self.dilation = dilation
        self._packed: tuple[tuple[int, ...], Tensor] = ((), self.weight)

    def forward(self, x: Tensor) -> Tensor:
        """(B, L, C_in) to (B, L, C_out)."""
        half = self.weight.shape[2] // 2
        reach = min(half, (x.shape[1] - 1) // self.dilation)
        y = functional.conv2d(
            x.transpose(1, 2).unsqueeze(2),
            self._weight(half - reach, half + reach + 1),
            self.bias,
            padding=(0, reach * self.dilation),
            dilation=(1, self.dilation),
        )
        out: Tensor = y.squeeze(2).transpose(1, 2)
        return out

    def _weight(self, start: int, stop: int) -> Tensor:
        """Taps in the memory order of the convolution; kept for inference until they change."""
        weight = self.weight
        if torch.is_grad_enabled() or weight.is_inference():
            return _channels_last(weight[:, :, start:stop])
        key = (start, stop, weight.data_ptr(), weight._version)
        known, packed = self._packed
        if known != key:
            packed = _channels_last(weight[:, :, start:stop])
            self._packed = key, packed
        return packed


def _channels_last(weight: Tensor) -> Tensor:
    """(C_out, C_in, taps) as a 2-D kernel of height 1, in the memory order of its activations."""
    return weight.unsqueeze(2).contiguous(memory_format=torch.channels_last)


class ResidualConv(nn.Module):
    """x + dropout(relu(conv(norm(x)))), the residual layer of the reference DNA networks."""

    def __init__(self, channels: int, kernel: int, dilation: int, dropout: float):
        super().__init__()
        self.norm = nn.LayerNorm(channels)
        self.conv = Conv(channels, channels, kernel, dilation)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, valid: Tensor | None = None) -> Tensor:
        """(B, L, C) to (B, L, C); ``valid`` (B, L, 1) hides padding from its neighbours."""
        normed = self.norm(x) if valid is None else self.norm(x) * valid
        y: Tensor = self.dropout(functional.relu(self.conv(normed), inplace=True))
        if torch.is_grad_enabled() or y.dtype != x.dtype:
            return x + y
        return y.add_(x)


class Composition(nn.Module):
    """Embeds what is known of the whole sequence: letter shares and the share of masked positions.

    Convolutions see a window; where most of it is masked, the composition of all visible letters is
    the best guide. Shares are shrunk towards uniform by one pseudocount a letter.

    Args:
        size: number of letters K.
        channels: width of the embedding.
    """

    def __init__(self, size: int, channels: int):
        super().__init__()
        self.size = size
        self.dense = nn.Sequential(
            nn.Linear(size + 1, channels), nn.GELU(), nn.Linear(channels, channels)
        )

    def forward(self, x_t: Tensor, valid: Tensor | None) -> Tensor:
        """(B, L, V) noisy one-hots or probabilities to (B, 1, channels)."""
        letters = x_t[..., : self.size] if valid is None else x_t[..., : self.size] * valid
        counts = letters.sum(1)
        visible = counts.sum(1, keepdim=True)
        length = x_t.shape[1] if valid is None else valid.sum(1)
        shares = self.size * (counts + 1) / (visible + self.size) - 1
        features: Tensor = self.dense(torch.cat([shares, visible / length], dim=1))
        return features[:, None]


class ClassEmbedding(nn.Module):
    """A vector for each class and for the null class, the last: (B,) int64 to (B, 1, channels).

    It starts at 0, so that training starts from the unconditional network.
    """

    def __init__(self, classes: int, channels: int):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(classes + 1, channels))

    def forward(self, condition: Tensor | None) -> Tensor:
        """Vectors of the classes; None is the null class, (1, 1, channels)."""
        if condition is None:
            return self.weight[-1:, None]
        return self.weight[condition][:, None]


class FourierTime(nn.Module):
    """Random Fourier features of the time and a dense layer: (B,) to (B, 1, channels).

    Args:
        channels: width of the embedding.
        scale: standard deviation of the frequencies, in periods over the whole time. What a
            denoiser should know changes slowly with the time; high frequencies hide that.
    """

    def __init__(self, channels: int, scale: float = 2.0):
        super().__init__()
        self.register_buffer("frequencies", torch.randn(channels // 2) * scale)
        self.dense = nn.Linear(2 * (channels // 2), channels)

    def forward(self, t: Tensor) -> Tensor:
        """Embed times in [0, 1]."""
        angle = t[:, None] * self.frequencies * (2 * torch.pi)  # type: ignore[operator]
        features = torch.cat([angle.sin(), angle.cos()], dim=-1)
        return functional.relu(self.dense(features))[:, None]
