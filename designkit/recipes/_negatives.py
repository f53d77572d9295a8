"""Sequences that a lazy predictor loves, mixed into its training with a ceiling but no label."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from designkit.metrics.shuffles import shuffle_dinucleotides
from designkit.randomness import Noise

if TYPE_CHECKING:
    from torch import Tensor

    from designkit.models.base import Predictor
    from designkit.recipes._training_data import TrainingData
    from designkit.recipes.pretrain_settings import AdversarialSettings

LONGEST_UNIT = 6
"""Letters in the unit of a tandem repeat at most."""

REPEATS, TRUNCATED = 0.5, 0.75
"""Where the shares of the kinds end: repeats, then truncated designs, then shuffled ones."""


class Negatives:
    """Negatives of a training run, made anew for every update from counter-based noise.

    Half of them are tandem repeats with units of 1 (homopolymers) to 6 letters. A quarter are
    truncated: the first or last part of a training sequence, the rest filled with a repeat or,
    where the law of lengths allows, left out in half of the cases. A quarter are
    dinucleotide-shuffled copies of the best training sequences.

    Args:
        data: all rows.
        labels: (N, outputs) standardised labels, NaN where not measured.
        predictor: its outputs, letters and lengths.
        settings: share and ceilings.
    """

    def __init__(
        self,
        data: TrainingData,
        labels: Tensor,
        predictor: Predictor,
        settings: AdversarialSettings,
    ):
        self._share = settings.share
        self._weight = settings.weight
        self._data = data
        self._signs = torch.tensor(
            [-1.0 if one["direction"] == "minimize" else 1.0 for one in predictor.outputs]
        )
        self._size = predictor.alphabet.size
        self._shortest = predictor.length_law.minimum
        rows = data.rows("train")
        better = labels[rows] * self._signs
        # The ceilings of repeats and truncated designs, and of shuffled ones: (outputs,) each.
        self._ceiling, self._shuffled_ceiling = (
            better.nanquantile(share, 0) for share in (settings.ceiling, settings.shuffled_ceiling)
        )
        merit = better.nanmean(1)
        self._best = rows[merit >= merit.quantile(settings.shuffled_ceiling)]

    def extended(self, noise: Noise) -> Noise:
        """The noise of B examples and, as their candidate 1, of the negatives after them."""
        count = max(1, round(self._share * len(noise.item)))
        first = torch.arange(len(noise.item) + count, device=noise.item.device) % len(noise.item)
        candidate = (torch.arange(len(first), device=first.device) >= len(noise.item)).long()
        return Noise(noise.seed, noise.item[first], noise.step, candidate)

    def draw(self, chosen: Tensor, noise: Noise) -> tuple[Tensor, Tensor, Tensor]:
        """Negatives for n examples of a batch.

        Args:
            chosen: (n,) training rows, on the CPU; some of them are truncated.
            noise: of the n examples, on the CPU.

        Returns:
            Tokens (n, longest), 0 at padding, lengths (n,), and ceilings (n, outputs) of
            sign * standardised label.
        """
        kind = noise.uniform("adversarial-kind")
        shuffled = kind >= TRUNCATED
        best = (noise.uniform("adversarial-parent") * len(self._best)).long()
        parents = torch.where(shuffled, self._best[best], chosen)
        tokens, lengths = self._data.tokens[parents], self._data.lengths[parents]
        places = torch.arange(tokens.shape[1])
        # Truncated: the kept part is a quarter to three quarters, at the left or at the right.
        part = 0.25 + 0.5 * noise.uniform("adversarial-part")
        kept = (part * lengths).long()[:, None]
        at_left = (noise.uniform("adversarial-side") < 0.5)[:, None]
        is_kept = torch.where(at_left, places < kept, places >= lengths[:, None] - kept)
        is_kept &= (kind >= REPEATS)[:, None]
        tokens = torch.where(is_kept | shuffled[:, None], tokens, self._repeats(noise, len(places)))
        is_cut = (kind >= REPEATS) & ~shuffled & (noise.uniform("adversarial-cut") < 0.5)
        is_cut &= kept[:, 0] >= self._shortest
        start = torch.where(is_cut & ~at_left[:, 0], lengths - kept[:, 0], 0)
        tokens = tokens.gather(1, (places + start[:, None]).clamp(max=len(places) - 1))
        lengths = torch.where(is_cut, kept[:, 0], lengths)
        for length in lengths[shuffled].unique().tolist():
            rows = (shuffled & (lengths == length)).nonzero()[:, 0]
            copies = shuffle_dinucleotides(
                tokens[rows, :length].numpy(), self._size, noise.rows(rows)
            )
            tokens[rows, :length] = torch.from_numpy(copies)
        tokens = tokens * (places < lengths[:, None])
        ceiling = torch.where(shuffled[:, None], self._shuffled_ceiling, self._ceiling)
        return tokens, lengths, ceiling

    def _repeats(self, noise: Noise, length: int) -> Tensor:
        """Tandem repeats (n, length), units of every length equally often."""
        unit = (LONGEST_UNIT * noise.uniform("adversarial-unit")).long() + 1
        letters = (noise.uniform("adversarial-letter", LONGEST_UNIT) * self._size).long()
        return letters.gather(1, torch.arange(length) % unit[:, None])

    def excess(self, predicted: Tensor, ceiling: Tensor) -> Tensor:
        """Weighted one-sided squared error (n,) of predictions (n, outputs) above the ceilings."""
        above = (predicted * self._signs.to(predicted.device) - ceiling.to(predicted.device)).relu()
        return self._weight * (above**2).mean(1)
