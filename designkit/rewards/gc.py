"""GC content: the share of G and C, or how close it is to a wanted window."""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

from pydantic import Field, model_validator

from designkit.errors import RewardError
from designkit.rewards.base import Output, Reward, RewardInfo, Scores
from designkit.settings import Settings

if TYPE_CHECKING:
    from torch import Tensor

    from designkit.alphabet import Alphabet


class GCSettings(Settings):
    """The wanted window; without one the reward is the GC fraction itself.

    Args:
        low: smallest wanted fraction, 0 to 1; 0 where only ``high`` is given.
        high: largest wanted fraction, 0 to 1; 1 where only ``low`` is given.
    """

    low: float | None = Field(default=None, ge=0, le=1)
    high: float | None = Field(default=None, ge=0, le=1)

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.low is not None and self.high is not None and self.low > self.high:
            raise ValueError(f"low={self.low:g} is above high={self.high:g}")
        return self


class GC(Reward):
    """GC fraction f, or with a window ``1 - (distance of f from the window)``: 1 inside it."""

    template = RewardInfo(
        name="gc",
        alphabets=("dna", "rna"),
        outputs=(Output("gc", unit="fraction", range=(0, 1)),),
        differentiable=True,
        citation="Marmur and Doty 1962, J Mol Biol 5:109",
    )
    settings_type = GCSettings
    settings: GCSettings

    def __init__(self, **parameters: object):
        super().__init__(**parameters)
        self._windowed = self.settings.low is not None or self.settings.high is not None
        self._low = 0.0 if self.settings.low is None else self.settings.low
        self._high = 1.0 if self.settings.high is None else self.settings.high
        self._tokens: list[int] | None = None

    def bind(self, alphabet: Alphabet) -> None:
        """Note which tokens are G and C."""
        super().bind(alphabet)
        self._tokens = [alphabet.index["G"], alphabet.index["C"]]

    def score(self, sequences: list[str]) -> Scores:
        """(N, 1); an empty sequence has no GC fraction."""
        import numpy as np

        lengths = np.array([len(sequence) for sequence in sequences], dtype=np.float64)
        counts = np.array([s.count("G") + s.count("C") for s in sequences], dtype=np.float64)
        lengths[lengths == 0] = np.nan
        values = counts / lengths
        if self._windowed:
            below, above = np.maximum(self._low - values, 0), np.maximum(values - self._high, 0)
            values = 1 - below - above
        errors = [None if sequence else "empty sequence" for sequence in sequences]
        return Scores(values[:, None], errors)

    def score_relaxed(self, probs: Tensor, valid: Tensor | None = None) -> Tensor:
        """Expected GC fraction, or its closeness to the window: (B, L, K) to (B,)."""
        if self._tokens is None:
            raise RewardError("reward 'gc': bind an alphabet before scoring probabilities")
        share = probs[..., self._tokens].sum(-1)  # (B, L)
        if valid is None:
            value = share.mean(1)
        else:
            value = (share * valid).sum(1) / valid.sum(1)
        if self._windowed:
            value = 1 - (self._low - value).clamp(min=0) - (value - self._high).clamp(min=0)
        return value
