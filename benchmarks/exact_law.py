"""The exact law of a masked-diffusion sampler that reveals one position a step, by enumeration.

With ``steps`` = L and ``decoding=blocks`` a sampler reveals the positions in a uniformly random
order, one at a time. The probability of being in a half-masked state, that of every finished
sequence, and the expected exp(reward / temperature) from every state then follow from the
denoiser's guesses at all (K + 1)^L states by dynamic programming over the number of masks. Nothing
is assumed of the guesses: conditionals of no common law are as good.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from designkit.models.base import DiffusionModel, one_hot

Array = NDArray[np.float64]

ROWS = 1024
"""States of a denoiser call: what fits the cache matters here, not that of a design's batch."""


def all_words(size: int, length: int) -> Tensor:
    """(size^L, L) int64, every sequence of ``size`` letters, ordered like numbers."""
    return torch.cartesian_prod(*[torch.arange(size)] * length).reshape(-1, length)


def places(tokens: Tensor, size: int) -> Tensor:
    """(N,) place of (N, L) tokens among ``all_words(size, L)``."""
    return (tokens * size ** torch.arange(tokens.shape[1] - 1, -1, -1)).sum(1)


def denoiser_logits(model: DiffusionModel, length: int) -> Tensor:
    """(V^L, L, K) float32 logits of every noisy sequence; the mask is token K = V - 1.

    Raises:
        ValueError: a denoiser whose guess depends on the time.
    """
    if model.time_conditioned:
        raise ValueError("the guess of a time-conditioned denoiser is not a function of the state")
    states = model.process.states
    with torch.inference_mode():
        parts = [
            model.denoiser(one_hot(x_t, states), torch.ones(len(x_t)))
            for x_t in all_words(states, length).split(ROWS)
        ]
    return torch.cat(parts).float()


class ExactLaw:
    """What a sampler's guesses imply.

    Args:
        probs: (V^L, L, K) p(x_0^l = k | x_t), read only where l is masked in x_t.
    """

    def __init__(self, probs: Array):
        states, self.length, self.size = probs.shape
        self._shape = (self.size + 1,) * self.length
        if states != np.prod(self._shape):
            raise ValueError(f"{states} states are not {self.size + 1}^{self.length}")
        every = np.asarray(probs, dtype=np.float64).reshape(*self._shape, self.length, self.size)
        # Of the states in which position l is masked: the law of the letter revealed there.
        self._letters = [
            every.take(self.size, axis=place)[..., place, :] for place in range(self.length)
        ]
        self._masked = (np.indices(self._shape) == self.size).sum(0)
        self.prior = self._clean(self.reach(self._letters))

    def reach(self, letters: Sequence[Array]) -> Array:
        """Probability (V, ..., V) that a sampler with these letter laws passes through a state."""
        reached = np.zeros(self._shape)
        reached[(self.size,) * self.length] = 1
        for masked in range(self.length, 0, -1):
            leaving = np.where(self._masked == masked, reached, 0) / masked
            for place, law in enumerate(letters):
                arriving = np.moveaxis(reached, place, -1)[..., : self.size]
                arriving += leaving.take(self.size, axis=place)[..., None] * law
        return reached

    def tilted(self, rewards: Array, temperature: float) -> Array:
        """(K^L,) prior * exp(reward / temperature), normalised."""
        weights = self.prior * np.exp((rewards - rewards.max()) / temperature)
        return np.asarray(weights / weights.sum())

    def soft_values(self, rewards: Array, temperature: float) -> Array:
        """(V^L,) temperature * log E[exp(reward(x_0) / temperature) | x_t], in reward units.

        The expectation is over the order of the positions that are left, too.
        """
        expected = np.zeros(self._shape)
        finished = (slice(self.size),) * self.length
        weights = np.exp((rewards - rewards.max()) / temperature)
        expected[finished] = weights.reshape((self.size,) * self.length)
        for masked in range(1, self.length + 1):
            total = np.zeros(self._shape)
            for place, law in enumerate(self._letters):
                children = np.moveaxis(expected, place, -1)[..., : self.size]
                np.moveaxis(total, place, -1)[..., self.size] += (children * law).sum(-1)
            expected = np.where(self._masked == masked, total / masked, expected)
        return np.asarray(rewards.max() + temperature * np.log(expected)).ravel()

    def guided(self, values: Array, temperature: float) -> Array:
        """Law (K^L,) of SVDD with these values and infinitely many candidates.

        Args:
            values: (V^L,) of every state.
            temperature: of the choice among children; 0 takes the best.
        """
        every = values.reshape(self._shape)
        tilted = []
        for place, law in enumerate(self._letters):
            children = np.moveaxis(every, place, -1)[..., : self.size]
            children = np.where(law > 0, children, -np.inf)
            gain = children - children.max(-1, keepdims=True)
            factor = np.exp(gain / temperature) if temperature else (gain == 0).astype(float)
            weights = law * factor
            tilted.append(weights / weights.sum(-1, keepdims=True))
        return self._clean(self.reach(tilted))

    def marginals(self, law: Array) -> Array:
        """(L, K) letter frequencies at each position under a law over clean sequences."""
        every = law.reshape((self.size,) * self.length)
        places_of = range(self.length)
        return np.stack([every.sum(tuple(p for p in places_of if p != at)) for at in places_of])

    def _clean(self, reached: Array) -> Array:
        return np.ascontiguousarray(reached[(slice(self.size),) * self.length]).ravel()


def marginal_divergence(observed: Array, exact: Array) -> float:
    """Sum over positions of KL(observed || exact) in nats, of (L, K) letter frequencies."""
    ratio = np.where(observed > 0, observed, 1) / np.where(observed > 0, exact, 1)
    return float((observed * np.log(ratio)).sum())
