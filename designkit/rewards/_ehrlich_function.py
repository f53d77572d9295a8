"""Ehrlich functions: random motifs, spacings and banned transitions, drawn from one seed.

Stanton et al. 2024, arXiv 2407.00236. The parameters are drawn in the order and by the generators
of the authors' implementation (pytorch-holo 0.0.5), so that a seed means the same function.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from designkit.errors import RewardError

if TYPE_CHECKING:
    import numpy as np
    import torch
    from numpy.typing import NDArray
    from torch import Tensor

_BAND = 0.4  # share of the alphabet on either side of a state's band of allowed next letters
_TEMPERATURE = 0.5  # of the softmax that makes transition probabilities


@dataclass(frozen=True)
class EhrlichFunction:
    """One function over sequences of L letters out of K.

    Args:
        allowed: (K, K) whether letter b may follow letter a; a letter may always follow itself.
        motifs: (c, k) letters of each motif.
        offsets: (c, k) their places behind the motif's first letter.
        length: L.
    """

    allowed: NDArray[np.bool_]
    motifs: NDArray[np.int64]
    offsets: NDArray[np.int64]
    length: int

    def feasible(self, tokens: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Whether (N, L) tokens hold no banned transition: (N,)."""
        import numpy as np

        return np.asarray(self.allowed[tokens[:, :-1], tokens[:, 1:]].all(axis=1))

    def elements_present(self, tokens: NDArray[np.int64]) -> NDArray[np.int64]:
        """Most elements of each motif found at one place of (N, L) tokens: (N, c), 0 to k."""
        import numpy as np

        small = tokens.astype(np.uint8)  # alphabets have at most 250 letters
        best = np.empty((len(tokens), len(self.motifs)), dtype=np.int64)
        for number, (motif, offsets) in enumerate(zip(self.motifs, self.offsets, strict=True)):
            sites = self.length - int(offsets[-1])
            present = np.zeros((len(tokens), sites), dtype=np.uint8)
            for letter, offset in zip(motif.tolist(), offsets.tolist(), strict=True):
                present += small[:, offset : offset + sites] == letter
            best[:, number] = present.max(axis=1)
        return best

    def optimum(self) -> NDArray[np.int64]:
        """(L,) tokens of value 1: the motifs one behind the other, gaps filled by repeats."""
        import numpy as np

        tokens = np.empty(self.length, dtype=np.int64)
        start = 0
        for motif, offsets in zip(self.motifs, self.offsets, strict=True):
            for letter, offset in zip(motif, offsets, strict=True):
                tokens[start + offset :] = letter
            start += int(offsets[-1]) + 1
        return tokens


def draw_function(
    size: int, length: int, num_motifs: int, motif_length: int, seed: int
) -> EhrlichFunction:
    """The function of a seed.

    Args:
        size: letters of the alphabet, K.
        length: letters of a sequence, L, at least ``num_motifs * motif_length``.
        num_motifs: c, at least 1.
        motif_length: k, at least 2.
        seed: of all draws.

    Raises:
        RewardError: the transitions drawn do not lead from every letter to every other.
    """
    import torch

    generator = torch.Generator().manual_seed(seed)
    transitions = _draw_transitions(size, generator)
    allowed = (transitions > 0).numpy()
    if not _connected(allowed):
        raise RewardError(
            f"reward 'ehrlich': with seed {seed} and {size} letters, some letters never lead to "
            "some others; choose another seed"
        )
    # One walk gives all motifs, so that a feasible sequence can hold them one behind the other.
    state = torch.multinomial(_stationary(transitions), 1, replacement=True, generator=generator)
    walk = [state]
    for _ in range(num_motifs * motif_length - 1):
        walk.append(torch.multinomial(transitions[walk[-1]], 1, generator=generator)[0])
    slack = (length - num_motifs * motif_length) // num_motifs
    offsets = torch.zeros(num_motifs, motif_length, dtype=torch.int64)
    for row in offsets:
        weights = torch.rand(motif_length - 1, generator=generator)
        row[1:] = (1 + (slack * (weights / weights.sum())).floor().long()).cumsum(0)
    motifs = torch.cat(walk).view(num_motifs, motif_length)
    return EhrlichFunction(allowed, motifs.numpy(), offsets.numpy(), length)


def draw_feasible(
    size: int, length: int, seed: int, count: int, draw_seed: int = 0
) -> NDArray[np.int64]:
    """Walks of the chain that decides what is feasible, from its stationary law.

    They know nothing of the function but which transitions are banned, and how likely the others
    are.

    Args:
        size: letters of the alphabet, K.
        length: letters of a walk, L.
        seed: of the function.
        count: how many.
        draw_seed: of the walks.

    Returns:
        (count, L) tokens.
    """
    import torch

    transitions = _draw_transitions(size, torch.Generator().manual_seed(seed))
    generator = torch.Generator().manual_seed(draw_seed)
    walks = [torch.multinomial(_stationary(transitions), count, True, generator=generator)]
    for _ in range(length - 1):
        step = torch.multinomial(transitions[walks[-1]], 1, generator=generator)
        walks.append(step.squeeze(1))
    return torch.stack(walks, dim=1).numpy()


def _draw_transitions(size: int, generator: torch.Generator) -> Tensor:
    """(K, K) probabilities of the next letter; those outside a row's band are 0."""
    import torch

    logits = torch.randn(size, size, generator=generator) / _TEMPERATURE
    centres = torch.randperm(size, generator=generator)
    apart = (torch.arange(size) - centres[:, None]) % size
    banned = torch.minimum(apart, size - apart) > int(size * _BAND)
    banned.fill_diagonal_(False)
    weights = logits.softmax(-1).masked_fill(banned, 0)
    return weights / weights.sum(-1, keepdim=True)


def _connected(allowed: NDArray[np.bool_]) -> bool:
    """Whether every letter leads to every other; with repeats, the walk is then ergodic."""
    import numpy as np

    reached = allowed
    for _ in range(len(allowed).bit_length()):
        reached = np.asarray(reached @ reached)
    return bool(reached.all())


def _stationary(transitions: Tensor) -> Tensor:
    """(K,) the law that the walk leaves as it is: p P = p, sum of p = 1."""
    import torch

    size = len(transitions)
    equations = torch.eye(size, dtype=torch.float64) - transitions.double().T
    equations[-1] = 1  # the equations of p P = p are linearly dependent: one is free
    right = torch.zeros(size, dtype=torch.float64)
    right[-1] = 1
    law: Tensor = torch.linalg.solve(equations, right)
    return law.to(transitions.dtype)
