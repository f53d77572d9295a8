"""The network of ``transformer``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
import torch.nn.functional as functional
from torch import Tensor, nn

from designkit.models._layers import ClassEmbedding, FourierTime

if TYPE_CHECKING:
    from designkit.models.transformer import TransformerDenoiser

ROTARY_BASE = 10_000.0


def rotate(x: Tensor) -> Tensor:
    """Rotate pairs of channels of (B, heads, L, D) by angles proportional to the position."""
    length, depth = x.shape[-2:]
    half = depth // 2
    exponent = torch.arange(half, device=x.device) / half
    angle = torch.arange(length, device=x.device)[:, None] * ROTARY_BASE**-exponent  # (L, D / 2)
    cos, sin = angle.cos().to(x.dtype), angle.sin().to(x.dtype)
    first, second = x[..., :half], x[..., half:]
    return torch.cat([first * cos - second * sin, first * sin + second * cos], dim=-1)


class Block(nn.Module):
    """x + attention(norm(x)), then x + feed_forward(norm(x))."""

    def __init__(self, settings: TransformerDenoiser):
        super().__init__()
        width = settings.channels
        self.heads = settings.heads
        self.norm_attention = nn.LayerNorm(width)
        self.query_key_value = nn.Linear(width, 3 * width, bias=False)
        self.out = nn.Linear(width, width, bias=False)
        self.norm_feed_forward = nn.LayerNorm(width)
        self.expand = nn.Linear(width, settings.expansion * width)
        self.contract = nn.Linear(settings.expansion * width, width)
        self.dropout = nn.Dropout(settings.dropout)

    def forward(self, x: Tensor, attended: Tensor | None) -> Tensor:
        """(B, L, C) to (B, L, C); ``attended`` (B, 1, 1, L) is False at padding."""
        query_key_value = self.query_key_value(self.norm_attention(x))
        query, key, value = query_key_value.unflatten(-1, (3, self.heads, -1)).permute(
            2, 0, 3, 1, 4
        )
        mixed = functional.scaled_dot_product_attention(rotate(query), rotate(key), value, attended)
        x = x + self.dropout(self.out(mixed.transpose(1, 2).flatten(2)))
        hidden = functional.gelu(self.expand(self.norm_feed_forward(x)))
        out: Tensor = x + self.dropout(self.contract(hidden))
        return out


class TransformerDenoiserNet(nn.Module):
    """Linear embedding, blocks, position-wise head.

    Args:
        settings: sizes.
        states: number of noisy tokens V.
        size: number of letters K.
        classes: number of classes.
    """

    def __init__(self, settings: TransformerDenoiser, states: int, size: int, classes: int = 0):
        super().__init__()
        self.embed = nn.Linear(states, settings.channels, bias=False)
        self.time = FourierTime(settings.channels) if settings.time_conditioned else None
        self.classes = ClassEmbedding(classes, settings.channels) if classes else None
        self.blocks = nn.ModuleList(Block(settings) for _ in range(settings.layers))
        self.norm = nn.LayerNorm(settings.channels)
        self.head = nn.Linear(settings.channels, size)

    def forward(
        self,
        x_t: Tensor,
        t: Tensor,
        condition: Tensor | None = None,
        valid: Tensor | None = None,
    ) -> Tensor:
        """(B, L, V) noisy one-hots or probabilities and (B,) times to logits (B, L, K).

        ``valid`` (B, L) is False at padding, which is not attended to.
        """
        attended = None if valid is None else valid.bool()[:, None, None]
        x = self.embed(x_t)
        if self.time is not None:
            x = x + self.time(t)
        if self.classes is not None:
            x = x + self.classes(condition)
        for block in self.blocks:
            x = block(x, attended)
        logits: Tensor = self.head(self.norm(x))
        return logits
