"""Convolutions followed by a bidirectional gated recurrent unit: a predictor.

The arrangement of the 5'UTR reward networks of Li et al. 2024 (SVDD, arXiv 2408.08252):
convolutions read motifs, the recurrent layer reads their order and distance.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from designkit.models._predictor_settings import BodySettings

if TYPE_CHECKING:
    from torch import nn


class ConvGRUPredictor(BodySettings):
    """Settings of the convolutional-recurrent predictor.

    Attributes:
        hidden: units of the recurrent layer in each direction.
    """

    hidden: int = Field(64, ge=1)

    def build(self, size: int, outputs: int, length: int) -> nn.Module:
        """The network; see ``PredictorSettings.build``."""
        from designkit.models._predictor_net import PredictorNet

        return PredictorNet(self, size, outputs, length // self.pool, recurrent=self.hidden)
