"""Counter-based noise: a number depends on what it is for, never on what was drawn before.

A number is addressed by (seed, purpose, round, item, step, candidate, position). The same design
therefore gets the same noise in any batch, on any shard, and after any resume, and nothing has to
be saved or restored. The generator is Philox-4x32-10 (Salmon et al. 2011, "Parallel random numbers:
as easy as 1, 2, 3"), written in operations on integers, so CPU and CUDA give the same bits.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    import torch
    from numpy.typing import NDArray
    from torch import Tensor

_WORD = 0xFFFFFFFF
_MULTIPLIERS = (0xD2511F53, 0xCD9E8D57)
_WEYL = (0x9E3779B9, 0xBB67AE85)
_ROUNDS = 10

MAX_SEED = _WORD


def philox(
    counter: tuple[Tensor, Tensor, Tensor, Tensor], key: tuple[int, int]
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Philox-4x32-10: four 32-bit words from a 128-bit counter and a 64-bit key.

    Args:
        counter: four int64 tensors of values in [0, 2**32), broadcastable to one shape.
        key: two integers in [0, 2**32).

    Returns:
        Four int64 tensors of values in [0, 2**32).
    """
    c0, c1, c2, c3 = counter
    k0, k1 = key
    for _ in range(_ROUNDS):
        # int64 products wrap modulo 2**64; shift and mask read their unsigned halves.
        product_0 = c0 * _MULTIPLIERS[0]
        product_1 = c2 * _MULTIPLIERS[1]
        c0, c1, c2, c3 = (
            ((product_1 >> 32) & _WORD) ^ c1 ^ k0,
            product_1 & _WORD,
            ((product_0 >> 32) & _WORD) ^ c3 ^ k1,
            product_0 & _WORD,
        )
        k0 = (k0 + _WEYL[0]) & _WORD
        k1 = (k1 + _WEYL[1]) & _WORD
    return c0, c1, c2, c3


def _philox_words(
    counter: Sequence[NDArray[np.int64]], key: tuple[int, int]
) -> tuple[NDArray[np.uint64], NDArray[np.uint64]]:
    """``philox`` in as few array operations as can be: words 0 and 2, and 1 and 3, (2, ...)."""
    import numpy as np

    shape = np.broadcast_shapes(*(words.shape for words in counter))
    even, odd = np.empty((2, *shape), dtype=np.uint64), np.empty((2, *shape), dtype=np.uint64)
    even[0], odd[0], even[1], odd[1] = counter
    column = (2, *(1 for _ in shape))
    factors = np.array(_MULTIPLIERS, dtype=np.uint64).reshape(column)
    for number in range(_ROUNDS):
        keys = [(k + number * step) & _WORD for k, step in zip(key, _WEYL, strict=True)]
        products = even * factors
        even = (products >> np.uint64(32))[::-1] ^ odd
        even ^= np.array(keys, dtype=np.uint64).reshape(column)
        products &= np.uint64(_WORD)
        odd = products[::-1]
    return even, odd


@dataclass(frozen=True)
class Noise:
    """The noise of a batch of items.

    Args:
        seed: 0 to 2**32 - 1.
        item: (B,) int64 index of each row's design (or training example); what a row's noise
            depends on instead of its place in the batch.
        step: denoising step, optimizer update or round: an integer, or (B,) int64.
        candidate: which of an item's candidates each row is: an integer, or (B,) int64.
        round: of a refinement; 0 for what is drawn once.
    """

    seed: int
    item: Tensor
    step: int | Tensor = 0
    candidate: int | Tensor = 0
    round: int = 0

    def at(self, step: int | Tensor) -> Noise:
        """The same items at another step."""
        return replace(self, step=step)

    def in_round(self, round: int) -> Noise:
        """The same items in another round."""
        return replace(self, round=round)

    def anew(self, attempt: int) -> Noise:
        """Other noise of the same items, for designs that are drawn again.

        Args:
            attempt: 0 for the noise as it is, to 255; items are below 2**32.
        """
        return replace(self, item=self.item + (attempt << 32))

    def rows(self, index: Tensor) -> Noise:
        """The noise of some rows, given by index or boolean mask."""
        step = self.step if isinstance(self.step, int) else self.step[index]
        candidate = self.candidate if isinstance(self.candidate, int) else self.candidate[index]
        return Noise(self.seed, self.item[index], step, candidate, self.round)

    def repeat(self, candidates: int) -> Noise:
        """Each row ``candidates`` times in a row, numbered as that item's candidates 0, 1, ...

        Candidates of a candidate c are numbered on from c * candidates.

        Returns:
            The noise of B * candidates rows.
        """
        import torch

        count = self.item.shape[0]
        number = torch.arange(candidates, device=self.item.device).repeat(count)
        if isinstance(self.candidate, int):
            number = number + self.candidate * candidates
        else:
            number = number + self.candidate.repeat_interleave(candidates) * candidates
        step = self.step if isinstance(self.step, int) else self.step.repeat_interleave(candidates)
        return replace(
            self, item=self.item.repeat_interleave(candidates), step=step, candidate=number
        )

    def uniform(
        self,
        purpose: str,
        positions: int | Tensor | None = None,
        candidates: int | None = None,
    ) -> Tensor:
        """Uniform numbers in (0, 1), float64, with 52 random bits each.

        Args:
            purpose: what the numbers are for; different purposes are independent.
            positions: their number L, or (B, L) int64 positions to draw for.
            candidates: their number M: adds an axis, counted on from each row's own candidate.

        Returns:
            (B,), (B, L), (B, M) or (B, M, L).
        """
        named = f"{purpose}@{self.round}" if self.round else purpose
        key = (self.seed & _WORD, zlib.crc32(named.encode()))
        is_cpu = self.item.device.type == "cpu"
        draw = self._uniform_on_cpu if is_cpu else self._uniform_on_device
        return draw(key, positions, candidates)

    def _uniform_on_device(
        self, key: tuple[int, int], positions: int | Tensor | None, candidates: int | None
    ) -> Tensor:
        """``uniform`` in tensor operations."""
        import numpy as np
        import torch

        item, device = self.item, self.item.device
        step = torch.as_tensor(self.step, device=device).expand_as(item)
        candidate = torch.as_tensor(self.candidate, device=device).expand_as(item)
        position = torch.zeros((), dtype=torch.int64, device=device)
        if candidates is not None:
            item, step = item[:, None], step[:, None]
            candidate = candidate[:, None] + torch.arange(candidates, device=device)
        if positions is not None:
            item, step, candidate = item[..., None], step[..., None], candidate[..., None]
            if isinstance(positions, int):
                position = torch.arange(positions, device=device)
            else:
                position = positions if candidates is None else positions[:, None]
        # Not torch.broadcast_shapes: its first call imports sympy, for most of a second.
        shapes = (item.shape, step.shape, candidate.shape, position.shape)
        shape = np.broadcast_shapes(*(tuple(one) for one in shapes))
        counter = (
            item & _WORD,
            (step & 0xFFFFFF) | (((item >> 32) & 0xFF) << 24),
            candidate,
            position,
        )
        high, low, _, _ = philox(counter, key)
        # 52 bits and a half: exact in float64, and neither 0 nor 1.
        bits = (((high << 32) | low) >> 12) & ((1 << 52) - 1)
        return ((bits.to(torch.float64) + 0.5) * 2.0**-52).expand(shape)

    def _uniform_on_cpu(
        self, key: tuple[int, int], positions: int | Tensor | None, candidates: int | None
    ) -> Tensor:
        """``uniform`` with array operations, which cost less where there are few numbers."""
        import numpy as np
        import torch

        item, step, candidate = (
            one if isinstance(one, int) else one.numpy()
            for one in (self.item, self.step, self.candidate)
        )
        item, step, candidate = np.asarray(item), np.asarray(step), np.asarray(candidate)
        position: NDArray[np.int64] = np.zeros((), dtype=np.int64)
        if candidates is not None:
            item, step = item[:, None], step[..., None]
            candidate = candidate[..., None] + np.arange(candidates)
        if positions is not None:
            item, step, candidate = item[..., None], step[..., None], candidate[..., None]
            if isinstance(positions, int):
                position = np.arange(positions)
            else:
                position = positions.numpy()
                position = position if candidates is None else position[:, None]
        high_bits = ((item >> 32) & 0xFF) << 24
        counter = item & _WORD, (step & 0xFFFFFF) | high_bits, candidate, position
        even, odd = _philox_words(counter, key)
        # 52 bits and a half: exact in float64, and neither 0 nor 1.
        bits = (even[0] << np.uint64(20)) | (odd[0] >> np.uint64(12))
        return torch.from_numpy((bits.view(np.int64) + 0.5) * 2.0**-52)


def noise_for(
    seed: int, count: int, *, start: int = 0, device: torch.device | str = "cpu"
) -> Noise:
    """The noise of ``count`` consecutive items, the first being ``start``."""
    import torch

    return Noise(seed, torch.arange(start, start + count, device=device))
