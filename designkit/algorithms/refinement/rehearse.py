"""Children rehearse before they are scored: a cheap stand-in of the reward says what to change.

Where an evaluation costs much, it should be asked of sequences that hold against all that earlier
evaluations have taught. The reward's stand-in knows that: for RNA that is to fold into a structure
it is the energies of all structures that sequences were seen to prefer to it (cutting planes:
Kelley 1960, J SIAM 8:703, doi 10.1137/0108053). Each member of the population walks by Metropolis
steps under the stand-in, its letters drawn from the prior; where that ends it is scored, what it
taught counts for the next round, and it walks on from there, whatever its reward: what is known of
it then leads it to where it is better.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from pydantic import Field

from designkit.algorithms.refinement._chains import chains
from designkit.algorithms.refinement._drafts import Decoder
from designkit.algorithms.refinement._positions import scattered
from designkit.algorithms.refinement._rehearsal import Rehearsal, independent_draws, tries_of
from designkit.algorithms.refinement._variation import changeable_of, with_partners
from designkit.algorithms.refinement.base import Refiner

if TYPE_CHECKING:
    from torch import Tensor

    from designkit.algorithms.refinement._drafts import Drafts
    from designkit.algorithms.refinement._pairs import Pairs
    from designkit.algorithms.refinement.base import Archive, Brief, Population
    from designkit.models.base import DiffusionModel
    from designkit.randomness import Noise


class Rehearse(Refiner):
    """Settings of rehearsals, besides those of ``Refiner``.

    With a reward that has no stand-in there are no tries: one position is drawn anew in a round,
    and a member is followed by its child where that is not worse.

    Attributes:
        population: members of each lineage.
        tries: changes of each member before it is scored; as many as letters, and at least 50,
            when not given.
        heat: temperature of the first try, in units of the reward.
        cooled: share of it that is left at the last try; 1 for walks of one temperature.
        blamed: share of the tries at positions that the stand-in blames.
        replaced: share of the members, the worst, that go on from the best after a round.
    """

    population: int = Field(default=32, ge=1)
    tries: int | None = Field(default=None, ge=0)
    heat: float = Field(default=0.2, gt=0)
    cooled: float = Field(default=0.1, gt=0, le=1)
    blamed: float = Field(default=0.8, ge=0, le=1)
    replaced: float = Field(default=0.25, ge=0, le=0.5)

    @property
    def members(self) -> int:
        """Those of each lineage."""
        return self.population

    def rounds(
        self,
        model: DiffusionModel,
        archive: Archive,
        population: Population,
        brief: Brief,
        noise: Noise,
    ) -> Iterator[Population]:
        """See ``Refiner.rounds``."""
        learns = archive.ledger.stand_in() is not None
        plain = Decoder(model, self.inner(), archive.ledger, brief)
        decoder = Rehearsal(
            plain.model,
            plain.sampler,
            plain.reward,
            brief,
            archive=archive,
            tries=self.tries,
            temperature=self.heat,
            cooled=self.cooled,
            blamed=self.blamed,
            draws=independent_draws(plain, noise) if learns else None,
        )
        return chains(
            self,
            model,
            archive,
            population,
            brief,
            noise,
            accept=None if learns else _not_worse,
            exchange=self.renewed,
            decoder=decoder,
        )

    def drafts(self, model: DiffusionModel, pairs: Pairs, brief: Brief, noise: Noise) -> Drafts:
        """One position of each member, and its partner, to begin with."""
        import torch

        changeable = changeable_of(pairs.parents, brief)
        one = torch.ones(len(changeable), dtype=torch.int64)
        chosen = scattered(noise, changeable, one)
        return pairs.drafts(pairs.parents.tokens, with_partners(model, chosen, changeable))

    def renewed(self, rewards: Tensor, noise: Noise) -> Tensor:
        """The members (N,) whose designs each has after a round: the worst have those of the best.

        Args:
            rewards: (N,) float64, lineage by lineage; -inf for "no score".
            noise: of the members.
        """
        import torch

        ranked = rewards.view(-1, self.members).argsort(dim=1, descending=True, stable=True)
        ranked += torch.arange(len(ranked))[:, None] * self.members
        count = int(self.replaced * self.members)
        order = torch.arange(len(rewards))
        order[ranked[:, self.members - count :]] = ranked[:, :count]
        return order

    def calls_per_round(self, length: int, letters: int) -> tuple[int, int]:
        """See ``Refiner.calls_per_round``; a reward for each member."""
        rows, _ = self.inner().calls_per_design(min(4, length), letters)
        return self.members * (tries_of(self.tries, length) + 1) * (rows + 1), self.members


def _not_worse(rewards: Tensor, children: Tensor, noise: Noise) -> Tensor:
    return children >= rewards
