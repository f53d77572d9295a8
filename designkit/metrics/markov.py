"""Markov models of letter statistics: the naturalness baseline any generator must beat.

A model of order m predicts each letter from the m letters before it; the first letters of a
sequence, which have fewer, are predicted by the models of lower order fitted beside it.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from designkit.errors import InputError
from designkit.sequence_stats import by_length

if TYPE_CHECKING:
    from designkit.sequence_stats import TokenRows, Tokens

PSEUDOCOUNT = 0.5  # Krichevsky-Trofimov: half a letter of each kind seen in every context
PSEUDOCOUNT_GRID = (0.01, 0.1, 0.5, 1.0, 3.0, 10.0, 30.0)


class MarkovModel:
    """Letter frequencies given the ``order`` letters before, smoothed by a pseudocount.

    Args:
        order: letters of context, 0 (composition only) or more.
        size: letters in the alphabet, K; the table holds K^(order + 1) numbers.
    """

    def __init__(self, order: int, size: int):
        if order < 0 or size < 2 or size ** (order + 1) > 10**8:
            raise InputError(f"no Markov model of order {order} over {size} letters")
        self.order = order
        self.size = size
        self.pseudocount = PSEUDOCOUNT
        self._log_tables: list[NDArray[np.float64]] = []

    def fit(
        self,
        tokens: TokenRows,
        *,
        pseudocount: float | None = None,
        valid: TokenRows | None = None,
    ) -> MarkovModel:
        """Count the contexts of the training sequences.

        Args:
            tokens: (N, L) letters, or rows of their own lengths.
            pseudocount: added to every count, above 0; 0.5 when not given and nothing tunes it.
            valid: further sequences; the pseudocount of ``PSEUDOCOUNT_GRID`` under which they
                are most likely is chosen.

        Returns:
            The fitted model itself.

        Raises:
            InputError: both ways to choose the pseudocount, or one that is not above 0.
        """
        if pseudocount is not None and (valid is not None or pseudocount <= 0):
            raise InputError("a Markov model takes a pseudocount above 0 or a validation set")
        counts = [np.zeros(self.size ** (m + 1)) for m in range(self.order + 1)]
        for _, block in by_length(tokens):
            for m, codes in enumerate(self._codes(block)):
                counts[m] += np.bincount(codes.ravel(), minlength=len(counts[m]))
        choices = [pseudocount or PSEUDOCOUNT] if valid is None else PSEUDOCOUNT_GRID
        best = -math.inf
        for choice in choices:
            smoothed = [count.reshape(-1, self.size) + choice for count in counts]
            tables = [np.log(s / s.sum(axis=1, keepdims=True)).reshape(-1) for s in smoothed]
            trial = MarkovModel(self.order, self.size)
            trial._log_tables = tables
            likelihood = math.inf if valid is None else float(trial.log_likelihood(valid).sum())
            if likelihood > best:
                best, self.pseudocount, self._log_tables = likelihood, choice, tables
        return self

    def log_likelihood(self, tokens: TokenRows) -> NDArray[np.float64]:
        """Log-probability of each sequence given its length, in nats: (N,), 0 or less.

        Raises:
            InputError: the model has not been fitted.
        """
        if not self._log_tables:
            raise InputError("the Markov model has not been fitted")
        total = np.zeros(len(tokens))
        for rows, block in by_length(tokens):
            for m, codes in enumerate(self._codes(block)):
                # Lower orders speak only for the letter that has exactly m letters before it.
                used = codes if m == self.order else codes[:, :1]
                total[rows] += self._log_tables[m][used].sum(axis=1)
        return total

    def bits_per_letter(self, tokens: TokenRows) -> float:
        """Mean cost of a letter in bits: log2 K for uniform letters, lower is more predictable."""
        letters = sum(block.size for _, block in by_length(tokens))
        if letters == 0:
            return float("nan")
        return float(-self.log_likelihood(tokens).sum() / letters / math.log(2))

    def _codes(self, block: Tokens) -> list[NDArray[np.int64]]:
        """For m = 0 to order, the (m + 1)-mers of (N, L) tokens as numbers: (N, L - m)."""
        length = block.shape[1]
        codes = [np.asarray(block, dtype=np.int64)]
        for m in range(1, self.order + 1):
            codes.append(codes[-1][:, : max(0, length - m)] * self.size + block[:, m:])
        return codes
