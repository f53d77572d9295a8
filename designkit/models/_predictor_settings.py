"""Settings that the predictor networks share."""

from __future__ import annotations

from pydantic import Field

from designkit.models.base import PredictorSettings, Taps


class BodySettings(PredictorSettings):
    """Stem, residual convolutions and head of a predictor.

    Attributes:
        channels: width of the convolutions.
        stem: taps of the first convolution, odd.
        kernel: taps of the residual convolutions, odd.
        dilations: one residual layer each.
        pool: positions merged into one, by their maximum, after the first residual layer.
        slots: learned position profiles that the head sees beside the mean and the maximum over
            positions; 0 makes the predictor independent of absolute position.
        head: width of the hidden layer of the head.
        dropout: in the residual layers.
        head_dropout: in the head.
    """

    channels: int = Field(96, ge=1)
    stem: Taps = 9
    kernel: Taps = 5
    dilations: tuple[int, ...] = (1, 2, 4)
    pool: int = Field(1, ge=1)
    slots: int = Field(8, ge=0)
    head: int = Field(128, ge=1)
    dropout: float = Field(0.1, ge=0, lt=1)
    head_dropout: float = Field(0.2, ge=0, lt=1)
