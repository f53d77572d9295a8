"""Populations of weighted particles, as sequential Monte Carlo needs them."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

    from designkit.randomness import Noise


class Particles:
    """The weights of P populations of N particles while they are decoded.

    A particle's weight since the last resampling is exp(its potential now minus that of its
    ancestor then); what resampling averages away goes into the normaliser. Whatever the potentials
    of the steps between, the last one is reward / temperature, so that the product of the mean
    weights is an unbiased estimate of E[exp(reward / temperature)] under the model (Del Moral 2004,
    "Feynman-Kac formulae", sec. 7.4).

    Args:
        noise: of the P * N rows; population by population.
        size: N.

    Attributes:
        log_normalizer: (P,) float64, log of the estimate so far.
    """

    def __init__(self, noise: Noise, size: int):
        import torch

        self._noise = noise
        self._shape = (len(noise.item) // size, size)
        zeros = torch.zeros(self._shape, dtype=torch.float64, device=noise.item.device)
        self._value, self._potential, self._log_weight = zeros, zeros.clone(), zeros.clone()
        self.log_normalizer = zeros[:, 0].clone()

    def advance(
        self, gained: Tensor, value: Tensor, temperature: float, rows: Tensor, *, last: bool
    ) -> None:
        """Weigh particles that moved; their potential is value / temperature.

        Args:
            gained: (A,) log of the mean of exp(potential) over what each may have become.
            value: (A,) of what it became; -inf for "no score". Until the last step that counts as
                the lowest value of the population, as nothing is wrong with the particle yet.
            temperature: of this step.
            rows: (A,) which of the P * N particles moved.
            last: whether what they became is final.
        """
        if not last:
            known = self._value.view(-1).index_copy(0, rows, value).view(self._shape)
            lowest = known.masked_fill(known.isneginf(), math.inf).amin(1, keepdim=True)
            lowest = lowest.masked_fill(lowest.isinf(), 0.0).expand(self._shape).reshape(-1)[rows]
            gained = gained.where(~gained.isneginf(), lowest / temperature)
            value = value.where(~value.isneginf(), lowest)
        self._log_weight.view(-1)[rows] += gained - self._potential.view(-1)[rows]
        self._value.view(-1)[rows] = value
        self._potential.view(-1)[rows] = value / temperature

    def resample(self, step: int, temperature: float, threshold: float) -> Tensor:
        """Resample populations whose effective size is below ``threshold`` times N.

        Systematic resampling: one uniform number a population, each particle's offspring at most
        one away from its expectation (Kitagawa 1996, J Comput Graph Stat 5:1).

        Args:
            step: of the noise.
            temperature: of this step, for the particles that did not move in it too.
            threshold: 0 to 1; above 1 resamples always.

        Returns:
            (P * N,) int64, the particle that goes on in each place.
        """
        import torch

        populations, size = self._shape
        potential = self._value / temperature
        # A particle that ended has -inf in both, and its weight says so already.
        self._log_weight += (potential - self._potential).nan_to_num(0.0)
        best = self._log_weight.amax(1, keepdim=True)
        # No particle has a score: all are as good.
        weights = (self._log_weight - best).exp().nan_to_num(1.0)
        share = weights / weights.sum(1, keepdim=True)
        needed = 1 / share.square().sum(1, keepdim=True) < threshold * size  # (P, 1)
        uniform = self._noise.at(step).uniform("resample").view(self._shape)[:, :1]
        places = torch.arange(size, device=share.device)
        points = (places + uniform) / size
        ladder = share.cumsum(1)
        chosen = torch.searchsorted(ladder / ladder[:, -1:], points).clamp(max=size - 1)
        chosen = torch.where(needed, chosen, places)
        mean = best.squeeze(1) + weights.mean(1).log()
        self.log_normalizer += torch.where(needed.squeeze(1), mean, torch.zeros_like(mean))
        self._value = self._value.gather(1, chosen)
        self._potential = potential.gather(1, chosen)
        self._log_weight = self._log_weight.masked_fill(needed, 0.0)
        first = torch.arange(populations, device=share.device)[:, None] * size
        return (first + chosen).view(-1)


def tempered(temperature: float, tempering: float, step: int, steps: int) -> float:
    """Temperature of a step: ``tempering`` times as high at first, and from half way as it is."""
    done = min(1.0, 2 * (step + 1) / steps)
    return float(temperature * tempering ** (1 - done))


def log_mean(potentials: Tensor) -> Tensor:
    """Log of the mean of exp over M children, (A, M) to (A,)."""
    return potentials.logsumexp(1) - math.log(potentials.shape[1])
