"""How children differ from their parents before they are decoded."""

from __future__ import annotations

from typing import TYPE_CHECKING

from designkit.algorithms.refinement._archive import NOTHING

if TYPE_CHECKING:
    from torch import Tensor

    from designkit.algorithms.refinement._archive import Population
    from designkit.algorithms.refinement.base import Brief
    from designkit.diffusion.base import X0Function
    from designkit.models.base import DiffusionModel
    from designkit.randomness import Noise


def changeable_of(members: Population, brief: Brief) -> Tensor:
    """Positions (N, W) bool of members that may change."""
    import torch

    inside = torch.arange(members.tokens.shape[1]) < members.lengths[:, None]
    for length in members.lengths.unique().tolist():
        free = brief.changeable(length)
        if free is not None:
            rows = members.lengths == length
            inside[rows, :length] &= free
    return inside


def with_partners(model: DiffusionModel, chosen: Tensor, changeable: Tensor) -> Tensor:
    """Positions (N, W) bool, and those that the prior wants drawn anew together with them."""
    partners: Tensor | None = getattr(model.denoiser, "partners", None)
    if partners is None or len(partners) != chosen.shape[1]:
        return chosen
    return (chosen | chosen[:, partners.to(chosen.device)]) & changeable


def crossed(
    parents: Population, partners: Population, changeable: Tensor, noise: Noise
) -> tuple[Tensor, Tensor]:
    """Parents with a stretch of their partners.

    Args:
        parents: N.
        partners: N of the same lengths.
        changeable: (N, W) bool; other positions stay the parent's.
        noise: of the N children.

    Returns:
        Tokens (N, W), and the cuts (N, 2), each before that position; a cut at an end is none,
        and far away.
    """
    import torch

    width = changeable.shape[1]
    uniform = noise.uniform("cuts", 2)
    cuts = (uniform * (parents.lengths + 1)[:, None]).long().sort(1).values
    places = torch.arange(width)
    inside = (places >= cuts[:, :1]) & (places < cuts[:, 1:]) & changeable
    other = partners.tokens[:, :width]
    is_end = (cuts == 0) | (cuts == parents.lengths[:, None])
    return other.where(inside, parents.tokens), cuts.where(~is_end, -width)


def resized(
    tokens: Tensor, lengths: Tensor, chosen: Tensor, change: Tensor, joint: int, noise: Noise
) -> tuple[Tensor, Tensor, Tensor]:
    """Sequences with a letter more or less at a random place.

    Args:
        tokens: (N, W), -1 beyond the end.
        lengths: (N,).
        chosen: (N, W) bool, the positions to be drawn anew of rows that do not change.
        change: (N,) int64: 1 puts a letter in, -1 takes one out, 0 leaves a row as it is.
        joint: the letter that is put in is drawn, and in any case joint - 1 on each side.
        noise: of the N children.

    Returns:
        Tokens (N, W + 1), lengths (N,) and chosen positions (N, W + 1).
    """
    import torch

    pad = torch.nn.functional.pad
    more, less = (change > 0)[:, None], (change < 0)[:, None]
    places = torch.arange(tokens.shape[1] + 1)
    place = (noise.uniform("resize") * (lengths + (change > 0))).long()[:, None]
    source = places - (more & (places > place)).long() + (less & (places >= place)).long()
    wider = pad(tokens, (0, 2), value=NOTHING).gather(1, source)
    after = lengths + change
    inside = places < after[:, None]
    around = (places > place - joint) & (places < place + joint) & inside
    beside = (places > place - joint) & (places < place + joint - 1) & inside
    own = around.where(more, beside).where(more | less, pad(chosen, (0, 1)))
    return wider.where(inside, NOTHING), after, own


def shifted(
    tokens: Tensor, lengths: Tensor, changeable: Tensor, joint: int, noise: Noise
) -> tuple[Tensor, Tensor, Tensor]:
    """Sequences in which a random stretch has moved by one place.

    One letter is taken out and one put in elsewhere; what is between the two moves.

    Args:
        tokens: (N, W), -1 beyond the end.
        lengths: (N,).
        changeable: (N, W) bool; other positions stay as they are.
        joint: the letters at both places are drawn, and joint - 1 on each side of them.
        noise: of the N children.

    Returns:
        Tokens (N, W), the positions (N, W) to be drawn anew, and of these the one (N, W) that has
        taken the place of the letter taken out.
    """
    import torch

    uniform = noise.uniform("shift", 2)
    out = (uniform[:, 0] * lengths).long()
    into = (out + 1 + (uniform[:, 1] * (lengths - 1)).long()) % lengths
    out, into = out[:, None], into[:, None]
    places = torch.arange(tokens.shape[1])
    between = (places >= out.minimum(into)) & (places <= out.maximum(into)) & (places != into)
    source = places + between.long() * (into - out).sign()
    moved = tokens.gather(1, source).where(changeable, tokens)
    drawn = ((places - out).abs() < joint) | ((places - into).abs() < joint)
    drawn &= changeable
    return moved, drawn, drawn & (places == out) & ((places - into).abs() >= joint)


def well_placed(
    predict: X0Function, mask: int, tokens: Tensor, lengths: Tensor, hidden: Tensor, noise: Noise
) -> Tensor:
    """Positions whose letters may stay where they have come to lie.

    A letter of probability p stays with probability K p, at most 1: always where it is as likely
    as one of K letters is on average, never where it cannot be.

    Args:
        predict: the guess that children are drawn from; one denoiser row a child.
        mask: its token.
        tokens: (N, W), -1 beyond the end.
        lengths: (N,).
        hidden: (N, W) bool, the positions that are asked about, and others that are not known yet.
        noise: of the N children.

    Returns:
        (N, W) bool; where nothing is hidden it says nothing.
    """
    import torch

    stays = torch.zeros_like(hidden)
    uniform = noise.uniform("stay", hidden.shape[1])
    for length in lengths.unique().tolist():
        rows = (lengths == length).nonzero().squeeze(1)
        own, asked = tokens[rows, :length], hidden[rows, :length]
        with torch.inference_mode():
            probs = predict(own.where(~asked, mask), asked.float().mean(1)).cpu().double()
        found = probs.gather(2, own[..., None]).squeeze(2) * probs.shape[2]
        stays[rows, :length] = uniform[rows, :length] < found
    return stays


def least_likely(
    model: DiffusionModel, members: Population, among: Tensor, count: Tensor, noise: Noise
) -> Tensor:
    """Those of some positions whose letters the prior would rather not have there.

    Of the positions in question ``count`` are drawn without repetition, in proportion to one minus
    the probability of their letter given all other positions.

    Args:
        model: the prior; one denoiser row a member.
        members: N.
        among: (N, W) bool.
        count: (N,).
        noise: of the N children.

    Returns:
        (N, W) bool.
    """
    import torch

    doubt = torch.zeros(among.shape, dtype=torch.float64)
    for length in members.lengths.unique().tolist():
        rows = (members.lengths == length).nonzero().squeeze(1)
        tokens = members.tokens[rows, :length]
        x_t = tokens.where(~among[rows, :length], model.alphabet.mask).to(model.device)
        time = among[rows, :length].float().mean(1).to(model.device)
        with torch.inference_mode():
            probs = model.predict_x_0(x_t, time).cpu().double()
        own = probs.gather(2, tokens[..., None]).squeeze(2)
        doubt[rows, :length] = (1 - own).clamp(min=1e-12)
    gumbel = -(-noise.uniform("doubt", among.shape[1]).log()).log()
    keys = (doubt.log() + gumbel).masked_fill(~among, -torch.inf)
    return (keys.argsort(1, descending=True).argsort(1) < count[:, None]) & among
