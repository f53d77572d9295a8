"""Children that are improved by what a stand-in of the reward thinks of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from designkit.algorithms.refinement._archive import Archive, padded
from designkit.algorithms.refinement._drafts import Decoder
from designkit.algorithms.refinement._variation import with_partners

if TYPE_CHECKING:
    from torch import Tensor

    from designkit.randomness import Noise
    from designkit.rewards import StandIn

COMPARED = 256
"""What a stand-in compares each sequence with in a round, at most."""

_BESIDE = 0.35
"""Share of changes beside the position that is to blame."""

_TWO = 0.3
"""Share of changes at two places that are near each other."""

_PLACES = 2
"""Places of a change, at most, each with its partner."""

DRAWS = 128
"""Draws of the prior that tries take their letters from, where its groups are independent."""

_WHOLE = 0.15
"""Share of changes that are of all positions which depend on each other, such as a hairpin's."""

_DRAWN = ("is-blamed", "place", "step", "two", "accept", "draw", "whole")
"""What numbers of a try are drawn for."""


@dataclass(frozen=True)
class Rehearsal(Decoder):
    """Decodes children, and then changes them as long as the stand-in of the reward likes it.

    A try draws one or two places anew, with their partners: mostly those that the stand-in blames.
    It is accepted with probability min(1, exp((v' - v) / T)), v being the stand-in's guess
    (Metropolis et al. 1953, doi 10.1063/1.1699114). T falls evenly, so that a child ends where the
    stand-in likes it best (Kirkpatrick et al. 1983, doi 10.1126/science.220.4598.671). Without a
    stand-in there are no tries.

    Attributes:
        archive: of the run.
        tries: changes of each child, see ``tries_of``.
        temperature: of the first try, in units of the reward.
        cooled: the share of it that is left at the last try.
        blamed: share of the changes that are where the stand-in blames.
        draws: see ``independent_draws``; where there are none the prior is asked in every try.
    """

    archive: Archive
    tries: int | None
    temperature: float
    cooled: float
    blamed: float
    draws: Tensor | None = None

    def children(self, given: Tensor, lineages: Tensor, noise: Noise) -> Tensor:
        """See ``Decoder.children``."""
        tokens = super().children(given, lineages, noise)
        found = self.archive.ledger.stand_in()
        if found is None:
            return tokens

        stand_in = found.near(tokens.numpy(), COMPARED)
        changeable = self._changeable(tokens)
        roots = self._roots(lineages, tokens)
        values, blame = _judged(stand_in, tokens)
        # Numbers of all tries at once: drawing them one by one would take half of the time.
        cpu = replace(noise, item=noise.item.cpu())
        tries = tries_of(self.tries, tokens.shape[1])
        drawn = {name: cpu.uniform(name, tries) for name in _DRAWN}
        for number in range(tries):
            uniform = {name: numbers[:, number] for name, numbers in drawn.items()}
            chosen = self._places(blame, changeable, uniform)
            if self.draws is None:
                own = replace(noise, candidate=number + 1)
                tried = self.tokens(
                    tokens.where(~chosen, -1), own, most=self._most(tokens.shape[1])
                )
            else:
                row = (uniform["draw"] * len(self.draws)).long()
                tried = self.draws[row].where(chosen, tokens)
            after, blame_after = _judged(stand_in, tried)
            heat = self.temperature * (1 - (1 - self.cooled) * number / max(1, tries - 1))
            accepted = after - values >= heat * uniform["accept"].log()
            if self.brief.most_edits is not None:
                edits = ((tried != roots) & (roots >= 0)).sum(1)
                accepted &= edits <= self.brief.most_edits
            tokens = tried.where(accepted[:, None], tokens)
            values = after.where(accepted, values)
            blame = blame_after.where(accepted[:, None], blame)
        return tokens

    def _changeable(self, tokens: Tensor) -> Tensor:
        """Positions (B, L) bool that may change."""
        import torch

        positions = self.brief.changeable(tokens.shape[1])
        if positions is None:
            return torch.ones_like(tokens, dtype=torch.bool)
        return positions.cpu().expand_as(tokens)

    def _roots(self, lineages: Tensor, tokens: Tensor) -> Tensor:
        """First sequences (B, L) of lineages (B,), -1 where there is none of this length."""
        import torch

        known = [self.archive.roots[lineage] for lineage in lineages.tolist()]
        found = torch.full_like(tokens, -1)
        rows = [row for row, root in enumerate(known) if root is not None]
        if rows:
            letters, lengths = padded([str(known[row]) for row in rows], self.model.alphabet)
            fits = lengths == tokens.shape[1]
            found[torch.tensor(rows)[fits]] = letters[fits, : tokens.shape[1]]
        return found

    def _places(self, blame: Tensor, changeable: Tensor, uniform: Mapping[str, Tensor]) -> Tensor:
        """Positions (B, L) bool that a try draws anew."""
        import torch

        length, even = changeable.shape[1], changeable.double()
        blame = blame * even
        is_blamed = (uniform["is-blamed"] < self.blamed) & (blame.sum(1) > 0)
        weights = blame.where(is_blamed[:, None], even)
        total = weights.cumsum(1)
        first = torch.searchsorted(total, uniform["place"][:, None] * total[:, -1:])
        first = first.clamp(max=length - 1)
        chosen = torch.zeros_like(changeable).scatter(1, first, value=True)
        step = torch.tensor([-2, -1, 1, 2])[(4 * uniform["step"]).long()][:, None]
        second = (first + step).clamp(min=0, max=length - 1)
        has_two = uniform["two"] < _TWO
        chosen |= chosen.scatter(1, second, value=True) & has_two[:, None]
        groups = self._groups(length)
        if groups is not None:
            is_whole = (uniform["whole"] < _WHOLE)[:, None]
            chosen |= (groups == groups[first]) & is_whole
        return with_partners(self.model, chosen & changeable, changeable)

    def _groups(self, length: int) -> Tensor | None:
        """Numbers (L,) of what positions belong to; None where the prior has no groups."""
        found: Tensor | None = getattr(self.model.denoiser, "groups", None)
        return None if found is None or len(found) != length else found.cpu()

    def _most(self, length: int) -> int:
        """Positions of a try, at most."""
        groups = self._groups(length)
        largest = 1 if groups is None else int(groups.bincount().max())
        return min(length, max(2 * _PLACES, largest + 2))


def independent_draws(decoder: Decoder, noise: Noise) -> Tensor | None:
    """Draws (D, L) of a prior whose positions are independent but for those of a group.

    Then what is drawn anew at some of them is what any draw has there. None where the prior is
    another, or where not all letters are free.

    Args:
        decoder: of children.
        noise: of the seed.
    """
    import torch

    groups: Tensor | None = getattr(decoder.model.denoiser, "groups", None)
    if groups is None:
        return None
    length, brief = len(groups), decoder.brief
    if brief.changeable(length) is not None or brief.guard(length) is not None:
        return None
    items = torch.arange(DRAWS, device=decoder.model.device)
    nothing = torch.full((DRAWS, length), -1)
    return decoder.tokens(nothing, replace(noise, item=items).anew(1))


def tries_of(given: int | None, length: int) -> int:
    """Changes of a child of so many letters: what was asked for, else as many, at least 50."""
    return max(50, length) if given is None else given


def _judged(stand_in: StandIn, tokens: Tensor) -> tuple[Tensor, Tensor]:
    """Values (B,), and what is to blame (B, L), of which the neighbours have a share."""
    import torch

    values, blame = stand_in.judge(tokens.numpy())
    found = (1 - _BESIDE) * blame
    found[:, 1:] += _BESIDE / 2 * blame[:, :-1]
    found[:, :-1] += _BESIDE / 2 * blame[:, 1:]
    return torch.from_numpy(values), torch.from_numpy(found)
