"""What ``designkit sample`` draws, scores and counts between opening its output and closing it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from designkit.errors import Interrupted, RewardError
from designkit.recipes._loaded import LoadedModels

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray
    from torch import Tensor

    from designkit.algorithms.sampling.base import Sampler
    from designkit.io.designs import DesignWriter
    from designkit.models.base import DiffusionModel
    from designkit.randomness import Noise
    from designkit.recipes._constraints import RunConstraints
    from designkit.recipes.sample import SampleSettings
    from designkit.rewards import RewardEngine

LARGEST_NAN_SHARE = 0.2
DESIGNS_TO_JUDGE_BY = 100


class SamplingRun:
    """The state of a sampling run: what is drawn, scored, counted."""

    def __init__(
        self,
        settings: SampleSettings,
        sampler: Sampler,
        model: DiffusionModel,
        engine: RewardEngine | None,
        seed: int,
        ref: str,
        constraints: RunConstraints,
        models: LoadedModels,
    ):
        self.settings = settings
        self.sampler = sampler
        self.model = model
        self.engine = engine
        self.seed = seed
        self.ref = ref
        self.models = models
        self.constraints = constraints
        self.done = self.started_at = 0
        self.before = 0
        self.unscored = 0
        self.dropped = 0
        self.failed = 0
        self.infeasible = 0
        self.rewards: list[float] = []

    def append_to(self, writer: DesignWriter) -> None:
        """Number designs from the last one on that the output holds already.

        They are other designs than those, at the same seed too: populations begin anew.
        """
        from designkit.io.sequences import read_table

        table = read_table(str(writer.part), input_format=writer.format, on_invalid="skip")
        ids = table["id"].head(writer.rows_before).str.extract(r"^design_(\d+)$")[0]
        self.before = int(ids.dropna().astype(int).max()) if ids.notna().any() else 0

    def take_up(self, writer: DesignWriter, record: Mapping[str, Any]) -> None:
        """Go on after the designs that an interrupted run has written, and count them.

        Args:
            writer: of the output, opened.
            record: that of the interrupted run.
        """
        from designkit.io.sequences import read_table

        earlier = read_table(
            str(writer.part), alphabet=self.model.alphabet, input_format=writer.format
        ).tail(writer.rows_resumed)
        numbers = earlier["id"].str.rpartition("_")[2].astype(int) - self.before
        self.done, self.failed, self.dropped = _told(record, numbers)
        # Designs that were dropped or failed leave a gap in the numbers; a run that was killed
        # has told of all that failed.
        last = max(self.done, int(numbers.iloc[-1]))
        lost = last - self.done - int((numbers > self.done).sum())
        if self.engine is not None and self.settings.on_invalid == "skip":
            self.dropped += lost
        else:
            self.failed += lost
        self.done = self.started_at = last
        self.unscored = self.dropped
        if self.engine is not None:
            rewards = earlier["reward"].dropna().tolist() if "reward" in earlier else []
            self.unscored += len(earlier) - len(rewards)
            if "feasible" in earlier:
                feasible = earlier["feasible"].astype(float)
                self.infeasible = int((feasible == 0).sum())
                rewards = earlier.loc[feasible == 1, "reward"].tolist()
            self.rewards = [float(value) for value in rewards]

    def batches(self, should_stop: Callable[[], bool]) -> Iterator[pd.DataFrame]:
        """Tables of finished designs, in order, from the first one that is not done.

        A population is always drawn whole; those of its designs that are done, or more than were
        asked for, are left out.

        Raises:
            Interrupted: ``should_stop`` said so; the batch that was being drawn is given up.
        """
        size = self.sampler.population
        rows = -(-self.settings.batch_size // size) * size
        for start in range(self.done - self.done % size, self.settings.num, rows):
            end = min(start + rows, -(-self.settings.num // size) * size)
            first, last = self.done, min(end, self.settings.num)
            designs, columns = self._draw(start, end, should_stop)
            kept = slice(first - start, last - start)
            columns = {name: values[kept] for name, values in columns.items()}
            frame = self._score(designs[kept], columns, first)
            self.done = last
            yield frame
            if should_stop() and last < self.settings.num:
                raise Interrupted("stopped between two batches")

    def _draw(
        self, first: int, last: int, should_stop: Callable[[], bool]
    ) -> tuple[list[str | None], dict[str, NDArray[np.float64]]]:
        """Designs ``first`` to ``last - 1``; those of one length are decoded together.

        Returns:
            The designs, None for those that broke the constraints in every attempt, and what else
            the method says of their first attempt: what holds on average over all draws, such as an
            unbiased normaliser, does not hold of those that were kept.
        """
        import numpy as np
        import torch

        from designkit.algorithms.sampling.base import Request
        from designkit.randomness import noise_for

        device = self.model.device
        length, size = self.settings.length, self.sampler.population
        start = -(-self.before // size) * size + first
        noise = noise_for(self.seed, last - first, start=start, device=device)
        lengths = (
            self.model.length_law.sample(noise) if length is None else [length] * (last - first)
        )
        lengths = [lengths[row - row % size] for row in range(len(lengths))]
        columns: dict[str, NDArray[np.float64]] = {}

        def draw(anew: Noise, rows: Tensor, attempt: int) -> list[str]:
            designs = [""] * len(rows)
            wanted = torch.tensor([lengths[row] for row in rows.tolist()])
            for one in sorted(set(wanted.tolist())):
                places = (wanted == one).nonzero().squeeze(1)
                guard = self.constraints.guard(one, device)
                request = Request(one, should_stop, self.models, guard=guard)
                own = anew.rows(places.to(device))
                drawn = self.sampler.sample(self.model, self.engine, request, own)
                written = self.model.alphabet.decode(drawn.tokens.cpu())
                for place, sequence in zip(places.tolist(), written, strict=True):
                    designs[place] = sequence
                if attempt:
                    continue
                for name, values in drawn.columns.items():
                    columns.setdefault(name, np.full(len(lengths), np.nan))
                    columns[name][rows[places].numpy()] = values.cpu().numpy()
            return designs

        return self.constraints.draw(noise, size, draw), columns

    def _score(
        self,
        drawn: list[str | None],
        further: Mapping[str, NDArray[np.float64]],
        first: int,
    ) -> pd.DataFrame:
        import numpy as np
        import pandas as pd

        designs = {row: sequence for row, sequence in enumerate(drawn) if sequence is not None}
        sequences, rows = list(designs.values()), np.array(list(designs), dtype=np.int64)
        numbers = first + 1 + rows
        columns: dict[str, Any] = {
            "id": [f"design_{self.before + number}" for number in numbers],
            "sequence": sequences,
        }
        if self.engine is not None:
            scored = self.engine.score(sequences)
            columns |= {"reward": scored.reward, **scored.columns}
            missing = np.isnan(scored.reward)
            if self.settings.on_invalid == "fail":
                self._check_missing(missing, numbers, scored.reasons)
            self.unscored += int(missing.sum())
            self.rewards += scored.reward[scored.feasible].tolist()
            self.infeasible += int((~missing & ~scored.feasible).sum())
        self.failed += len(drawn) - len(designs)
        columns |= {name: values[rows] for name, values in further.items()}
        frame = pd.DataFrame(columns).assign(
            model=self.ref, method=self.settings.method["name"], seed=self.seed
        )
        if self.engine is not None and self.settings.on_invalid == "skip":
            kept = frame[frame["reward"].notna()]
            self.dropped += len(frame) - len(kept)
            return kept
        return frame

    def _check_missing(
        self, missing: NDArray[np.bool_], drawn: NDArray[np.int64], reasons: Sequence[str | None]
    ) -> None:
        """Stop where too many designs had no score; where that is does not depend on batches."""
        import numpy as np

        unscored = self.unscored + missing.cumsum()
        # One bad design among the first few is no reason to stop.
        enough = np.maximum(drawn, min(self.settings.num, DESIGNS_TO_JUDGE_BY))
        if (unscored > LARGEST_NAN_SHARE * enough).any():
            told = [
                reason for reason, lost in zip(reasons, missing, strict=True) if lost and reason
            ]
            reason = next(iter(told), "no reason given")
            raise RewardError(
                f"{unscored[-1]} of {drawn[-1]} designs have no score "
                f"({reason}); --on-invalid worst keeps them, skip leaves them out"
            )

    def figures(self) -> dict[str, float]:
        """Best and median reward so far, of the designs within all bounds."""
        import numpy as np

        if not self.rewards:
            return {}
        return {"best": max(self.rewards), "median": float(np.median(self.rewards))}

    def counts(self, writer: DesignWriter) -> dict[str, Any]:
        """Rows and calls, for the record."""
        engine = self.engine
        return {
            "designs_done": self.done,
            "rows": {
                "requested": self.settings.num,
                "resumed": writer.rows_resumed,
                "written": writer.rows_written,
                "without_score": self.unscored,
                "dropped": self.dropped,
                "failed": self.failed,
                "outside_bounds": self.infeasible,
            },
            "calls": {
                "denoiser_calls": self.model.counter.calls,
                "denoiser_rows": self.model.counter.rows,
                "models": self.models.record(),
                "reward_rows_requested": engine.rows_requested if engine else 0,
                "reward_rows_scored": engine.rows_scored if engine else 0,
                "rewards": engine.usage() if engine else [],
            },
            **self.figures(),
        }

    def summary(self, writer: DesignWriter) -> str:
        """What happened, in two or three lines."""
        counts = self.counts(writer)
        rows, calls = counts["rows"], counts["calls"]
        drawn = max(1, self.done - self.started_at)
        failed = self.engine.failed_monitors if self.engine is not None else {}
        lines = [
            f"{rows['requested']} designs requested = {rows['written']} written"
            + (f" + {rows['resumed']} written before" if rows["resumed"] else "")
            + (f" + {self.failed} failed" if self.failed else "")
            + f" + {self.dropped} dropped; {self.unscored} without score"
            + (f", {self.infeasible} outside the bounds" if self.infeasible else "")
            + "".join(f", {n} without {name}" for name, n in failed.items()),
            f"denoiser: {calls['denoiser_rows']} rows in {calls['denoiser_calls']} calls "
            f"({calls['denoiser_rows'] / drawn:.1f} rows a design)",
        ]
        lines += [
            f"{other['ref']}: {other['rows']} rows in {other['calls']} calls "
            f"({other['rows'] / drawn:.1f} rows a design)"
            for other in calls["models"]
        ]
        if self.failed:
            lines.append(
                f"failed: {self.failed} designs broke the constraints in "
                f"{self.constraints.given_up_after}"
                + (f" ({self.constraints.reason})" if self.constraints.reason else "")
            )
        if self.engine is not None:
            lines.append(
                f"rewards: {calls['reward_rows_scored']} distinct sequences of "
                f"{calls['reward_rows_requested']} asked for "
                f"({calls['reward_rows_scored'] / drawn:.1f} a design)"
            )
        if self.rewards:
            lines.append("reward: " + ", ".join(f"{k} {v:.4g}" for k, v in self.figures().items()))
        return "\n".join(lines)


def _told(record: Mapping[str, Any], numbers: pd.Series) -> tuple[int, int, int]:
    """Designs that were done when a record was written, and how many of them failed, and dropped.

    All are 0 where the record does not say, or where the rows are not those that it speaks of.

    Args:
        record: of an interrupted run.
        numbers: of the designs that it has written.
    """
    done, rows = record.get("designs_done", 0), record.get("rows", {})
    failed, dropped = rows.get("failed", 0), rows.get("dropped", 0)
    if int((numbers <= done).sum()) != done - failed - dropped:
        return 0, 0, 0
    return done, failed, dropped
