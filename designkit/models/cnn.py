"""Dilated residual convolutional networks: a denoiser and a predictor.

The denoiser with its default settings has the sizes of the reference ``dnaconv`` (Wang et al. 2024,
"Fine-tuning discrete diffusion models via reward optimization", DRAKES): a stem of 9 taps and 20
residual layers of 128 channels, dilations 1, 1, 4, 16, 64, four of each.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from designkit.models._predictor_settings import BodySettings
from designkit.models.base import DenoiserSettings, Taps

if TYPE_CHECKING:
    from torch import nn


class CNNDenoiser(DenoiserSettings):
    """Settings of the convolutional denoiser.

    Attributes:
        channels: width.
        kernel: taps of every convolution, odd.
        dilations: of the residual layers, in order of depth.
        repeats: layers of each dilation.
        dropout: share of activations dropped in training.
        positions: 0, or the longest sequence to give each position a learned embedding for.
        composition: show every position the letter composition of all visible positions.
    """

    channels: int = Field(128, ge=4)
    kernel: Taps = 9
    dilations: tuple[int, ...] = (1, 1, 4, 16, 64)
    repeats: int = Field(4, ge=1)
    dropout: float = Field(0.0, ge=0, lt=1)
    positions: int = Field(0, ge=0)
    composition: bool = False

    def build(self, states: int, size: int, classes: int = 0) -> nn.Module:
        """The network; see ``DenoiserSettings.build``."""
        from designkit.models._cnn_net import CNNDenoiserNet

        return CNNDenoiserNet(self, states, size, classes)


class CNNPredictor(BodySettings):
    """Settings of the convolutional predictor: residual convolutions, then a positional head."""

    def build(self, size: int, outputs: int, length: int) -> nn.Module:
        """The network; see ``PredictorSettings.build``."""
        from designkit.models._predictor_net import PredictorNet

        return PredictorNet(self, size, outputs, length // self.pool)
