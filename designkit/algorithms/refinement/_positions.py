"""Which positions of a sequence are drawn anew."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

    from designkit.randomness import Noise


def between(noise: Noise, purpose: str, most: Tensor) -> Tensor:
    """Whole numbers from 1 to ``most`` (N,), small ones as likely as large ones of a scale.

    The logarithm is nearly uniform: as many rows change 1 or 2 positions as 10 to 20.
    """
    import torch

    spread = torch.log1p(most.double().clamp(min=1))
    drawn = (noise.uniform(purpose) * spread).exp().floor().long()
    return drawn.clamp(min=1).minimum(most)


def scattered(noise: Noise, changeable: Tensor, count: Tensor) -> Tensor:
    """Random positions.

    Args:
        noise: of the N rows.
        changeable: (N, W) bool, where they may be.
        count: (N,) how many; fewer where fewer may change.

    Returns:
        (N, W) bool.
    """
    keys = noise.uniform("positions", changeable.shape[1]).where(changeable, 2.0)
    return (keys.argsort(1).argsort(1) < count[:, None]) & changeable


def run(noise: Noise, changeable: Tensor, count: Tensor) -> Tensor:
    """Neighbouring positions, those between them that may not change left out.

    Arguments and result are those of ``scattered``.
    """
    place = changeable.long().cumsum(1) - 1
    starts = (changeable.sum(1) - count).clamp(min=0) + 1
    start = (noise.uniform("span") * starts).long()
    inside = (place >= start[:, None]) & (place < (start + count)[:, None])
    return inside & changeable


def near(cuts: Tensor, width: int, changeable: Tensor) -> Tensor:
    """Positions at most ``width`` away from cuts.

    Args:
        cuts: (N, C) a cut c lies between the positions c - 1 and c.
        width: positions on each side.
        changeable: (N, W) bool, where they may be.

    Returns:
        (N, W) bool.
    """
    import torch

    places = torch.arange(changeable.shape[1])[None, :, None]
    close = (places >= cuts[:, None] - width) & (places < cuts[:, None] + width)
    return close.any(2) & changeable


def within_edits(
    noise: Noise, tokens: Tensor, roots: Tensor, chosen: Tensor, most: Tensor
) -> tuple[Tensor, Tensor]:
    """Sequences that stay within ``most`` changes of their roots, whatever is drawn.

    Where too many positions are chosen, or changed already, random ones of the chosen are kept as
    they are, and random ones of the changed go back to the letter of the root.

    Args:
        noise: of the N rows.
        tokens: (N, W).
        roots: (N, W) of the same lengths; rows of -1 where positions cannot be compared.
        chosen: (N, W) bool, to be drawn anew.
        most: changes of a row; (N,), at least 0 where positions can be compared.

    Returns:
        Tokens (N, W) and chosen positions (N, W).
    """
    chosen = scattered(noise, chosen, most)
    changed = (tokens != roots) & ~chosen & (roots >= 0)
    surplus = changed.sum(1) + chosen.sum(1) - most
    keys = noise.uniform("revert", tokens.shape[1]).where(changed, 2.0)
    reverted = (keys.argsort(1).argsort(1) < surplus[:, None]) & changed
    return roots.where(reverted, tokens), chosen
