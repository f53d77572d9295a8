"""What a refinement leaves: designs, history, trajectory, and what to say of them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from designkit.io.designs import DesignWriter
from designkit.recipes._refinement_tables import (
    Chosen,
    Names,
    chain_table,
    design_table,
    trajectory_table,
)

if TYPE_CHECKING:
    import pandas as pd

    from designkit.recipes._lineages import Inputs
    from designkit.recipes._loaded import LoadedModels
    from designkit.recipes._refinement_job import Job
    from designkit.recipes._refinement_run import RefinementRun
    from designkit.rewards import RewardEngine

HISTORY_SUFFIX = ".history.csv"
TRAJECTORY_SUFFIX = ".trajectory.csv"
CHAINS_SUFFIX = ".chains.csv"
PARTIAL_SUFFIX = ".partial.csv"


class RefinementOutputs:
    """The outputs of one refinement.

    Args:
        writer: of the designs.
        job: that the designs come from.
        run: that makes them.
        inputs: that it starts from.
        engine: its rewards.
        models: that its method asks for, besides the prior.
    """

    def __init__(
        self,
        writer: DesignWriter,
        job: Job,
        run: RefinementRun,
        inputs: Inputs,
        engine: RewardEngine,
        models: LoadedModels,
    ):
        self._writer, self._run, self._inputs = writer, run, inputs
        self._engine, self._models = engine, models
        self._names = Names(run.archive, inputs)
        self._chosen = Chosen([], 0, 0, 0)
        self._fields = {
            "model": job.stored.ref,
            "method": job.settings.method["name"],
            "seed": job.seed,
        }

    @property
    def has_failures(self) -> bool:
        """Whether fewer designs were written than asked for, some without score, or inputs left."""
        chosen = self._chosen
        unscored = any(self._run.archive.reward(n) == -float("inf") for n in chosen.numbers)
        return bool(chosen.failed or chosen.dropped or self._inputs.skipped or unscored)

    def write(self) -> None:
        """Write all tables, that of the designs last."""
        run = self._run
        self._chosen = Chosen.best(run.archive, run.settings, by_fronts=run.refiner.by_fronts)
        table = design_table(run, self._names, self._chosen, self._engine, self._fields)
        self._write_rounds()
        with self._writer as writer:
            writer.write(table)
        self._beside(PARTIAL_SUFFIX).unlink(missing_ok=True)

    def write_partial(self) -> None:
        """Write the best designs so far, and the rounds; nothing is asked of any model."""
        run = self._run
        self._chosen = Chosen.best(run.archive, run.settings, by_fronts=run.refiner.by_fronts)
        if self._writer.part is None or not run.history:
            return
        table = design_table(run, self._names, self._chosen, None, self._fields)
        self._write_table(PARTIAL_SUFFIX, table)
        self._write_rounds()

    def _write_rounds(self) -> None:
        import pandas as pd

        if self._writer.part is None:
            return
        self._write_table(HISTORY_SUFFIX, pd.DataFrame(self._run.history))
        written = trajectory_table(self._run, self._names, self._chosen.numbers)
        self._write_table(TRAJECTORY_SUFFIX, written)
        if self._run.refiner.follows_law:
            self._write_table(CHAINS_SUFFIX, chain_table(self._run, self._names))

    def _beside(self, suffix: str) -> Path:
        return Path(self._writer.target + suffix)

    def _write_table(self, suffix: str, table: pd.DataFrame) -> None:
        path = str(self._beside(suffix))
        with DesignWriter(path, format="csv", force=True, resumable=False) as writer:
            writer.write(table)

    def kept(self) -> str:
        """What an interrupted run leaves, in words."""
        done = max(0, len(self._run.history) - 1)
        told = f"{done} rounds done"
        if self._writer.part is None:
            return told
        if self._beside(PARTIAL_SUFFIX).exists():
            told += f", the best so far are in {self._beside(PARTIAL_SUFFIX)}"
        return f"{told}; --resume continues"

    def counts(self) -> dict[str, Any]:
        """Rows, rounds and calls, for the record."""
        run, chosen, ledger = self._run, self._chosen, self._run.archive.ledger
        return {
            "rows": {
                "requested": chosen.requested,
                "written": len(chosen.numbers),
                "failed": chosen.failed,
                "dropped": chosen.dropped,
                "inputs": sum(root is not None for root in self._inputs.roots),
                "inputs_skipped": self._inputs.skipped,
                "without_score": ledger.unscored,
                "outside_bounds": chosen.outside(run.archive),
            },
            "rounds": {"done": max(0, len(run.history) - 1), "resumed": run.rounds_resumed},
            "input_sha256": self._inputs.sha256 or None,
            "calls": {
                "denoiser_calls": run.model.counter.calls,
                "denoiser_rows": run.model.counter.rows,
                "models": self._models.record(),
                "reward_rows_asked": ledger.asked,
                "reward_rows_scored": len(ledger),
                "reward_rows_relaxed": ledger.relaxed,
                "reward_rows_resumed": run.evals_resumed,
                "rewards": self._engine.usage(),
            },
            "seconds_of_all": run.clock.seconds,
            **run.figures(),
        }

    def _goal(self) -> list[str]:
        """Whether the reward that was wanted is reached, in a line where one was wanted."""
        wanted, archive = self._run.settings.until.reward, self._run.archive
        if wanted is None:
            return []
        leaders = [archive.leader(lineage) for lineage in range(archive.lineages)]
        reached = sum(n is not None and archive.is_within(n, wanted) for n in leaders)
        of = f" by {reached} of {len(leaders)} inputs" if len(leaders) > 1 else ""
        found = sum(archive.is_within(number, wanted) for number in range(len(archive)))
        told = "reached" if reached == len(leaders) else "NOT reached"
        return [f"reward {wanted:g}, which was wanted: {told}{of}; {found} designs have it"]

    def summary(self, reason: str) -> str:
        """What happened, in a few lines."""
        counts = self.counts()
        rows, calls, rounds = counts["rows"], counts["calls"], counts["rounds"]
        resumed, before = rounds["resumed"], calls["reward_rows_resumed"]
        failed = self._engine.failed_monitors
        lines = [
            f"{rows['requested']} designs requested = {rows['written']} written + "
            f"{rows['failed']} failed + {rows['dropped']} dropped"
            + (f"; {rows['outside_bounds']} outside the bounds" if rows["outside_bounds"] else "")
            + "".join(f"; {n} without {name}" for name, n in failed.items()),
            f"finished by {reason}: {rounds['done']} rounds"
            + (f", {resumed} of them before" if resumed else ""),
            *self._goal(),
            f"denoiser: {calls['denoiser_rows']} rows in {calls['denoiser_calls']} calls",
            f"rewards: {calls['reward_rows_scored']} distinct sequences of "
            f"{calls['reward_rows_asked']} asked for"
            + (f", {before} of them before" if before else "")
            + (f", {calls['reward_rows_relaxed']} relaxed" if calls["reward_rows_relaxed"] else "")
            + f"; {rows['without_score']} without score",
        ]
        if self._inputs.skipped:
            lines.append(f"{self._inputs.skipped} records of the input were skipped")
        figures = self._run.figures()
        if figures:
            lines.append("reward: " + ", ".join(f"{k} {v:.4g}" for k, v in figures.items()))
        return "\n".join(lines)
