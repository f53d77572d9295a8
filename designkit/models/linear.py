"""A predictor that is linear in letters at positions and in counts of words: for few measurements.

Dozens of rows are enough for it, where a network learns nothing yet.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from designkit.models.base import PredictorSettings

if TYPE_CHECKING:
    from torch import nn


class LinearPredictor(PredictorSettings):
    """Settings of the linear predictor.

    Attributes:
        longest: of the words that are counted, 1 for letters at positions alone.
        most_words: longer words are left out where there would be more kinds than this.
    """

    longest: int = Field(3, ge=1)
    most_words: int = Field(1000, ge=0)

    def build(self, size: int, outputs: int, length: int) -> nn.Module:
        """The network; see ``PredictorSettings.build``."""
        from designkit.models._linear_net import LinearNet

        return LinearNet(self, size, outputs, length)
