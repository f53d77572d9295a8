"""How likely the prior finds sequences, with a derivative by each letter."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

    from designkit.algorithms.refinement._archive import Archive, Population
    from designkit.models.base import DiffusionModel
    from designkit.randomness import Noise

JUDGED_BY = 8
"""Noisy versions of a design that its likelihood is estimated from."""

_REMEMBERED = "judged", "log_likelihood"

LEAST_LOG_PROB = -20.0
"""Log-probability of letters that the prior never writes; no lower ones are told apart."""


def hidden_positions(noise: Noise, samples: int, length: int) -> Tensor:
    """Random positions to hide of each sample, (M, samples, L) bool.

    Their number is uniform from 1 to L, and stratified over the samples of a member.

    Args:
        noise: of the M members.
        samples: of each.
        length: L.
    """
    import torch

    place = torch.arange(samples, device=noise.item.device)
    share = (noise.uniform("hide-count")[:, None] + place) / samples
    count = (share * length).long() + 1
    rank = noise.uniform("hide", length, samples).argsort(-1).argsort(-1)
    return rank < count[..., None]


def relaxed_log_likelihood(model: DiffusionModel, probs: Tensor, hidden: Tensor) -> Tensor:
    """Estimate of log p of relaxed sequences, (N,) in nats; autograd.

    The bound of Sahoo et al. 2024, arXiv 2406.07524, over random orders is
    sum_k (1/k) E_{|M|=k} sum_{l in M} log p(x^l | x outside M), and log p(x) itself where the
    prior's conditionals are those of one law. This is L times one term of it, whose mean over M,
    |M| uniform from 1 to L, is the sum. It is linear in the letters that are hidden: these are
    weighed by their probabilities. Those that are not hidden are shown to the prior as they are.

    Args:
        model: the prior, of masked noise.
        probs: (N, L, K); one-hots give the estimate of sequences.
        hidden: (N, L) bool, M, not empty.
    """
    import torch

    masked = hidden[..., None].to(probs)
    x_t = torch.cat([probs * (1 - masked), masked], dim=-1)
    count = hidden.sum(1)
    time = model.process.time_of(1 - count.double() / hidden.shape[1]).float()
    log_probs = model.logits(x_t, time).log_softmax(-1).clamp(min=LEAST_LOG_PROB)
    return (probs * log_probs * masked).sum((1, 2)) * hidden.shape[1] / count


def natural_slopes(model: DiffusionModel, tokens: Tensor, hidden: Tensor) -> Tensor:
    """Derivatives (N, L, K) of the estimate by the letters of sequences (N, L).

    Args:
        model: the prior, of masked noise.
        tokens: (N, L).
        hidden: (N, L) bool, not empty.
    """
    import torch

    with torch.enable_grad():
        probs = torch.nn.functional.one_hot(tokens, model.alphabet.size).float().requires_grad_()
        total = relaxed_log_likelihood(model, probs, hidden).sum()
        (slopes,) = torch.autograd.grad(total, probs)
    return slopes


class Likelihoods:
    """Log-likelihoods of designs; those that the last round asked for are in its memory.

    Args:
        model: the prior.
        archive: of the run.
        before: the population that the round before left.
    """

    def __init__(self, model: DiffusionModel, archive: Archive, before: Population):
        self._model, self._archive = model, archive
        known = (before.memory[name].tolist() for name in _REMEMBERED if name in before.memory)
        self._before: dict[int, float] = dict(zip(*known, strict=True))
        self._known: dict[int, float] = {}

    def of(self, numbers: Sequence[int]) -> list[float]:
        """Log p of designs in nats."""
        import torch

        self._known |= {n: self._before[n] for n in numbers if n in self._before}
        new = [number for number in numbers if number not in self._known]
        tokens = [torch.from_numpy(row) for row in self._archive.tokens(new)]
        for length in {len(row) for row in tokens}:
            rows = [place for place, row in enumerate(tokens) if len(row) == length]
            stacked = torch.stack([tokens[place] for place in rows]).to(self._model.device)
            found, _ = self._model.log_likelihood(stacked, JUDGED_BY)
            self._known.update(zip([new[place] for place in rows], found.tolist(), strict=True))
        return [self._known[number] for number in numbers]

    def memory(self) -> dict[str, Tensor]:
        """What was asked for, for the population that the round leaves."""
        import torch

        numbers = torch.tensor(list(self._known), dtype=torch.int64)
        values = torch.tensor(list(self._known.values()), dtype=torch.float64)
        return dict(zip(_REMEMBERED, (numbers, values), strict=True))
