"""Ridge regression on k-mer counts and letters at positions: the reward model's yardstick.

A network that does not beat this on held-out families has learnt composition and short words only.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from designkit.errors import InputError
from designkit.metrics.regression import r_squared
from designkit.sequence_stats import by_length, kmer_counts

if TYPE_CHECKING:
    from designkit.sequence_stats import TokenRows

PENALTY_GRID = tuple(10.0**power for power in range(-1, 7))
_ROWS = 2048  # rows whose features are in memory at a time


class RidgeKmer:
    """Closed-form ridge on standardised k-mer counts, with one-hot positions at one length.

    Features are counts of all k-mers, k = 1, 2, ... up to ``longest`` while they fit, after the
    letters at each position where all training sequences have one length (and these fit).

    Args:
        size: letters in the alphabet, K.
        longest: longest k-mer.
        max_features: bound on the columns of the normal equations.
    """

    def __init__(self, size: int, *, longest: int = 5, max_features: int = 4000):
        self.size = size
        self.longest = longest
        self.max_features = max_features
        self.length: int | None = None
        self.orders: tuple[int, ...] = ()
        self.penalty = float("nan")
        self._mean: NDArray[np.float64] = np.zeros(0)
        self._scale: NDArray[np.float64] = np.zeros(0)
        self._weights: NDArray[np.float64] = np.zeros(0)
        self._offset = 0.0

    def fit(
        self,
        tokens: TokenRows,
        y: ArrayLike,
        *,
        valid: tuple[TokenRows, ArrayLike] | None = None,
    ) -> RidgeKmer:
        """Solve the normal equations for every penalty of ``PENALTY_GRID`` and keep the best.

        Args:
            tokens: (N, L) letters, or N rows of their own lengths.
            y: (N,) labels, finite.
            valid: sequences and labels on which R squared chooses the penalty; every tenth
                training row, left out of the fit, when not given.

        Returns:
            The fitted model itself.

        Raises:
            InputError: too few rows, or labels that are missing or do not match the sequences.
        """
        labels = _labels(tokens, y)
        if valid is None:
            held = np.arange(len(labels)) % 10 == 9
            valid = (_take(tokens, held), labels[held])
            tokens, labels = _take(tokens, ~held), labels[~held]
        valid_tokens, valid_labels = valid[0], _labels(valid[0], valid[1])
        self._choose_features(tokens)
        width = (self.length or 0) * self.size + sum(self.size**k for k in self.orders)
        total, cross, squares = np.zeros(width), np.zeros(width), np.zeros((width, width))
        self._offset = float(labels.mean())
        for rows, features in self._features(tokens):
            total += features.sum(axis=0)
            squares += features.T @ features
            cross += features.T @ (labels[rows] - self._offset)
        self._mean = total / len(labels)
        covariance = squares - len(labels) * np.outer(self._mean, self._mean)
        variance = np.diag(covariance) / len(labels)
        self._scale = np.sqrt(np.where(variance > 1e-9, variance, 1.0))
        covariance = covariance / np.outer(self._scale, self._scale)
        fits, explained = [], []
        for penalty in PENALTY_GRID:
            loaded = covariance + penalty * np.eye(len(covariance))
            self._weights = np.linalg.solve(loaded, cross / self._scale).astype(np.float64)
            fits.append(self._weights)
            explained.append(float(r_squared(valid_labels, self.predict(valid_tokens))))
        best = int(np.argmax(np.nan_to_num(explained, nan=-np.inf)))  # constant labels: the first
        self.penalty, self._weights = PENALTY_GRID[best], fits[best]
        return self

    def predict(self, tokens: TokenRows) -> NDArray[np.float64]:
        """Predicted labels (N,) of (N, L) tokens or of rows of their own lengths.

        Raises:
            InputError: not fitted, or a length the position features do not know.
        """
        if len(self._weights) == 0:
            raise InputError("the ridge model has not been fitted")
        predictions = np.empty(len(tokens))
        for rows, features in self._features(tokens):
            standard = (features - self._mean) / self._scale
            predictions[rows] = standard @ self._weights + self._offset
        return predictions

    def _choose_features(self, tokens: TokenRows) -> None:
        lengths = [block.shape[1] for _, block in by_length(tokens)]
        one_length = len(lengths) == 1 and lengths[0] * self.size <= self.max_features
        self.length = lengths[0] if one_length else None
        left = self.max_features - (self.length or 0) * self.size
        counts = np.cumsum([self.size**k for k in range(1, self.longest + 1)])
        self.orders = tuple(range(1, 1 + int((counts <= left).sum())))

    def _features(
        self, tokens: TokenRows
    ) -> Iterator[tuple[NDArray[np.int64], NDArray[np.float64]]]:
        """Row numbers (n,) and features (n, F), a bounded number of rows at a time."""
        for rows, block in by_length(tokens):
            if self.length is not None and block.shape[1] != self.length:
                raise InputError(
                    f"the ridge model was fitted on length {self.length}, got {block.shape[1]}"
                )
            for start in range(0, len(rows), _ROWS):
                part = np.asarray(block[start : start + _ROWS])
                columns = [kmer_counts(part, k, self.size) for k in self.orders]
                if self.length is not None:
                    columns.append(np.eye(self.size, dtype=np.int64)[part].reshape(len(part), -1))
                features = np.concatenate(columns, axis=1).astype(np.float64)
                yield rows[start : start + _ROWS], features


def _labels(tokens: TokenRows, y: ArrayLike) -> NDArray[np.float64]:
    labels = np.asarray(y, dtype=np.float64)
    if labels.shape != (len(tokens),):
        raise InputError(f"{len(tokens)} sequences but labels of shape {labels.shape}")
    if len(labels) < 2 or not np.isfinite(labels).all():
        raise InputError("a ridge fit needs at least two rows on each side and finite labels")
    return labels


def _take(tokens: TokenRows, chosen: NDArray[np.bool_]) -> TokenRows:
    if isinstance(tokens, np.ndarray):
        return tokens[chosen]
    return [tokens[row] for row in np.flatnonzero(chosen).tolist()]
