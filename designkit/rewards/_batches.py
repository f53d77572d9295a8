"""Batches of a reward: checked, split where they fail, made smaller where memory runs out."""

from __future__ import annotations

import contextlib
import logging
import math
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from designkit.errors import DesignkitError, RewardError
from designkit.rewards.base import RewardInfo, Scores

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from designkit.rewards.base import Reward

Score = Callable[[list[str]], Scores]
"""Gives the scores of one batch."""

_OUT_OF_MEMORY = "OutOfMemoryError"  # torch's, by name: torch need not be imported to catch it


class BatchScorer:
    """Scores in batches of ``max_batch`` and checks every answer.

    A batch that runs out of memory is halved, and so are all later ones. A batch that raises
    anything else is halved until the failing items are alone; each gets NaN and the message. A
    population of a coupled reward fails as a whole.
    Infinite values are failures too. What a reward prints goes to standard error.

    Args:
        score: gives the scores of one batch.
        info: of the reward.

    Attributes:
        calls: batches sent.
        rows: sequences sent, those sent again in halves of a failing batch not counted.
    """

    def __init__(self, score: Score, info: RewardInfo):
        self._score = score
        self._info = info
        self._size = info.max_batch or sys.maxsize
        self.calls = 0
        self.rows = 0

    def score(self, sequences: Sequence[str], by: Score | None = None) -> Scores:
        """The N scores of N sequences; every NaN in the first output has a reason.

        Args:
            sequences: N.
            by: gives the scores of one batch of them, in place of the usual.

        Raises:
            RewardError: the reward broke its contract (another number of values, of outputs), or
                raised this itself; nothing of that call can be trusted.
        """
        import numpy as np

        self.rows += len(sequences)
        parts, start = [], 0
        while start < len(sequences):
            size = self._size
            batch = list(sequences[start : start + size])
            try:
                parts.append(self._score_or_split(batch, by or self._score))
            except MemoryError:
                self._size = max(1, min(size, len(batch)) // 2)
                logging.getLogger(__name__).warning(
                    "reward %s: out of memory; going on with batches of %d",
                    self._info.name,
                    self._size,
                )
                continue
            start += len(batch)
        if not parts:
            return Scores(np.zeros((0, len(self._info.outputs))), [])
        errors = [error for part in parts for error in part.errors]
        return Scores(np.concatenate([part.values for part in parts]), errors)

    def _score_or_split(self, batch: list[str], by: Score) -> Scores:
        import numpy as np

        self.calls += 1
        try:
            # What a reward prints must not get into designs that go to standard output.
            with contextlib.redirect_stdout(sys.stderr):
                scores = by(list(batch))
            return _checked(scores, self._info, len(batch))
        except (DesignkitError, KeyboardInterrupt):
            raise
        except BaseException as problem:  # also what exits, and what extensions in Rust raise
            if len(batch) == 1 or self._info.coupled:  # half a population is another one
                reason = " ".join(f"{type(problem).__name__}: {problem}".split())
                missing = np.full((len(batch), len(self._info.outputs)), np.nan)
                return Scores(missing, [reason] * len(batch))
            if isinstance(problem, MemoryError) or type(problem).__name__ == _OUT_OF_MEMORY:
                raise MemoryError from problem
        middle = len(batch) // 2
        first = self._score_or_split(batch[:middle], by)
        second = self._score_or_split(batch[middle:], by)
        return Scores(np.concatenate([first.values, second.values]), first.errors + second.errors)


def score_all(reward: Reward, sequences: Sequence[str]) -> Scores:
    """The checked scores of N sequences by one reward; see ``BatchScorer``."""
    return BatchScorer(reward.score, reward.info).score(sequences)


def _checked(scores: Scores, info: RewardInfo, count: int) -> Scores:
    import numpy as np

    if not isinstance(scores, Scores):
        raise RewardError(
            f"reward {info.name!r} returned {type(scores).__name__}, not designkit.rewards.Scores"
        )
    values: NDArray[np.float64] = np.array(scores.values, dtype=np.float64)
    errors = list(scores.errors)
    if len(values) != count or len(errors) != count:
        found = len(values) if len(values) != count else len(errors)
        raise RewardError(f"reward {info.name!r} returned {found} values for {count} sequences")
    if values.shape != (count, len(info.outputs)):
        raise RewardError(
            f"reward {info.name!r} returned values of shape {values.shape}; "
            f"{count} sequences with {len(info.outputs)} outputs need "
            f"{(count, len(info.outputs))}"
        )
    values[[row for row, error in enumerate(errors) if error is not None]] = np.nan
    for row in np.flatnonzero(~np.isfinite(values[:, 0])):
        if not math.isnan(values[row, 0]):
            errors[row] = errors[row] or f"the reward returned {values[row, 0]}"
        errors[row] = errors[row] or "the reward gave no score"
    values[~np.isfinite(values)] = np.nan
    return Scores(values, errors)
