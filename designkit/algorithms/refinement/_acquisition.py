"""What a measurement of a sequence is worth, by what an ensemble predicts of it.

SEIKO asks where prediction plus uncertainty is high, or where a random member of the ensemble
expects much (Uehara et al. 2024, arXiv 2402.16359, section 5).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from designkit.errors import RewardError

if TYPE_CHECKING:
    from torch import Tensor

    from designkit.models.base import Predictor
    from designkit.rewards import Scored


@dataclass(frozen=True)
class Acquisition:
    """Scores sequences by sign * mean + beta * std, or by sign * one member.

    Columns beside it are ``mean`` and ``std``, the calibrated standard deviation of the error,
    both in units of the label.

    Attributes:
        predictor: an ensemble, whose first output counts.
        sign: 1 where more is better, -1 where less is.
        beta: what a standard deviation is worth.
        member: the one that is asked; None for all and their uncertainty.
    """

    predictor: Predictor
    sign: int = 1
    beta: float = 1.0
    member: int | None = None

    def score(self, sequences: Sequence[str], *, monitors: bool = True) -> Scored:
        """What N sequences get, in their order."""
        import numpy as np
        import torch

        from designkit.rewards import Scored

        alphabet, device = self.predictor.alphabet, self.predictor.device
        lengths = [len(alphabet.split(sequence)) for sequence in sequences]
        values = np.zeros((len(sequences), 3))
        for length in sorted(set(lengths)):
            rows = [row for row, own in enumerate(lengths) if own == length]
            tokens = torch.from_numpy(alphabet.encode([sequences[row] for row in rows]))
            predicted = self.predictor.predict(tokens.to(device))
            values[rows] = self.of(predicted).numpy()
        return Scored(
            columns={"mean": values[:, 1], "std": values[:, 2]},
            reward=values[:, 0],
            reasons=[None] * len(sequences),
            feasible=np.ones(len(sequences), dtype=bool),
        )

    def of(self, predicted: Tensor) -> Tensor:
        """Acquisition, mean and standard deviation (N, 3) of (N, members, outputs) predictions."""
        import torch

        std = self.predictor.uncertainty(predicted)[:, 0]
        members = predicted[:, :, 0].cpu().double()
        mean = members.mean(1)
        worth = self.sign * mean + self.beta * std
        if self.member is not None:
            worth = self.sign * members[:, self.member]
        return torch.stack([worth, mean, std], dim=1)

    def score_relaxed(self, probs: Tensor, valid: Tensor | None = None) -> Tensor:
        """Refused: there is no relaxed acquisition.

        Raises:
            RewardError: always.
        """
        raise RewardError("an acquisition is not differentiable: choose another method")

    def slopes(self, tokens: Tensor) -> Tensor:
        """Refused, as ``score_relaxed`` is."""
        return self.score_relaxed(tokens)


class NothingKnown:
    """Scores all sequences alike: before the first measurement."""

    def score(self, sequences: Sequence[str], *, monitors: bool = True) -> Scored:
        """0 for each of N sequences."""
        import numpy as np

        from designkit.rewards import Scored

        count = len(sequences)
        unknown = np.full(count, np.nan)
        columns = {"mean": unknown, "std": unknown}
        return Scored(columns, np.zeros(count), [None] * count, np.ones(count, dtype=bool))

    def score_relaxed(self, probs: Tensor, valid: Tensor | None = None) -> Tensor:
        """Refused: nothing has a gradient.

        Raises:
            RewardError: always.
        """
        raise RewardError("before the first measurement nothing is differentiable")

    def slopes(self, tokens: Tensor) -> Tensor:
        """Refused, as ``score_relaxed`` is."""
        return self.score_relaxed(tokens)
