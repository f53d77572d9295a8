"""Every sequence that was scored in a run, once."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor

    from designkit.alphabet import Alphabet
    from designkit.rewards import Scored, StandIn


class Judge(Protocol):
    """What scores written sequences: ``RewardEngine`` is one."""

    def score(self, sequences: Sequence[str], *, monitors: bool = True) -> Scored:
        """What N sequences get, in their order."""
        ...

    def score_relaxed(self, probs: Tensor, valid: Tensor | None = None) -> Tensor:
        """Rewards (N,) of letter probabilities (N, L, K); refused where there is no such score."""
        ...

    def slopes(self, tokens: Tensor) -> Tensor:
        """Derivatives (N, L, K) of rewards by the letters of (N, L) tokens; refused likewise."""
        ...


_NOTED = ("sequences", "rewards", "feasible", "objectives", "columns")


class Spent(Exception):  # noqa: N818 - a state, not a mistake
    """The next sequences would be more than the run may score."""


class Ledger:
    """A reward that is asked for each sequence once, however often a run comes back to it.

    It is the objective of samplers too, so that what they try on the way is known as well.

    Args:
        judge: scores what is new.
        alphabet: of the sequences.
        limit: most sequences to score, None for any number.

    Attributes:
        sequences: that were scored, in order.
        rewards: theirs; -inf for "no score".
        feasible: whether they keep the bounds of all rewards.
        objectives: the rewards that theirs are made of, each higher is better; -inf for "no score".
        columns: what else was recorded of each, by name.
        reasons: why some have no score, by place.
        unscored: how many have no score.
        asked: sequences asked for, known ones too.
        relaxed: rows of letter probabilities that were asked for.
    """

    def __init__(self, judge: Judge, alphabet: Alphabet, limit: int | None = None):
        self._judge, self._alphabet, self.limit = judge, alphabet, limit
        self._places: dict[str, int] = {}
        self.sequences: list[str] = []
        self.rewards: list[float] = []
        self.feasible: list[bool] = []
        self.objectives: list[list[float]] = []
        self.columns: dict[str, list[float]] = {}
        self.reasons: dict[int, str] = {}
        self.asked = self.unscored = self.relaxed = 0

    def __len__(self) -> int:
        return len(self.sequences)

    @property
    def is_full(self) -> bool:
        """Whether nothing new may be scored."""
        return self.limit is not None and len(self) >= self.limit

    def affordable(self, sequences: Sequence[str]) -> list[bool]:
        """Which of the sequences may be asked for: known ones, and new ones up to the limit."""
        left = len(sequences) if self.limit is None else self.limit - len(self)
        new: set[str] = set()
        allowed = []
        for sequence in sequences:
            if sequence not in self._places and sequence not in new:
                if len(new) >= left:
                    allowed.append(False)
                    continue
                new.add(sequence)
            allowed.append(True)
        return allowed

    def look_up(self, sequences: Sequence[str]) -> NDArray[np.int64]:
        """Places (N,) of sequences in the ledger; those that are new are scored.

        Raises:
            Spent: that would be more than ``limit``.
        """
        import numpy as np

        new = list(dict.fromkeys(s for s in sequences if s not in self._places))
        if self.limit is not None and len(self) + len(new) > self.limit:
            raise Spent
        self.asked += len(sequences)
        if new:
            found = self._judge.score(new, monitors=False)
            for place, reason in enumerate(found.reasons):
                if reason is not None and np.isnan(found.reward[place]):
                    self.reasons[len(self) + place] = reason
            rewards = np.where(np.isnan(found.reward), -np.inf, found.reward).tolist()
            columns = {name: values.tolist() for name, values in found.columns.items()}
            parts = found.objectives
            each = [[reward] for reward in rewards] if parts is None else parts.T.tolist()
            self.enter(new, rewards, found.feasible.tolist(), each, columns)
        return np.array([self._places[sequence] for sequence in sequences], dtype=np.int64)

    def enter(
        self,
        sequences: Iterable[str],
        rewards: Iterable[float],
        feasible: Iterable[bool],
        objectives: Iterable[list[float]],
        columns: dict[str, list[float]],
    ) -> None:
        """Note sequences that are not known yet, with what they were given."""
        for sequence in sequences:
            self._places[sequence] = len(self.sequences)
            self.sequences.append(sequence)
        rewards = list(rewards)
        self.unscored += rewards.count(-math.inf)
        self.rewards.extend(rewards)
        self.feasible.extend(feasible)
        self.objectives.extend(objectives)
        for name, values in columns.items():
            self.columns.setdefault(name, []).extend(values)

    def values(self, tokens: Tensor) -> Tensor:
        """The objective of (N, L) tokens, (N,) float64 on their device; -inf for "no score"."""
        return self.judged(tokens)[0]

    def judged(self, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """The objective of (N, L) tokens, as ``values``, and those that it is made of, (N, P)."""
        import torch

        places = self.look_up(self._alphabet.decode(tokens.detach().cpu().numpy())).tolist()
        rewards = torch.tensor([self.rewards[place] for place in places], dtype=torch.float64)
        each = torch.tensor([self.objectives[place] for place in places], dtype=torch.float64)
        return rewards.to(tokens.device), each.to(tokens.device)

    def stand_in(self) -> StandIn | None:
        """A cheap guess of the reward by what was scored so far; None where there is none."""
        found: Callable[[list[str]], StandIn | None] | None
        found = getattr(self._judge, "stand_in", None)
        return None if found is None else found(self.sequences)

    def score_relaxed(self, probs: Tensor, valid: Tensor | None = None) -> Tensor:
        """The relaxed reward itself; rows are counted, and nothing else is noted."""
        self.relaxed += len(probs)
        return self._judge.score_relaxed(probs, valid)

    def slopes(self, tokens: Tensor) -> Tensor:
        """Derivatives (N, L, K) of the reward by the letters of distinct sequences (N, L).

        What is new of them is in reach of ``look_up`` without another call.
        """
        return self._judge.slopes(tokens)

    def rows(self, first: int) -> dict[str, Any]:
        """What was noted from a place on, as plain lists: what ``restore`` takes."""
        return {
            "sequences": self.sequences[first:],
            "rewards": self.rewards[first:],
            "feasible": self.feasible[first:],
            "objectives": self.objectives[first:],
            "columns": {name: values[first:] for name, values in self.columns.items()},
            "reasons": {str(n): why for n, why in self.reasons.items() if n >= first},
            "asked": self.asked,
            "relaxed": self.relaxed,
        }

    def restore(self, rows: dict[str, Any]) -> None:
        """Note what an earlier run has scored."""
        self.enter(**{name: rows[name] for name in _NOTED})
        self.reasons |= {int(place): why for place, why in rows["reasons"].items()}
        self.asked, self.relaxed = rows["asked"], rows["relaxed"]
