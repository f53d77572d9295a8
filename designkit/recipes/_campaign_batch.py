"""The next sequences to measure: written by the prior, worth most, all different."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from designkit.errors import UsageError
from designkit.randomness import MAX_SEED
from designkit.recipes._campaign_state import Asked, Campaign
from designkit.recipes._refinement_run import RefinementRun
from designkit.recipes._until import Clock

if TYPE_CHECKING:
    import pandas as pd

    from designkit.algorithms.refinement.base import Archive, Brief, Judge, Refiner
    from designkit.models.base import DiffusionModel, Predictor
    from designkit.recipes._campaign_diversity import Choose
    from designkit.recipes.campaign_settings import CampaignSettings


@dataclass(frozen=True)
class Batch:
    """Sequences to measure.

    Attributes:
        asked: they themselves.
        columns: predicted mean, its standard deviation and the acquisition of each; NaN before
            the first measurement.
    """

    asked: list[Asked]
    columns: dict[str, list[float]]

    def table(self, input_ids: tuple[str, ...] | None) -> pd.DataFrame:
        """Theirs: what is written.

        Args:
            input_ids: of the lineages; None for a campaign without inputs.
        """
        import pandas as pd

        frame = pd.DataFrame(
            {
                "id": [one.id for one in self.asked],
                "sequence": [one.sequence for one in self.asked],
                **self.columns,
            }
        )
        if input_ids is not None:
            frame["input"] = [input_ids[one.lineage] for one in self.asked]
        return frame


@dataclass(frozen=True)
class Search:
    """What looks for candidates.

    Attributes:
        settings: of the batch.
        refiner: that changes candidates.
        model: the prior.
        brief: what is asked of every sequence.
        choose: picks some of the best that differ.
        should_stop: asked between rounds.
    """

    settings: CampaignSettings
    refiner: Refiner
    model: DiffusionModel
    brief: Brief
    choose: Choose
    should_stop: Callable[[], bool]

    def batch(
        self,
        campaign: Campaign,
        roots: tuple[str | None, ...],
        predictor: Predictor | None,
        count: int,
    ) -> Batch:
        """The next batch; smaller where no more sequences were found.

        Args:
            campaign: what was asked and measured before.
            roots: inputs of the campaign.
            predictor: of the label; None before there are measurements enough.
            count: of sequences.

        Raises:
            UsageError: there is nothing to ask for.
            Interrupted: the brief said so.
        """
        taken = campaign.known
        number, asked = campaign.batches + 1, list[Asked]()
        columns: dict[str, list[float]] = {"mean": [], "std": [], "acquisition": []}
        seed = (campaign.seed + number) % (MAX_SEED + 1)
        for judge, share in self._shares(predictor, count):
            archive = self._candidates(campaign, roots, judge, share, seed, predictor is None)
            for design in self._chosen(archive, taken, share):
                sequence, place = archive.sequence(design), archive.designs[design].place
                lineage = archive.designs[design].lineage
                asked.append(Asked(f"b{number}_{len(asked) + 1}", sequence, number, lineage))
                columns["mean"].append(archive.ledger.columns["mean"][place])
                columns["std"].append(archive.ledger.columns["std"][place])
                unknown = float("nan")
                worth = unknown if predictor is None else archive.reward(design)
                columns["acquisition"].append(worth)
                taken.add(sequence)
        if not asked:
            raise UsageError(
                "no new sequence was found: all that the prior and the constraints allow nearby "
                "were asked for; loosen the constraints, or look longer with --until rounds=50"
            )
        return Batch(asked, columns)

    def _shares(self, predictor: Predictor | None, count: int) -> list[tuple[Judge, int]]:
        """Who judges, and for how many of the sequences."""
        from designkit.algorithms.refinement._acquisition import Acquisition, NothingKnown

        if predictor is None:
            return [(NothingKnown(), count)]
        sign, members = self.settings.sign, len(predictor.members)
        if self.settings.acquisition == "ucb":
            return [(Acquisition(predictor, sign, self.settings.beta), count)]
        # Each takes its turn; those that come first have one more where it does not come out even.
        shares = [len(range(turn, count, members)) for turn in range(members)]
        return [
            (Acquisition(predictor, sign, member=member), share)
            for member, share in enumerate(shares)
            if share
        ]

    def _candidates(
        self,
        campaign: Campaign,
        roots: tuple[str | None, ...],
        judge: Judge,
        count: int,
        seed: int,
        is_first: bool,
    ) -> Archive:
        """All sequences that were looked at, what is known among them."""
        from designkit.algorithms.refinement.base import Archive, Ledger
        from designkit.randomness import noise_for

        refiner, alphabet = self._sized(count, roots, is_first), self.model.alphabet
        archive = Archive(
            Ledger(judge, alphabet), alphabet, roots, aligned=not refiner.changes_lengths
        )
        settings = self.settings.model_copy(update={"likelihood_draws": 0})
        clock = Clock(settings.until.time)
        run = RefinementRun(settings, refiner, self.model, archive, clock, None)
        start = refiner.first(self.model, archive, self.brief, noise_for(seed, 1))
        if is_first and all(root is None for root in roots):
            return archive
        self._add_known(campaign, archive)
        lineages = range(archive.lineages)
        best = [n for lineage in lineages for n in archive.best(lineage, refiner.members)]
        run.population = archive.population(best, start.round)
        for reason in run.rounds(self.brief, seed, self.should_stop):
            if reason:
                break
        return archive

    def _sized(self, count: int, roots: tuple[str | None, ...], is_first: bool) -> Refiner:
        """The refiner with as many children in a round as there are sequences to ask for."""
        if is_first and all(root is None for root in roots):
            population = self.settings.pool * count
        elif "population" in self.settings.method:
            return self.refiner
        else:
            population = max(2, -(-count // len(roots)))
        return self.refiner.model_copy(update={"population": population})

    def _add_known(self, campaign: Campaign, archive: Archive) -> None:
        """Sequences that were asked for, and other measured ones, are to be built on."""
        lineage_of = {one.sequence: one.lineage for one in campaign.asked}
        if archive.roots[0] is None:
            lineage_of |= {sequence: 0 for sequence in campaign.measured}
        known = [
            (sequence, lineage)
            for sequence, lineage in lineage_of.items()
            if self._fits(sequence) and self.brief.holds(lineage, sequence)
        ]
        archive.add([sequence for sequence, _ in known], [lineage for _, lineage in known], 0)

    def _fits(self, sequence: str) -> bool:
        """Whether the prior writes sequences so long."""
        length = len(self.model.alphabet.split(sequence))
        return self.brief.shortest <= length <= self.brief.longest

    def _chosen(self, archive: Archive, taken: set[str], count: int) -> list[int]:
        """Numbers of the designs that are asked for."""
        import numpy as np

        places: dict[str, int] = {}
        for number in range(len(archive)):
            sequence = archive.sequence(number)
            if sequence not in taken:
                places.setdefault(sequence, number)
        pool = sorted(places.values(), key=lambda n: (-archive.reward(n), n))
        pool = pool[: self.settings.pool * count]
        tokens: list[Any] = [
            self.model.alphabet.encode([archive.sequence(number)])[0] for number in pool
        ]
        rewards = np.array([archive.reward(number) for number in pool], dtype=np.float64)
        return [pool[place] for place in self.choose(tokens, rewards, count)]
