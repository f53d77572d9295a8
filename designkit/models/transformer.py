"""Pre-norm transformer with rotary positions: a denoiser.

Rotary embeddings: Su et al. 2021, arXiv 2104.09864. Attention runs through
``scaled_dot_product_attention``, so memory is linear in length where the device has a fused kernel.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

from pydantic import Field, model_validator

from designkit.models.base import DenoiserSettings

if TYPE_CHECKING:
    from torch import nn


class TransformerDenoiser(DenoiserSettings):
    """Settings of the transformer denoiser.

    Attributes:
        channels: width.
        layers: blocks of attention and feed-forward network.
        heads: attention heads; ``channels / heads`` must be even.
        expansion: hidden width of the feed-forward network over ``channels``.
        dropout: share of activations dropped in training.
    """

    channels: int = Field(256, ge=4)
    layers: int = Field(8, ge=1)
    heads: int = Field(8, ge=1)
    expansion: int = Field(4, ge=1)
    dropout: float = Field(0.0, ge=0, lt=1)

    @model_validator(mode="after")
    def _check_heads(self) -> Self:
        if self.channels % (2 * self.heads):
            raise ValueError(
                f"channels ({self.channels}) must be a multiple of 2 x heads ({2 * self.heads})"
            )
        return self

    def build(self, states: int, size: int, classes: int = 0) -> nn.Module:
        """The network; see ``DenoiserSettings.build``."""
        from designkit.models._transformer_net import TransformerDenoiserNet

        return TransformerDenoiserNet(self, states, size, classes)
