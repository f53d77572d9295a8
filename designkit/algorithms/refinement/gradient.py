"""Direct optimisation of relaxed sequences, for rewards that are differentiable.

Each member begins a law of independent letters, whose logits follow derivatives by Adam: those of
the reward at draws of the law, straight through (Linder and Seelig 2021, "Fast SeqProp", doi
10.1186/s12859-021-04437-5; Schreiber et al. 2020, "Ledidi", doi 10.1101/2020.05.21.109686), and
those of the prior's log-likelihood. The target follows from p(x) exp(r(x) / alpha): of all laws q
of independent letters the one nearest to it, by KL(q || target), has the largest
E_q[r + alpha log p] + alpha H(q). The entropy H is left out, as it is the best single sequence that
is looked for: laws move to where r + alpha log p is large. The likeliest sequences are far likelier
than any that the target would draw, and hardly differ; a ``naturalness`` below 1 in front of log p
makes up for that.

Every draw is a child: one pass gives its reward and the derivatives. Of all that a lineage has
scored, those go on that have the largest r + naturalness alpha log p among the best by reward.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from pydantic import Field

from designkit.algorithms.refinement._ascent import Ascent, Slopes
from designkit.algorithms.refinement._chains import filled
from designkit.algorithms.refinement._drafts import of_slots
from designkit.algorithms.refinement._naturalness import JUDGED_BY, Likelihoods
from designkit.algorithms.refinement._pairs import places_of
from designkit.algorithms.refinement.base import Archive, Brief, Population, Refiner, Spent
from designkit.algorithms.sampling._guided import Temperature
from designkit.errors import Interrupted

if TYPE_CHECKING:
    from designkit.models.base import DiffusionModel
    from designkit.randomness import Noise

CONTENDERS = 8
"""How many of the best by reward are judged by the prior too, for each one that goes on."""


class Gradient(Refiner):
    """Settings of direct optimisation, besides those of ``Refiner``.

    Attributes:
        population: designs of each lineage that go on, each to begin a law of letters.
        sampler: of the first designs, where there is no sequence to start from.
        samples: draws of a law in each update.
        updates: of the laws in a round, which then begin anew at the designs that go on.
        learning_rate: of Adam, in units of a logit.
        mutations: letters in which first draws differ from their member, on average.
        temperature: alpha, in units of the reward; 0 leaves the prior out. A fifth of the reward's
            standard deviation under the prior when not given, ``auto`` measures one.
        naturalness: a nat of log-likelihood is worth so many alpha.
    """

    population: int = Field(default=4, ge=1)
    samples: int = Field(default=4, ge=1)
    updates: int = Field(default=10, ge=1)
    learning_rate: float = Field(default=1.0, gt=0)
    mutations: float = Field(default=2.0, gt=0)
    temperature: Temperature | None = None
    naturalness: float = Field(default=0.2, ge=0)

    @property
    def children(self) -> int:
        """Draws of each lineage in an update."""
        return self.population * self.samples

    @property
    def needs_gradient(self) -> bool:
        """It is what the method lives on."""
        return True

    @property
    def nat(self) -> float:
        """What a nat of log-likelihood is worth, in units of the reward."""
        assert isinstance(self.temperature, float | int)
        return self.naturalness * float(self.temperature)

    def rounds(
        self,
        model: DiffusionModel,
        archive: Archive,
        population: Population,
        brief: Brief,
        noise: Noise,
    ) -> Iterator[Population]:
        """See ``Refiner.rounds``."""
        slopes = Slopes(archive.ledger, brief.batch_size)
        while not archive.ledger.is_full:
            members = filled(archive, population, self.members)
            first, _ = places_of(members, members.lineages)
            places = members.numbers.new_ones(len(members)).cumsum(0) - 1 - first
            slots = members.lineages * self.members + places
            own = of_slots(noise.in_round(population.round + 1), slots.to(model.device))
            ascent = Ascent(model, archive, members, places, brief, slopes, self.mutations)
            for update in range(self.updates):
                if brief.should_stop():
                    raise Interrupted("stopped between two updates")
                ascent.advance(own.at(update), self.samples, update, self.nat, self.learning_rate)
                if archive.ledger.is_full:
                    break
            likelihoods = Likelihoods(model, archive, population)
            kept = [
                number
                for lineage in range(archive.lineages)
                for number in self._going_on(archive, lineage, likelihoods)
            ]
            round = population.round + 1
            population = archive.population(kept, round, likelihoods.memory())
            yield population
        raise Spent

    def _going_on(self, archive: Archive, lineage: int, likelihoods: Likelihoods) -> list[int]:
        """The designs of a lineage that go on, best first."""
        if not self.nat:
            return archive.best(lineage, self.population)
        best = archive.best(lineage, CONTENDERS * self.population)
        found = zip(best, likelihoods.of(best), strict=True)
        worth = {number: archive.reward(number) + self.nat * own for number, own in found}
        return sorted(best, key=worth.__getitem__, reverse=True)[: self.population]

    def calls_per_round(self, length: int, letters: int) -> tuple[int, int]:
        """A reward and a denoiser row for each draw, and the likelihoods of those that may go on.

        A sequence that was scored before the run's derivatives began costs another reward.
        """
        draws = self.updates * self.children
        judged = CONTENDERS * self.population * JUDGED_BY
        return (0 if 0 in (self.temperature, self.naturalness) else draws + judged), draws
