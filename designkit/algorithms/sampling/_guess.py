"""What the decode loop does with the denoiser's guess before anything is drawn from it."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


def shaped(probs: Tensor, temperature: float, top_p: float) -> Tensor:
    """Probabilities (N, L, K) to the power 1 / temperature, without improbable letters.

    Args:
        probs: rows sum to 1.
        temperature: above 0; 1 leaves them as they are.
        top_p: letters outside the smallest set of at least this probability get none.
    """
    if temperature != 1:
        probs = (probs.double().log() / temperature).softmax(-1).to(probs.dtype)
    if top_p < 1:
        ranked, order = probs.sort(dim=-1, descending=True, stable=True)
        before = ranked.cumsum(-1) - ranked
        outside = (before >= top_p).scatter(-1, order, before >= top_p)
        probs = probs.masked_fill(outside, 0)
        probs = probs / probs.sum(-1, keepdim=True)
    return probs
