"""What the refiners share that keep the best designs and make children of them."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Self

from pydantic import Field, model_validator

from designkit.algorithms.refinement._archive import Archive, Population
from designkit.algorithms.refinement._brood import Brood, slot_of
from designkit.algorithms.refinement._drafts import Decoder, Drafts, blank, of_slots
from designkit.algorithms.refinement._pairs import Pairs, drawn_pairs
from designkit.algorithms.refinement._survivors import first_front, survivors
from designkit.algorithms.refinement.base import Brief, Refiner
from designkit.algorithms.sampling._guided import Temperature

if TYPE_CHECKING:
    from torch import Tensor

    from designkit.algorithms.sampling.base import Sampler
    from designkit.models.base import DiffusionModel
    from designkit.randomness import Noise

ATTEMPTS = 4
"""How often a child is drawn that is known already, or breaks the constraints; a guided sampler,
which pays for every attempt in rewards, has one."""


class Evolution(Refiner):
    """Settings of these methods, besides those of ``Refiner``.

    Attributes:
        offspring: children of each lineage in a round; as many as ``population`` when not given.
        crossover: share of children that take a part of another member.
        temperature: alpha, in units of the reward. 0 keeps the best designs; above 0 members and
            children go on in proportion to exp(reward / alpha), without repetition.
        patience: a lineage starts anew when it has drawn so many times as many children as its
            sequences have neighbours of one changed letter, none of them better than the best
            since it started (with fronts: none of them on the first); None for never. What it
            found stays in the archive.
    """

    offspring: int | None = Field(default=None, ge=1)
    crossover: float = Field(default=0.5, ge=0, le=1)
    temperature: Temperature = 0.0
    patience: float | None = Field(default=2.0, gt=0)

    @model_validator(mode="after")
    def _check_selection(self) -> Self:
        if self.by_fronts and self.temperature != 0:
            raise ValueError(
                "selection=pareto ranks by fronts, without a temperature: leave it out"
            )
        return self

    @property
    def children(self) -> int:
        """Children of each lineage in a round."""
        return self.offspring or self.population

    @abstractmethod
    def drafts(self, model: DiffusionModel, pairs: Pairs, brief: Brief, noise: Noise) -> Drafts:
        """The children of pairs before they are decoded.

        Args:
            model: the prior.
            pairs: C of them.
            brief: what is asked for.
            noise: of the C children, on the CPU.
        """

    def rounds(
        self,
        model: DiffusionModel,
        archive: Archive,
        population: Population,
        brief: Brief,
        noise: Noise,
    ) -> Iterator[Population]:
        """See ``Refiner.rounds``."""
        decoder = Decoder(model, self.inner(), archive.ledger, brief)
        while True:
            own = noise.in_round(population.round + 1)
            population = self._round(decoder, archive, population, own)
            yield population

    def _round(
        self, decoder: Decoder, archive: Archive, before: Population, noise: Noise
    ) -> Population:
        import torch

        count, round = archive.lineages, before.round + 1
        lowest = torch.full((count,), -torch.inf, dtype=torch.float64)
        peak = before.memory.get("peak", lowest)
        waited = before.memory.get("waited", torch.zeros(count, dtype=torch.int64))
        stuck = waited >= self._longest_wait(archive, before, decoder.brief)
        members = self._restarted(archive, before, stuck, noise)
        numbers = self._offspring(decoder, archive, members, noise)
        heat = self.temperature
        assert isinstance(heat, float | int)
        kept = survivors(
            archive,
            members.numbers.tolist(),
            numbers,
            self.population,
            heat,
            noise,
            by_fronts=self.by_fronts,
        )
        best = lowest.clone()
        for number in kept:
            lineage, reward = archive.designs[number].lineage, archive.reward(number)
            best[lineage] = max(float(best[lineage]), reward)
        peak = peak.where(~stuck, -torch.inf)
        better = self._advanced(archive, kept, round) if self.by_fronts else best > peak
        waited = torch.where(better | stuck, 0, waited + self.children)
        memory = {
            "peak": torch.maximum(peak, best),
            "waited": waited,
            **self.learned(archive, before, numbers),
        }
        return archive.population(kept, round, memory)

    def _advanced(self, archive: Archive, kept: Sequence[int], round: int) -> Tensor:
        """(lineages,) bool, of which a new design is one that none of those kept surpasses."""
        import torch

        found = torch.zeros(archive.lineages, dtype=torch.bool)
        for lineage in range(archive.lineages):
            own = [number for number in kept if archive.designs[number].lineage == lineage]
            front = first_front(archive, own)
            found[lineage] = any(archive.designs[number].round == round for number in front)
        return found

    def learned(
        self, archive: Archive, before: Population, numbers: Sequence[int]
    ) -> dict[str, Tensor]:
        """What else a round has taught, for the memory of its population.

        Args:
            archive: of the run.
            before: the population that the round began with.
            numbers: of its new designs.
        """
        return {}

    def _longest_wait(self, archive: Archive, before: Population, brief: Brief) -> Tensor:
        """Children (lineages,) float64 without a better one after which a lineage starts anew."""
        import torch

        longest = torch.full((archive.lineages,), torch.inf, dtype=torch.float64)
        if self.patience is None:
            return longest
        others = archive.size - 1
        for length in before.lengths.unique().tolist():
            positions = brief.changeable(length)
            free = length if positions is None else int(positions.sum())
            own = before.lineages[before.lengths == length]
            longest[own] = max(self.patience * free * others, self.children)
        return longest

    def _restarted(
        self, archive: Archive, before: Population, stuck: Tensor, noise: Noise
    ) -> Population:
        """The members, those of lineages that start anew replaced.

        A lineage with a root goes on from the root and designs of its archive that are drawn at
        random from its better half; one without a root keeps none, and its children are fresh
        draws of the prior.
        """
        import torch

        if not bool(stuck.any()):
            return before
        kept = before.numbers[~stuck[before.lineages]].tolist()
        for lineage in stuck.nonzero().flatten().tolist():
            if archive.roots[lineage] is None:
                continue
            ranked = archive.best(lineage)
            half = ranked[: -(-len(ranked) // 2)]
            slots = (lineage << 20) + torch.arange(len(half))
            order = of_slots(noise, slots).uniform("restart").argsort()
            root = archive.number_of(lineage, str(archive.roots[lineage]))
            drawn = [half[place] for place in order[: self.population].tolist()]
            kept += dict.fromkeys([*([] if root is None else [root]), *drawn])
        ordered = sorted(kept, key=lambda number: archive.designs[number].lineage)
        return archive.population(ordered, before.round, before.memory)

    def _offspring(
        self, decoder: Decoder, archive: Archive, members: Population, noise: Noise
    ) -> list[int]:
        """Numbers of the new designs of a round.

        Raises:
            Spent: there are children, and none of them may be scored.
        """
        import torch

        brood = Brood(archive, decoder.brief)
        slots = torch.arange(archive.lineages * self.children)
        for attempt in range(attempts(decoder.sampler)):
            drafts = self._drafts(decoder, archive, members, slots, attempt, noise)
            taken = torch.tensor(brood.take(drafts, decoder.written(drafts, noise)))
            # Drafts may be in another order than slots.
            missed = drafts.slots[~taken] - slot_of(0, attempt)
            slots = missed.sort().values
            if not len(slots):
                break
        return brood.scored(members.round + 1, self.children)

    def _drafts(
        self,
        decoder: Decoder,
        archive: Archive,
        members: Population,
        slots: Tensor,
        attempt: int,
        noise: Noise,
    ) -> Drafts:
        """Drafts of some slots: children of members, or fresh ones where a lineage has none."""
        import torch

        lineages, keyed = slots // self.children, slot_of(slots, attempt)
        has_members = torch.isin(lineages, members.lineages)
        parts = []
        if bool(has_members.any()):
            own = of_slots(noise, keyed[has_members])
            wanted = lineages[has_members]
            pairs = drawn_pairs(archive, members, wanted, self.crossover, decoder.brief, own)
            parts.append(self.drafts(decoder.model, pairs, decoder.brief, own))
        if not bool(has_members.all()):
            fresh = ~has_members
            parts.append(blank(decoder.model, keyed[fresh], lineages[fresh], noise))
        return parts[0] if len(parts) == 1 else parts[0].joined(parts[1])

    @abstractmethod
    def positions_at_most(self, length: int) -> int:
        """Most positions of L that are found by decoding in a child."""

    def calls_per_round(self, length: int, letters: int) -> tuple[int, int]:
        """Those of all attempts; a lineage that starts anew decodes whole sequences."""
        inner = self.inner()
        most = length if self.patience is not None else self.positions_at_most(length)
        denoiser, rewards = inner.calls_per_design(most, letters) if most else (0, 0)
        tried = self.children * attempts(inner)
        return tried * denoiser, tried * rewards + self.children


def attempts(sampler: Sampler) -> int:
    """How often a child is drawn at most."""
    return 1 if sampler.needs_reward else ATTEMPTS
