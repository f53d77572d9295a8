"""Denoisers that are rules: nothing is trained, the settings say everything."""

from __future__ import annotations

from abc import abstractmethod

from designkit.models.base import DenoiserSettings, LengthLaw


class RuleSettings(DenoiserSettings):
    """Settings of a denoiser that follows from them alone.

    Its network has one parameter at least, which tells the device it is on.
    """

    @property
    @abstractmethod
    def alphabet(self) -> str:
        """Name of the alphabet that it writes."""

    @property
    @abstractmethod
    def length_law(self) -> LengthLaw:
        """Lengths of its sequences."""
