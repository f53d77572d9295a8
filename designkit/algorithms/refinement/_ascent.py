"""Updates of the laws of all lineages: draws, what they are worth, and derivatives."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from designkit.algorithms.refinement._climb import Climb
from designkit.algorithms.refinement._naturalness import hidden_positions, natural_slopes
from designkit.algorithms.refinement._pairs import fitting
from designkit.algorithms.refinement._variation import changeable_of
from designkit.algorithms.refinement.base import Archive, Brief, Ledger, Population

if TYPE_CHECKING:
    from torch import Tensor

    from designkit.models.base import DiffusionModel
    from designkit.randomness import Noise

_NUMBERS = 1 << 26
"""That are remembered of derivatives."""


@dataclass
class Slopes:
    """Derivatives of the reward, asked for once for each sequence.

    Attributes:
        ledger: of the run.
        batch_size: sequences that are asked for together.
    """

    ledger: Ledger
    batch_size: int
    _known: dict[str, Tensor] = field(default_factory=dict)

    def of(self, sequences: Sequence[str], tokens: Tensor) -> Tensor:
        """(N, L, K) at N sequences, whose tokens (N, L) are."""
        import torch

        rows = {s: row for row, s in enumerate(sequences) if s not in self._known}
        for part in torch.tensor(list(rows.values()), dtype=torch.int64).split(self.batch_size):
            found = self.ledger.slopes(tokens[part.to(tokens.device)])
            self._known.update(zip([sequences[row] for row in part.tolist()], found, strict=True))
        slopes = torch.stack([self._known[sequence] for sequence in sequences])
        if len(self._known) * slopes[0].numel() > _NUMBERS:
            self._known.clear()
        return slopes


class Ascent:
    """The laws that the members begin in a round.

    Args:
        model: the prior.
        archive: of the run.
        members: N, in the order of their lineages.
        places: (N,) of members in their lineages.
        brief: what is asked for.
        slopes: of the reward.
        mutations: see ``Climb.start``.
    """

    def __init__(
        self,
        model: DiffusionModel,
        archive: Archive,
        members: Population,
        places: Tensor,
        brief: Brief,
        slopes: Slopes,
        mutations: float,
    ):
        self._model, self._archive, self._members = model, archive, members
        self._places, self._brief, self._slopes = places, brief, slopes
        parts = members.tokens, changeable_of(members, brief), archive.root_tokens(members)
        self._climbs: list[tuple[Tensor, Climb]] = []
        for length in members.lengths.unique().tolist():
            rows = (members.lengths == length).nonzero().squeeze(1)
            tokens, free, roots = (part[rows, :length].to(model.device) for part in parts)
            climb = Climb.start(tokens, free, roots, model.alphabet.size, mutations)
            self._climbs.append((rows, climb))

    def advance(
        self, noise: Noise, samples: int, update: int, nat: float, learning_rate: float
    ) -> None:
        """One update of all laws, as far as the ledger may score their draws.

        Args:
            noise: of the N members, in the update.
            samples: draws of each law.
            update: the number of those before.
            nat: what a nat of log-likelihood is worth.
            learning_rate: of Adam.
        """
        import torch

        brief, decode = self._brief, self._model.alphabet.decode
        draws, sequences = [], []
        for rows, climb in self._climbs:
            guard = brief.guard(climb.tokens.shape[1])
            own = noise.rows(rows.to(noise.item.device))
            draws.append(climb.drawn(own, samples, guard, brief.most_edits).flatten(0, 1))
            sequences += decode(draws[-1].cpu().numpy())
        owners = torch.cat([rows.repeat_interleave(samples) for rows, _ in self._climbs])
        order = self._affordable(sequences, owners, samples)
        used = torch.zeros(len(owners), dtype=torch.bool)
        used[order] = True
        start = 0
        for (rows, climb), tokens in zip(self._climbs, draws, strict=True):
            chosen = used[start : start + len(tokens)].nonzero().squeeze(1)
            written = [sequences[start + row] for row in chosen.tolist()]
            start += len(tokens)
            slopes = torch.zeros(*tokens.shape, climb.logits.shape[2], device=tokens.device)
            counts = torch.zeros_like(tokens[:, 0], dtype=torch.bool)
            if written:
                chosen = chosen.to(tokens.device)
                own = noise.rows(rows.to(noise.item.device))
                hidden = hidden_positions(own, samples, tokens.shape[1]).flatten(0, 1)[chosen]
                found = self._slopes.of(written, tokens[chosen])
                if nat:
                    found = found + nat * self._natural(tokens[chosen], hidden)
                slopes[chosen], counts[chosen] = found, True
            each = len(rows), samples
            climb.step(slopes.unflatten(0, each), counts.unflatten(0, each), update, learning_rate)
        self._archive.add(
            [sequences[row] for row in order.tolist()],
            self._members.lineages[owners[order]].tolist(),
            self._members.round + 1,
            self._members.numbers[owners[order]].tolist(),
        )

    def _affordable(self, sequences: list[str], owners: Tensor, samples: int) -> Tensor:
        """Draws that may be scored, the first ones of all lineages first."""
        import torch

        lineages = self._members.lineages[owners].tolist()
        fits = torch.tensor(fitting(self._archive, sequences, lineages, self._brief))
        sample = torch.arange(len(owners)) % samples
        turn = sample * len(self._places) + self._places[owners]
        order = turn.argsort(stable=True)
        order = order[fits[order]]
        may = self._archive.ledger.affordable([sequences[row] for row in order.tolist()])
        return order[torch.tensor(may, dtype=torch.bool)]

    def _natural(self, tokens: Tensor, hidden: Tensor) -> Tensor:
        """Derivatives (N, L, K) of the prior's log-likelihood at sequences (N, L)."""
        import torch

        size = self._brief.batch_size
        parts = zip(tokens.split(size), hidden.split(size), strict=True)
        return torch.cat([natural_slopes(self._model, *part) for part in parts])
