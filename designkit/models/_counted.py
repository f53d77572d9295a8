"""Denoisers that are counted: what they know of their training sequences are frequencies."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable
from typing import TYPE_CHECKING

from designkit.models.base import DenoiserSettings

if TYPE_CHECKING:
    from torch import Tensor


class CountedSettings(DenoiserSettings):
    """Settings of a denoiser without an optimizer; it works with masked noise alone."""

    @abstractmethod
    def counted(self, rows: Iterable[tuple[Tensor, Tensor]], size: int) -> dict[str, Tensor]:
        """The weights of the network.

        Args:
            rows: training sequences, (N, L) int64 tokens of one length at a time, and how much
                each counts, (N,).
            size: number of letters K.
        """
