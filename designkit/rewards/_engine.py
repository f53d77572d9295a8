"""Several rewards as one objective: distinct sequences are scored once, and all is counted."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from designkit.errors import BudgetExhausted, UsageError
from designkit.rewards._batches import score_all
from designkit.rewards.base import Reward

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor

    from designkit.alphabet import Alphabet

# What design tables say besides the values of rewards; a reward of that name would hide it.
TABLE_COLUMNS = frozenset(
    "id sequence reward reason log_likelihood parent round method model seed".split()
)


@dataclass(frozen=True)
class WeightedReward:
    """A reward and its part in the objective.

    Args:
        reward: the reward.
        weight: factor in the sum; the sign that makes higher better comes from the reward.
        label: column in tables; the reward's name by default.
        role: ``objective``, or ``monitor``: recorded, never optimised.
    """

    reward: Reward
    weight: float = 1.0
    label: str = ""
    role: Literal["objective", "monitor"] = "objective"


@dataclass(frozen=True)
class Scored:
    """What N sequences got, in their order.

    Args:
        columns: (N,) float64 by column: a reward's label for its first output, ``label_output`` for
            the others; in the outputs' own units and directions, NaN for "no score".
        reward: (N,) float64, the objective, higher is better; NaN where one of its parts is.
        reasons: (N) why ``reward`` or a monitor's first output is NaN, None where none is.
    """

    columns: dict[str, NDArray[np.float64]]
    reward: NDArray[np.float64]
    reasons: list[str | None]


@dataclass(frozen=True)
class _Part:
    """One reward in the engine: its label, its value columns, its factor in the objective."""

    label: str
    reward: Reward
    columns: slice
    factor: float

    @property
    def names(self) -> list[str]:
        further = self.reward.info.outputs[1:]
        return [self.label, *(f"{self.label}_{output.name}" for output in further)]


class RewardEngine:
    """Scores sequences with several rewards; the objective is their weighted sum.

    Values of deterministic rewards are remembered by sequence, the least recently used forgotten
    first. Rewards that are not deterministic see every row, each time.

    Args:
        rewards: at least one with the role ``objective``. Equal labels get ``_2``, ``_3``, ...
        alphabet: of the sequences; one with other letters gets NaN and a reason, and is not sent.
        max_evals: most rows to send to a reward, None for any number.
        memory: most sequences to remember.

    Attributes:
        columns: names of all recorded values.
        calls: batches sent to rewards.
        rows_requested: rows asked for.
        rows_scored: rows sent to the reward that saw most; distinct sequences, as long as all
            rewards are deterministic and nothing was forgotten.
        nan_rows: rows asked for that have no objective.

    Raises:
        RewardError: a reward does not read the alphabet.
        UsageError: no reward is an objective, a column would be there twice or hide one of the
            table's own, or a number is out of range.
    """

    def __init__(
        self,
        rewards: Sequence[WeightedReward],
        *,
        alphabet: Alphabet,
        max_evals: int | None = None,
        memory: int = 1_000_000,
    ):
        if not any(weighted.role == "objective" for weighted in rewards):
            raise UsageError("no reward to optimise: at least one must have the role objective")
        if memory < 0 or (max_evals is not None and max_evals < 0):
            raise UsageError("numbers of evaluations and of remembered sequences are 0 or more")
        self.alphabet = alphabet
        self.max_evals = max_evals
        self.calls = 0
        self.rows_requested = 0
        self.rows_scored = 0
        self.nan_rows = 0
        self._memory = memory
        self._memo: OrderedDict[str, tuple[list[float], str | None]] = OrderedDict()
        self._parts = _parts(rewards)
        self.columns = tuple(name for part in self._parts for name in part.names)
        for weighted in rewards:
            weighted.reward.bind(alphabet)
        self._steady = [part for part in self._parts if part.reward.info.deterministic]
        self._fresh = [part for part in self._parts if not part.reward.info.deterministic]

    def score(self, sequences: Sequence[str]) -> Scored:
        """Score N sequences.

        Raises:
            BudgetExhausted: more rows than ``max_evals`` would be sent; nothing is sent then.
            RewardError: a reward broke its contract.
        """
        import numpy as np

        places: dict[str, int] = {}
        rows = [places.setdefault(sequence, len(places)) for sequence in sequences]
        values = np.full((len(places), len(self.columns)), np.nan)
        reasons = [self._refusal(sequence) for sequence in places]
        known = self._recall(places, values, reasons)
        new = [s for s, place in places.items() if reasons[place] is None and place not in known]
        accepted = [
            row for row, place in enumerate(rows) if reasons[place] is None or place in known
        ]
        self._spend(len(accepted) if self._fresh else len(new))
        self.rows_requested += len(sequences)

        self._fill(self._steady, new, [places[s] for s in new], values, reasons)
        for sequence in new:
            place = places[sequence]
            self._memo[sequence] = values[place].tolist(), reasons[place]
        while len(self._memo) > self._memory:
            self._memo.popitem(last=False)

        values, reasons = values[rows], [reasons[place] for place in rows]
        self._fill(self._fresh, [sequences[row] for row in accepted], accepted, values, reasons)
        total = np.zeros(len(sequences))
        for part in self._parts:
            if part.factor:
                total += part.factor * values[:, part.columns.start]
        self.nan_rows += int(np.isnan(total).sum())
        columns = {name: values[:, place].copy() for place, name in enumerate(self.columns)}
        return Scored(columns, total, reasons)

    def values(self, tokens: Tensor) -> Tensor:
        """The objective of (N, L) tokens, (N,) float64 on their device; -inf for "no score"."""
        import numpy as np
        import torch

        total = self.score(self.alphabet.decode(tokens.detach().cpu().numpy())).reward
        return torch.from_numpy(np.where(np.isnan(total), -np.inf, total)).to(tokens.device)

    def _refusal(self, sequence: str) -> str | None:
        found = self.alphabet.find_invalid(sequence)
        if found is None:
            return None
        position, symbol = found
        return f"letter {symbol!r} at position {position} is not {self.alphabet.name}"

    def _recall(
        self, places: dict[str, int], values: NDArray[np.float64], reasons: list[str | None]
    ) -> set[int]:
        """Fill in what is remembered, and say at which places."""
        hits = [(place, self._memo[s]) for s, place in places.items() if s in self._memo]
        if hits:
            values[[place for place, _ in hits]] = [remembered for _, (remembered, _) in hits]
        for place, (_, reason) in hits:
            reasons[place] = reason
        for sequence in places:
            if sequence in self._memo:
                self._memo.move_to_end(sequence)
        return {place for place, _ in hits}

    def _spend(self, rows: int) -> None:
        if self.max_evals is not None and self.rows_scored + rows > self.max_evals:
            raise BudgetExhausted(
                f"the budget of {self.max_evals} reward evaluations is spent "
                f"({self.rows_scored} made, {rows} more asked for)"
            )
        self.rows_scored += rows

    def _fill(
        self,
        parts: Sequence[_Part],
        sequences: list[str],
        places: list[int],
        values: NDArray[np.float64],
        reasons: list[str | None],
    ) -> None:
        """Score with some of the rewards; write to the given rows of ``values`` and ``reasons``."""
        if not sequences:
            return
        for part in parts:
            info = part.reward.info
            scores = score_all(part.reward, sequences)
            self.calls += -(-len(sequences) // (info.max_batch or len(sequences)))
            values[places, part.columns] = scores.values
            for place, error in zip(places, scores.errors, strict=True):
                if error is not None:
                    earlier = reasons[place]
                    reason = f"{part.label}: {error}"
                    reasons[place] = reason if earlier is None else f"{earlier}; {reason}"


def _parts(rewards: Sequence[WeightedReward]) -> list[_Part]:
    parts: list[_Part] = []
    taken: set[str] = set()
    start = 0
    for weighted in rewards:
        outputs = weighted.reward.info.outputs
        label = wanted = weighted.label or weighted.reward.info.name
        number = 1
        while label in taken:
            number += 1
            label = f"{wanted}_{number}"
        factor = weighted.weight * outputs[0].sign if weighted.role == "objective" else 0.0
        part = _Part(label, weighted.reward, slice(start, start + len(outputs)), factor)
        if taken & set(part.names):
            raise UsageError(f"two rewards record a column {sorted(taken & set(part.names))[0]!r}")
        if TABLE_COLUMNS & set(part.names):
            column = min(TABLE_COLUMNS & set(part.names))
            raise UsageError(f"a reward cannot have the column {column!r}: give it another label")
        taken |= set(part.names)
        start += len(outputs)
        parts.append(part)
    return parts
