"""One reward of an objective: its place in it, what it remembers, what it counts."""

from __future__ import annotations

import time
from collections import OrderedDict, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

from designkit.errors import DesignkitError, RewardError, UsageError, did_you_mean
from designkit.rewards._batches import BatchScorer, Score
from designkit.rewards._cache import ScoreCache
from designkit.rewards._identity import identity
from designkit.rewards._transforms import Transform
from designkit.rewards.base import Direction, Reward, Scores

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor

    from designkit.alphabet import Alphabet

FEWEST_REFERENCES = 20
# Between two writes to the disk an expensive reward is asked for as many sequences as take some
# seconds; not fewer than several workers can share.
_ROWS_AT_RISK = 16
_SECONDS_AT_RISK = 10
Role = Literal["objective", "constraint", "filter", "monitor"]

# What design tables say besides the values of rewards; a reward of that name would hide it.
TABLE_COLUMNS = frozenset(
    "id sequence reward feasible violation reason log_likelihood log_likelihood_se "
    "log_normalizer parent round method model seed".split()
)


@dataclass(frozen=True)
class WeightedReward:
    """A reward and its part in a run.

    Args:
        reward: the reward.
        weight: factor in the aggregation, or of the violation of a constraint.
        label: column in tables; the reward's name by default.
        role: ``objective``; ``constraint``: sequences outside its bounds rank below all others;
            ``filter``: the same, and they are not sent to the rewards after it; ``monitor``:
            recorded, never optimised.
        transform: of an objective's value; without one, the value with the sign that makes higher
            better.
        output: which output counts, the first without one.
        direction: what is better, where the reward's own direction is not meant.
        at_least: lower bound of a constraint or filter, in the output's unit.
        at_most: upper bound.
    """

    reward: Reward
    weight: float = 1.0
    label: str = ""
    role: Role = "objective"
    transform: Transform | None = None
    output: str | None = None
    direction: Direction | None = None
    at_least: float | None = None
    at_most: float | None = None


class Part:
    """A reward in the engine.

    Args:
        weighted: the reward and its part.
        label: its column.
        start: first of its places among the engine's columns.
        alphabet: of the sequences; the reward is bound to it.
        memory: most sequences to remember.
        cache: scores on disk, None without.
        reference: gives the sequences whose values a transform takes its statistics from.

    Attributes:
        weighted: as given, its transform fitted.
        names: its columns: the label for the output that counts, ``label_output`` for the others.
        columns: their places.
        chosen: place of the output that counts.
        sign: 1 where more of it is better, -1 where less is.

    Raises:
        UsageError: bounds, transform, output or direction that do not fit the role or the reward.
    """

    def __init__(
        self,
        weighted: WeightedReward,
        label: str,
        start: int,
        *,
        alphabet: Alphabet,
        memory: int,
        cache: ScoreCache | None,
        reference: Callable[[], Sequence[str]] | None,
    ):
        self.weighted = weighted
        self.reward = weighted.reward
        self.label = label
        self.role = weighted.role
        info = self.reward.info
        names = [output.name for output in info.outputs]
        if weighted.output is not None and weighted.output not in names:
            raise UsageError(
                f"reward {label!r} has no output {weighted.output!r}"
                f"{did_you_mean(weighted.output, names)} (it has {', '.join(names)})"
            )
        index = names.index(weighted.output) if weighted.output else 0
        self.names = [label if k == index else f"{label}_{name}" for k, name in enumerate(names)]
        self.columns = slice(start, start + len(names))
        self.chosen = start + index
        self.is_first = index == 0
        direction = weighted.direction or info.outputs[index].direction
        self.sign = 1 if direction == "maximize" else -1
        _check(weighted, label, direction)
        self.reuses = info.deterministic and not info.coupled
        self.seconds = 0.0
        self.from_memory = self.from_cache = self.failed = 0
        self._scorer = BatchScorer(self.reward.score, info)
        self._memory = memory
        # One plain tuple each: the garbage collector has nothing to look for in them.
        self._memo: OrderedDict[str, tuple[float, ...]] = OrderedDict()
        self._reasons: dict[str, str] = {}
        self._table = (
            cache.table(*identity(self.reward, alphabet), len(names))
            if cache and self.reuses
            else None
        )
        if weighted.transform is not None and weighted.transform.needs_reference:
            self.weighted = replace(weighted, transform=self._fitted(weighted.transform, reference))

    @property
    def cost(self) -> int:
        """Cheap ones first."""
        return int(self.reward.info.cost != "cheap")

    @property
    def rows(self) -> int:
        """Sequences sent to the reward."""
        return self._scorer.rows

    @property
    def calls(self) -> int:
        """Batches sent to the reward."""
        return self._scorer.calls

    def usage(self) -> dict[str, Any]:
        """What was sent, what was known already, what failed, and the time it took."""
        return {
            "column": self.label,
            "calls": self.calls,
            "rows": self.rows,
            "from_memory": self.from_memory,
            "from_cache": self.from_cache,
            "failed": self.failed,
            "seconds": round(self.seconds, 3),
        }

    def unknown(self, sequences: Sequence[str]) -> list[str]:
        """Those that would have to be sent; scores on disk are remembered on the way."""
        if not self.reuses:
            return list(sequences)
        distinct = dict.fromkeys(sequences)
        new = [s for s in distinct if s not in self._memo]
        self.from_memory += len(distinct) - len(new)
        if not (self._table and new):
            return new
        found = self._table.find(new)
        self.from_cache += len(found)
        self._memo.update(found)
        return [s for s in new if s not in found]

    def score(self, sequences: Sequence[str], new: list[str] | None = None) -> Scores:
        """Values (N, outputs) in the reward's units and reasons (N) of N sequences.

        Args:
            sequences: to score.
            new: those of them that ``unknown`` gave, where it was asked already.
        """
        import numpy as np

        new = self.unknown(sequences) if new is None else new
        if not self.reuses:
            return self._ask(new)
        memo = self._memo
        # What was paid for is on disk soon, whatever happens to the run.
        size, start = _ROWS_AT_RISK if self._table and self.cost else max(1, len(new)), 0
        while start < len(new):
            asked = new[start : start + size]
            before = self.seconds
            scores = self._ask(asked)
            self._remember(asked, scores)
            rate = len(asked) / max(self.seconds - before, 1e-9)
            start += len(asked)
            size = max(_ROWS_AT_RISK, min(int(_SECONDS_AT_RISK * rate), len(new)))
        values = np.array([memo[s] for s in sequences]).reshape(len(sequences), len(self.names))
        errors = [self._reasons.get(s) for s in sequences]
        if len(new) < len(sequences):
            deque(map(memo.move_to_end, sequences), maxlen=0)
        while len(memo) > self._memory:
            forgotten, _ = memo.popitem(last=False)
            self._reasons.pop(forgotten, None)
        return Scores(values, errors)

    def slopes(self, sequences: list[str], probs: Tensor) -> tuple[NDArray[np.float64], Tensor]:
        """Values (N,) of the first output and its derivatives (N, L, K); scores are remembered.

        Args:
            sequences: N distinct ones.
            probs: (N, L, K) their one-hots.

        Returns:
            NaN and zeros where there is no score.
        """
        import numpy as np
        import torch

        rows = {sequence: row for row, sequence in enumerate(sequences)}
        found = torch.zeros_like(probs)

        def score(batch: list[str]) -> Scores:
            own = [rows[sequence] for sequence in batch]
            scores, found[own] = self.reward.score_with_slopes(batch, probs[own])
            return scores

        known = [sequence for sequence in sequences if self.reuses and sequence in self._memo]
        own = [rows[sequence] for sequence in known]
        if own:
            found[own] = self.reward.slopes(probs[own])
        values = np.full(len(sequences), np.nan)
        values[own] = [self._memo[sequence][0] for sequence in known]
        new = [sequence for sequence in sequences if sequence not in set(known)]
        scores = self._ask(new, score)
        values[[rows[sequence] for sequence in new]] = scores.values[:, 0]
        if self.reuses:
            self._remember(new, scores)
        return values, found

    def _remember(self, sequences: list[str], scores: Scores) -> None:
        """Note the scores of sequences, on disk too."""
        found = zip(sequences, scores.errors, strict=True)
        reasons = {sequence: error for sequence, error in found if error is not None}
        values = zip(*scores.values.T.tolist(), strict=True)
        fresh = dict(zip(sequences, values, strict=True))
        if self._table:
            self._table.add({s: own for s, own in fresh.items() if s not in reasons})
        self._memo.update(fresh)
        self._reasons.update(reasons)

    def _ask(self, sequences: list[str], by: Score | None = None) -> Scores:
        """Send sequences to the reward; time and failures are counted."""
        started = time.perf_counter()
        scores = self._scorer.score(sequences, by)
        self.seconds += time.perf_counter() - started
        self.failed += len(scores.errors) - scores.errors.count(None)
        return scores

    def _fitted(
        self, transform: Transform, reference: Callable[[], Sequence[str]] | None
    ) -> Transform:
        """The transform with the statistics of the reference."""
        import numpy as np

        if reference is None:
            raise UsageError(
                f"reward {self.label!r}: its transform needs reference values: "
                "--set reference=FILE names sequences to take them from, --model PRIOR draws them"
            )
        sequences = list(dict.fromkeys(reference()))
        values = self.score(sequences).values[:, self.chosen - self.columns.start]
        values = values[~np.isnan(values)]
        if len(values) < FEWEST_REFERENCES:
            raise RewardError(
                f"reward {self.label!r}: its transform needs {FEWEST_REFERENCES} reference "
                f"sequences with a score, {len(values)} of {len(sequences)} have one"
            )
        try:
            return transform.fitted(values)
        except ValueError as problem:
            raise RewardError(f"reward {self.label!r}: {problem}") from problem

    def desirability(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """The wanted output's values (N,), transformed; higher is better."""
        import torch

        wanted: NDArray[np.float64] = self.wanted(torch.from_numpy(values)).numpy()
        return wanted

    def wanted(self, values: Tensor) -> Tensor:
        """The same of tensors; autograd."""
        transform = self.weighted.transform
        return self.sign * values if transform is None else transform.apply(values, self.sign)

    def violation(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Weighted distance of values (N,) from the bounds, 0 within; NaN stays NaN."""
        import numpy as np

        low, high = self.weighted.at_least, self.weighted.at_most
        below = np.maximum(-np.inf if low is None else low - values, 0)
        above = np.maximum(-np.inf if high is None else values - high, 0)
        return np.where(np.isnan(values), np.nan, self.weighted.weight * (below + above))


def _check(weighted: WeightedReward, label: str, direction: Direction) -> None:
    low, high = weighted.at_least, weighted.at_most
    bounded = low is not None or high is not None
    if low is not None and high is not None and low > high:
        raise UsageError(f"{weighted.role} {label!r}: at_least={low:g} is above at_most={high:g}")
    is_limit = weighted.role in ("constraint", "filter")
    if is_limit and not bounded:
        raise UsageError(f"{weighted.role} {label!r} needs at_least, at_most or both")
    if bounded and not is_limit:
        raise UsageError(
            f"reward {label!r}: at_least and at_most are for the roles constraint and filter"
        )
    if is_limit and weighted.weight <= 0:
        raise UsageError(f"{weighted.role} {label!r}: its weight must be above 0")
    transform = weighted.transform
    if transform is None:
        return
    if weighted.role != "objective":
        raise UsageError(f"reward {label!r}: a transform is for the role objective")
    against = {"rises": "minimize", "falls": "maximize"}.get(transform.trend)
    if direction == against:
        name = type(transform).__name__
        advice = "reverse_sigmoid" if transform.trend == "rises" else "sigmoid"
        better = "less" if direction == "minimize" else "more"
        raise UsageError(
            f"reward {label!r}: {better} is better, but {name} {transform.trend}; use {advice}, "
            f"or say direction={'maximize' if direction == 'minimize' else 'minimize'}"
        )


def bound_parts(
    rewards: Sequence[WeightedReward], *, alphabet: Alphabet, **shared: Any
) -> list[Part]:
    """The rewards of an engine, bound to an alphabet; equal labels get ``_2``, ``_3``, ...

    Args:
        rewards: in the order of their columns.
        alphabet: of the sequences.
        shared: what else ``Part`` takes.

    Raises:
        RewardError: a reward does not read the alphabet.
        UsageError: two rewards record the same column, or one hides a column of design tables.
    """
    for weighted in rewards:
        _bind(weighted.reward, alphabet)
    parts: list[Part] = []
    taken: set[str] = set()
    start = 0
    for weighted in rewards:
        label = wanted = weighted.label or weighted.reward.info.name
        number = 1
        while label in taken:
            number += 1
            label = f"{wanted}_{number}"
        part = Part(weighted, label, start, alphabet=alphabet, **shared)
        if taken & set(part.names):
            raise UsageError(f"two rewards record a column {sorted(taken & set(part.names))[0]!r}")
        if TABLE_COLUMNS & set(part.names):
            column = min(TABLE_COLUMNS & set(part.names))
            raise UsageError(f"a reward cannot have the column {column!r}: give it another label")
        taken |= set(part.names)
        start = part.columns.stop
        parts.append(part)
    return parts


def _bind(reward: Reward, alphabet: Alphabet) -> None:
    try:
        reward.bind(alphabet)
    except DesignkitError:
        raise
    except Exception as problem:
        reason = " ".join(f"{type(problem).__name__}: {problem}".split())
        raise RewardError(f"reward {reward.info.name!r} cannot be bound: {reason}") from problem
