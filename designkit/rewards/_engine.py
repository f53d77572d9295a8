"""Several rewards as one objective: distinct sequences are scored once, and all is counted."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from designkit.errors import BudgetExhausted, RewardError, UsageError
from designkit.rewards._aggregation import Aggregation, aggregate
from designkit.rewards._cache import ScoreCache
from designkit.rewards._part import WeightedReward, bound_parts
from designkit.rewards._relaxed import chained_slopes, relaxed_objective
from designkit.rewards._table import ScoreTable

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor

    from designkit.alphabet import Alphabet
    from designkit.rewards.base import StandIn

INFEASIBLE = -1e6
"""Best reward of a sequence outside the bounds; how far outside is taken off."""


@dataclass(frozen=True)
class Scored:
    """What N sequences got, in their order.

    Args:
        columns: (N,) float64 by column: a reward's label for the output that counts,
            ``label_output`` for the others; in the outputs' own units and directions, NaN for "no
            score". With bounds, ``feasible`` is 1 within all of them, 0 outside, and ``violation``
            says how far outside.
        reward: (N,) float64, the objective, higher is better; NaN where one of its parts is;
            ``INFEASIBLE`` minus the violation outside the bounds.
        reasons: (N) why ``reward`` or another value is NaN, None where none is.
        feasible: (N,) whether all bounds are kept; False where that is not known.
        objectives: (P, N) float64, each objective times its weight, higher is better. Outside the
            bounds all of them are ``reward``, where there is no score -inf. None for ``reward``
            alone.
    """

    columns: dict[str, NDArray[np.float64]]
    reward: NDArray[np.float64]
    reasons: list[str | None]
    feasible: NDArray[np.bool_]
    objectives: NDArray[np.float64] | None = None


class RewardEngine:
    """Scores sequences with several rewards.

    Filters come first, the cheap before the expensive, and what fails one is not sent on. Values
    of deterministic rewards are remembered by sequence, the least recently used forgotten first.
    Ranks, fronts and rewards of populations are over the distinct sequences that are scored
    together. Where a filter, constraint or objective is not deterministic they are over all rows,
    and that reward sees every row, each time.

    Args:
        rewards: at least one that is not a monitor. Equal labels get ``_2``, ``_3``, ...
        alphabet: of the sequences; one with other letters gets NaN and a reason, and is not sent.
        aggregation: how objectives become one.
        max_evals: most rows to send to objectives and constraints, None for any number.
        memory: most sequences to remember for each reward.
        cache: scores on disk, shared with other runs; None without.
        reference: gives the sequences that transforms take statistics from, which are not in the
            budget; asked once, and only where a transform needs them.

    Attributes:
        rewards: as given, their transforms fitted.
        columns: names of all recorded values.
        coupled: whether a sequence's reward depends on those that it is scored with; a population
            must be scored as a whole then.
        coupled_by: the rewards, and the aggregation, that make it so.
        rows_requested: rows asked for.
        rows_scored: sequences of which a value was computed, filters and monitors aside; distinct
            ones, as long as all rewards are deterministic and nothing was forgotten.
        nan_rows: rows asked for that have no objective.
        infeasible_rows: rows asked for that are outside the bounds.

    Raises:
        RewardError: a reward does not read the alphabet.
        UsageError: nothing to optimise, a column would be there twice or hide one of the table's
            own, a weight or another setting does not fit.
    """

    def __init__(
        self,
        rewards: Sequence[WeightedReward],
        *,
        alphabet: Alphabet,
        aggregation: Aggregation = "sum",
        max_evals: int | None = None,
        memory: int = 200_000,
        cache: ScoreCache | None = None,
        reference: Callable[[], Sequence[str]] | None = None,
    ):
        if not any(weighted.role != "monitor" for weighted in rewards):
            raise UsageError("no reward to optimise: all have the role monitor")
        if memory < 0 or (max_evals is not None and max_evals < 0):
            raise UsageError("numbers of evaluations and of remembered sequences are 0 or more")
        self.alphabet = alphabet
        self.aggregation = aggregation
        self.max_evals = max_evals
        self.rows_requested = 0
        self.rows_scored = 0
        self.nan_rows = 0
        self.infeasible_rows = 0
        self._cache, self._reference = cache, reference
        self._parts = bound_parts(
            rewards, alphabet=alphabet, memory=memory, cache=cache, reference=reference
        )
        self.rewards = tuple(part.weighted for part in self._parts)
        cheap_first = sorted(self._parts, key=lambda part: part.cost)
        self._filters = [part for part in cheap_first if part.role == "filter"]
        self._judges = [part for part in cheap_first if part.role in ("constraint", "objective")]
        self._monitors = [part for part in cheap_first if part.role == "monitor"]
        self._limits = [part for part in cheap_first if part.role in ("constraint", "filter")]
        self._objectives = [part for part in self._parts if part.role == "objective"]
        self._check_weights()
        names = [name for part in self._parts for name in part.names]
        self.columns = (*names, "feasible", "violation") if self._limits else tuple(names)
        self._width = len(names)
        self.coupled_by = tuple(
            part.label
            for part in self._parts
            if part.reward.info.coupled
            or (part.weighted.transform is not None and part.weighted.transform.coupled)
        ) + (("aggregation pareto",) if aggregation == "pareto" else ())
        self.coupled = bool(self.coupled_by)
        judged = [*self._filters, *self._judges]
        self._repeats = not all(part.reward.info.deterministic for part in judged)

    @property
    def calls(self) -> int:
        """Batches sent to rewards."""
        return sum(part.calls for part in self._parts)

    @property
    def failed_monitors(self) -> dict[str, int]:
        """Sequences without a value, by monitor; they do not count as failures."""
        return {part.label: part.failed for part in self._monitors if part.failed}

    def usage(self) -> list[dict[str, Any]]:
        """For each reward: calls, rows, what was known already, what failed, seconds."""
        return [part.usage() for part in self._parts]

    def close(self) -> None:
        """Give back what the rewards hold."""
        for part in self._parts:
            try:
                part.reward.close()
            except Exception as problem:  # the results are there all the same
                logging.getLogger(__name__).warning("reward %s: close: %s", part.label, problem)
        if self._cache is not None:
            self._cache.close()

    def __enter__(self) -> RewardEngine:
        return self

    def __exit__(self, *problem: object) -> None:
        self.close()

    def score(self, sequences: Sequence[str], *, monitors: bool = True) -> Scored:
        """Score N sequences.

        Args:
            sequences: of the engine's alphabet.
            monitors: whether the monitors are asked too; their columns are NaN otherwise.

        Raises:
            BudgetExhausted: more rows than ``max_evals`` would be sent; only filters were asked.
            RewardError: a reward broke its contract.
            UsageError: an aggregation that the values do not allow.
        """
        import numpy as np

        places: dict[str, int] = {}
        rows = [places.setdefault(sequence, len(places)) for sequence in sequences]
        if self._repeats:
            rows = list(range(len(sequences)))
        table = ScoreTable(list(sequences) if self._repeats else list(places), self._width)
        if not self.alphabet.is_valid("".join(table.sequences)):
            table.reasons = [self._refusal(sequence) for sequence in table.sequences]
        alive = [place for place, reason in enumerate(table.reasons) if reason is None]
        for part in self._filters:
            table.fill(part, alive)
            passed = table.violation(part)[alive] == 0  # NaN does not pass
            alive = [place for place, keep in zip(alive, passed, strict=True) if keep]
        new = self._spend([table.sequences[place] for place in alive])
        self.rows_requested += len(sequences)
        for part in self._judges:
            table.fill(part, alive, new[part.label])
        for part in self._monitors if monitors else []:
            table.fill(part, alive)
        total, violation, wanted = self._total(table, np.array(alive, dtype=np.int64))
        feasible = (violation == 0) & ~np.isnan(total)
        columns = {
            name: table.values[rows, place]
            for place, name in enumerate(self.columns[: self._width])
        }
        if self._limits:
            columns["feasible"] = np.where(np.isnan(total), np.nan, feasible)[rows]
            columns["violation"] = violation[rows]
        self.nan_rows += int(np.isnan(total)[rows].sum())
        self.infeasible_rows += int((violation > 0)[rows].sum())
        reasons = [table.reasons[row] for row in rows]
        each = np.where(feasible, wanted, np.where(np.isnan(total), -np.inf, total))
        return Scored(columns, total[rows], reasons, feasible[rows], each[:, rows])

    def monitor(self, sequences: Sequence[str]) -> dict[str, NDArray[np.float64]]:
        """Values of the monitors alone, (N,) float64 by column; NaN for "no score"."""
        table = ScoreTable(list(sequences), self._width)
        alive = [place for place, one in enumerate(sequences) if self._refusal(one) is None]
        for part in self._monitors:
            table.fill(part, alive)
        names = [name for part in self._monitors for name in part.names]
        return {name: table.values[:, self.columns.index(name)] for name in names}

    def reference_rewards(self) -> NDArray[np.float64]:
        """The objective of the reference designs, (N,); they are not in the budget.

        Designs outside the bounds do not count.

        Raises:
            RewardError: fewer than two are within.
        """
        assert self._reference is not None
        budget, self.max_evals = self.max_evals, None
        spent = self.rows_scored, self.rows_requested, self.nan_rows, self.infeasible_rows
        found = self.score(list(dict.fromkeys(self._reference())), monitors=False)
        self.max_evals = budget
        self.rows_scored, self.rows_requested, self.nan_rows, self.infeasible_rows = spent
        within = found.reward[found.feasible]
        if len(within) < 2:
            told = next(filter(None, found.reasons), "the others are outside the bounds")
            raise RewardError(
                f"{len(within)} of {len(found.reward)} reference designs have a reward within the "
                f"bounds ({told}); loosen the bounds, or give --alpha"
            )
        return within

    def values(self, tokens: Tensor) -> Tensor:
        """The objective of (N, L) tokens, (N,) float64 on their device; -inf for "no score"."""
        return self.judged(tokens)[0]

    def judged(self, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """The objective of (N, L) tokens, as ``values``, and ``Scored.objectives`` as (N, P)."""
        import numpy as np
        import torch

        written = self.alphabet.decode(tokens.detach().cpu().numpy())
        scored = self.score(written, monitors=False)
        total = np.where(np.isnan(scored.reward), -np.inf, scored.reward)
        assert scored.objectives is not None
        each = np.ascontiguousarray(scored.objectives.T)
        found = torch.from_numpy(total), torch.from_numpy(each)
        return found[0].to(tokens.device), found[1].to(tokens.device)

    def stand_in(self, scored: Sequence[str]) -> StandIn | None:
        """The stand-in of the only objective; None where there are several, or it has none.

        Args:
            scored: sequences in the order they were scored.
        """
        if len(self._objectives) != 1:
            return None
        (part,) = self._objectives
        as_it_is = part.weighted.transform is None and part.sign * part.weighted.weight > 0
        if not (part.is_first and as_it_is):
            return None
        return part.reward.stand_in(scored)

    def check_differentiable(self) -> None:
        """Refuse what ``score_relaxed`` cannot do.

        Raises:
            RewardError: an objective is not differentiable.
            UsageError: an aggregation or a transform that has no derivative.
        """
        if self.coupled:
            raise UsageError("ranks have no derivative: use another aggregation or transform")
        if not self._objectives:
            raise UsageError("bounds have no derivative: the method needs a reward to raise")
        for part in self._objectives:
            if not (part.reward.info.differentiable and part.is_first):
                raise RewardError(f"reward {part.label!r} is not differentiable")

    def score_relaxed(self, probs: Tensor, valid: Tensor | None = None) -> Tensor:
        """The objective of relaxed sequences, (B, L, K) to (B,); autograd; bounds do not count.

        Raises:
            BudgetExhausted: more rows than ``max_evals``.
            RewardError: an objective is not differentiable.
            UsageError: an aggregation or a transform that has no derivative.
        """
        self.check_differentiable()
        self._pay(len(probs))
        self.rows_requested += len(probs)
        return relaxed_objective(self._objectives, self.aggregation, probs, valid)

    def slopes(self, tokens: Tensor) -> Tensor:
        """Derivative of the objective by each letter of distinct sequences, (N, L) to (N, L, K).

        That of ``score_relaxed``, which raises the same, at their one-hots; what has no score has
        zeros. The scores are remembered, so that ``score`` asks for nothing again.
        """
        import torch.nn.functional as functional

        self.check_differentiable()
        self._pay(len(tokens))
        self.rows_requested += len(tokens)
        sequences = self.alphabet.decode(tokens.cpu().numpy())
        probs = functional.one_hot(tokens, self.alphabet.size).float()
        for part in self._judges:
            if part.role == "constraint":
                part.score(sequences)  # its rows are paid for
        return chained_slopes(self._objectives, self.aggregation, sequences, probs)

    def _total(
        self, table: ScoreTable, alive: NDArray[np.int64]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
        """Objective and violation of the bounds (N,) of a table, and its weighted parts (P, N).

        All are NaN where not known.
        """
        import numpy as np
        import torch

        count = len(table.sequences)
        objective, scored = np.zeros(count), np.zeros(count, dtype=bool)
        scored[alive] = True
        wanted = np.full((len(self._objectives), count), np.nan)
        each = [part.weighted.weight for part in self._objectives]
        weights = torch.tensor(each, dtype=torch.float64)
        if self._objectives:
            for row, part in zip(wanted, self._objectives, strict=True):
                values = table.values[:, part.chosen]
                row[:] = part.desirability(values)
                lost = np.isnan(row) & ~np.isnan(values)
                table.explain(part, np.flatnonzero(lost), "the transform gives no value")
            objective = aggregate(self.aggregation, torch.from_numpy(wanted), weights).numpy()
        violation = np.zeros(count)
        for part in self._limits:
            further = table.violation(part)
            violation += np.nan_to_num(further)
            scored &= ~np.isnan(further)
        for place in np.flatnonzero(np.isinf(objective)).tolist():
            table.reasons[place] = "the objective is not finite: give the rewards smaller weights"
        scored &= np.isfinite(objective)
        stopped = violation > 0  # by a filter, whatever the rewards after it would have said
        stopped[alive] = False
        if self._limits and bool((objective[scored] <= INFEASIBLE).any()):
            raise UsageError(
                f"an objective of {objective[scored].min():g} is not above {INFEASIBLE:g}, where "
                "designs outside the bounds rank; give the rewards smaller weights or a transform"
            )
        total = np.where(violation > 0, INFEASIBLE - violation, objective)
        known = scored | stopped
        with np.errstate(over="ignore"):  # of these the objective is not finite: told above
            wanted *= weights.numpy()[:, None]
        return np.where(known, total, np.nan), np.where(known, violation, np.nan), wanted

    def _refusal(self, sequence: str) -> str | None:
        found = self.alphabet.find_invalid(sequence)
        if found is None:
            return None
        position, symbol = found
        return f"letter {symbol!r} at position {position} is not {self.alphabet.name}"

    def _spend(self, sequences: list[str]) -> dict[str, list[str]]:
        """What is new to each reward after the filters, once the budget allows it."""
        new = {part.label: part.unknown(sequences) for part in self._judges}
        if self._repeats:
            rows = max(map(len, new.values()), default=0)
        else:
            rows = len(set().union(*new.values()))
        self._pay(rows)
        return new

    def _pay(self, rows: int) -> None:
        if self.max_evals is not None and self.rows_scored + rows > self.max_evals:
            raise BudgetExhausted(
                f"the budget of {self.max_evals} reward evaluations is spent "
                f"({self.rows_scored} made, {rows} more asked for)"
            )
        self.rows_scored += rows

    def _check_weights(self) -> None:
        for part in self._objectives:
            if part.weighted.weight <= 0 and self.aggregation != "sum":
                raise UsageError(
                    f"reward {part.label!r}: aggregation {self.aggregation} needs weights above 0"
                )
