"""What ``designkit refine`` does between opening its journal and writing its table."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from designkit.errors import Interrupted, RewardError, UsageError
from designkit.recipes._front import Front
from designkit.recipes._history import Figures, figures_of
from designkit.recipes._until import Clock, Stopping

if TYPE_CHECKING:
    from torch import Tensor

    from designkit.algorithms.refinement.base import Archive, Brief, Population, Refiner
    from designkit.io.journal import Journal
    from designkit.models.base import DiffusionModel
    from designkit.recipes.refine import RefineSettings

LARGEST_NAN_SHARE = 0.2
SEQUENCES_TO_JUDGE_BY = 100


class RefinementRun:
    """The state of a refinement: its rounds, what they found, and what they were like.

    Args:
        settings: of the run.
        refiner: its temperature known.
        model: the prior.
        archive: empty.
        clock: of the run.
        journal: where rounds are noted; None for a run that cannot be resumed.

    Attributes:
        archive: of the run.
        history: figures of each round, that before the first one included.
        population: that goes on; None before there is one.
        members: numbers of the designs that went on from each round.
        rounds_resumed: rounds of an earlier process.
        evals_resumed: sequences that it has scored.
    """

    def __init__(
        self,
        settings: RefineSettings,
        refiner: Refiner,
        model: DiffusionModel,
        archive: Archive,
        clock: Clock,
        journal: Journal | None,
    ):
        self.settings, self.refiner, self.model = settings, refiner, model
        self.archive, self.clock, self.journal = archive, clock, journal
        self.history: list[Figures] = []
        self.population: Population | None = None
        self.rounds_resumed = self.evals_resumed = 0
        self._noted = 0, 0
        self._best: tuple[int | None, float] = None, float("nan")
        self.members: list[list[int]] = []
        self._front = Front(archive)
        self._stopping = Stopping(
            settings.until,
            archive,
            clock.over,
            refiner.children,
            follows_law=refiner.follows_law,
        )

    def take_up(self, lines: list[dict[str, Any]]) -> None:
        """Go on after the rounds that an earlier process has noted."""
        for line in lines:
            self.archive.ledger.restore(line["scored"])
            self.archive.restore(line["designs"])
            self.history.append(line["figures"])
            self._stopping.note(line["round"], len(self.archive.ledger))
            self.members.append(line["population"])
        if lines:
            last = lines[-1]
            memory = {name: _tensor(fields) for name, fields in last["memory"].items()}
            self.population = self.archive.population(last["population"], last["round"], memory)
            self.rounds_resumed, self.evals_resumed = last["round"], len(self.archive.ledger)
            self._noted = len(self.archive.ledger), len(self.archive)
            self._best = last["best"], last["figures"].get("log_likelihood", float("nan"))

    @property
    def accepted(self) -> set[int]:
        """Designs that went on from any round."""
        return set().union(*self.members)

    def rounds(self, brief: Brief, seed: int, should_stop: Callable[[], bool]) -> Iterator[str]:
        """Do the rounds that are left; after each, why the run is finished, empty if it is not.

        Raises:
            Interrupted: ``should_stop`` said so; the round that was being done is given up.
            RewardError: more than a fifth of the sequences have no score.
            UsageError: the time or the evaluations are over before the first round is.
        """
        from designkit.algorithms.refinement.base import Spent
        from designkit.randomness import noise_for

        noise = noise_for(seed, 1)
        try:
            if self.population is None:
                rows = self.model.counter.rows
                start = self.refiner.first(self.model, self.archive, brief, noise)
                self._finish_round(start, rows)
            assert self.population is not None
            yield self._stopping.reason(self.population.round)
            following = self.refiner.rounds(self.model, self.archive, self.population, brief, noise)
            while True:
                if should_stop():
                    raise Interrupted("stopped between two rounds")
                rows = self.model.counter.rows
                self._finish_round(next(following), rows)
                yield self._stopping.reason(self.population.round)
        except Spent:
            if self.population is None:
                raise UsageError(
                    f"--until evals={self.settings.until.evals} is too few for the first round"
                ) from None
            yield f"evals={self.settings.until.evals}"
        except Interrupted:
            if should_stop() or not self.clock.over():
                raise
            if self.population is None:
                raise UsageError(
                    f"--until time={self.settings.until.time:g}s is over before any sequence "
                    "was scored"
                ) from None
            yield f"time={self.settings.until.time:g}s"

    def _finish_round(self, population: Population, rows: int) -> None:
        """Note a round that left a population; ``rows`` were asked of the denoiser before it."""
        ledger = self.archive.ledger
        if self.settings.on_invalid == "fail":
            self._check_missing()
        scored, designs = self._noted
        figures = figures_of(self.archive, population, designs) | self._front.figures()
        asked = self.history[-1]["denoiser_rows"] if self.history else 0
        figures["denoiser_rows"] = asked + self.model.counter.rows - rows
        figures["rewards_asked"], figures["rewards_scored"] = ledger.asked, len(ledger)
        if ledger.relaxed:
            figures["rewards_relaxed"] = ledger.relaxed
        leader = self._leader()
        if self.settings.likelihood_draws:
            if leader != self._best[0]:
                self._best = leader, self._likelihood_of(leader)
            figures["log_likelihood"] = self._best[1]
        self.population = population
        self.members.append(population.numbers.tolist())
        self.history.append(figures)
        self._stopping.note(population.round, len(ledger))
        if self.journal is not None:
            self.journal.append(
                {
                    "round": population.round,
                    "scored": ledger.rows(scored),
                    "designs": self.archive.rows(designs),
                    "population": population.numbers.tolist(),
                    "memory": {name: _fields(t) for name, t in population.memory.items()},
                    "figures": figures,
                    "best": self._best[0],
                    "seconds": self.clock.seconds,
                }
            )
        self._noted = len(ledger), len(self.archive)

    def figures(self) -> dict[str, float]:
        """Best and median reward of those that go on, of the last round."""
        if not self.history:
            return {}
        last = self.history[-1]
        return {"best": last["best"], "median": last["population_median"]}

    def _leader(self) -> int | None:
        """The best design of all lineages."""
        found = [self.archive.leader(lineage) for lineage in range(self.archive.lineages)]
        known = [number for number in found if number is not None]
        return max(known, key=self.archive.reward, default=None)

    def _likelihood_of(self, leader: int | None) -> float:
        return float("nan") if leader is None else self.log_likelihood([leader])[0]

    def log_likelihood(self, numbers: list[int]) -> list[float]:
        """Log-likelihood of designs under the prior, in nats."""
        import torch

        found = [float("nan")] * len(numbers)
        alphabet = self.model.alphabet
        written = [self.archive.sequence(number) for number in numbers]
        lengths = [len(alphabet.split(sequence)) for sequence in written]
        for length in sorted(set(lengths)):
            rows = [row for row, own in enumerate(lengths) if own == length]
            tokens = torch.from_numpy(alphabet.encode([written[row] for row in rows]))
            mean, _ = self.model.log_likelihood(
                tokens.to(self.model.device), self.settings.likelihood_draws
            )
            for row, value in zip(rows, mean.cpu().tolist(), strict=True):
                found[row] = value
        return found

    def _check_missing(self) -> None:
        """Stop where too many sequences have no score."""
        ledger = self.archive.ledger
        # One bad sequence among the first few is no reason to stop.
        judged = max(len(ledger), SEQUENCES_TO_JUDGE_BY)
        if ledger.unscored > LARGEST_NAN_SHARE * judged:
            reason = next(iter(ledger.reasons.values()), "no reason given")
            raise RewardError(
                f"{ledger.unscored} of {len(ledger)} sequences have no score ({reason}); "
                "--on-invalid worst keeps them, skip leaves them out"
            )


def _fields(tensor: Tensor) -> dict[str, Any]:
    """A tensor as JSON."""
    return {"dtype": str(tensor.dtype).removeprefix("torch."), "values": tensor.tolist()}


def _tensor(fields: dict[str, Any]) -> Tensor:
    """The tensor of ``_fields``."""
    import torch

    return torch.tensor(fields["values"], dtype=getattr(torch, fields["dtype"]))
