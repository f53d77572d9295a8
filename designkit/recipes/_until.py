"""When a refinement is finished: ``rounds=20,evals=1000,time=2m,reward=1,above=12:10``."""

from __future__ import annotations

import math
import re
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import BeforeValidator, Field

from designkit.errors import UsageError
from designkit.recipes.runtime import parse_duration
from designkit.settings import Settings

if TYPE_CHECKING:
    from designkit.algorithms.refinement.base import Archive

IDLE_ROUNDS, IDLE_CHILDREN = 100, 2000
"""A run ends after so many rounds, and so many children of each lineage, without a new sequence:
all that the prior and the constraints allow nearby is known."""


def _seconds(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    try:
        return parse_duration(value)
    except UsageError as problem:
        raise ValueError("must be a time such as 90s, 30m or 2h") from problem


def _threshold(value: Any) -> Any:
    if isinstance(value, int | float):
        return value, 1
    if isinstance(value, str):
        found = re.fullmatch(r"\s*([^:\s]+)\s*(?::\s*(\d+)\s*)?", value)
        try:
            assert found is not None
            return float(found[1]), int(found[2] or 1)
        except (AssertionError, ValueError) as problem:
            raise ValueError("must be REWARD:DESIGNS, like 12:10") from problem
    return value


class Until(Settings):
    """When a refinement ends; whatever comes first.

    Attributes:
        rounds: after so many rounds.
        evals: when so many different sequences are scored; never more are.
        time: seconds, or ``90s``, ``30m``, ``2h``; a round that is not finished then is given up.
        reward: when every lineage has a design of this reward.
        plateau: when no lineage has a better design after so many rounds.
        above: when there are so many designs of at least this reward, as in ``12:10``.
    """

    rounds: int | None = Field(default=None, ge=0)
    evals: int | None = Field(default=None, ge=1)
    time: Annotated[float, BeforeValidator(_seconds), Field(gt=0)] | None = None
    reward: float | None = None
    plateau: int | None = Field(default=None, ge=1)
    above: (
        Annotated[tuple[float, Annotated[int, Field(ge=1)]], BeforeValidator(_threshold)] | None
    ) = None

    def describe(self) -> str:
        """As it is written on a command line."""
        fields = self.model_dump(exclude_none=True)
        if self.time is not None:
            fields["time"] = f"{self.time:g}s"
        if self.above is not None:
            fields["above"] = f"{self.above[0]:g}:{self.above[1]}"
        return ",".join(f"{key}={value}" for key, value in fields.items())


def as_mapping(value: Any) -> Any:
    """The fields of ``rounds=20,time=2m``; anything else as it is.

    Raises:
        ValueError: a part that is not KEY=VALUE, a key that there is not, or twice.
    """
    if not isinstance(value, str):
        return value
    fields: dict[str, Any] = {}
    for part in value.split(","):
        key, equals, text = (piece.strip() for piece in part.partition("="))
        if not equals or not key or not text:
            raise ValueError(f"{part.strip()!r} must be KEY=VALUE, like rounds=20")
        if key not in Until.model_fields:
            raise ValueError(f"unknown {key!r}; choose from {', '.join(Until.model_fields)}")
        if key in fields:
            raise ValueError(f"{key} is given twice")
        fields[key] = text
    return fields


UntilOption = Annotated[Until, BeforeValidator(as_mapping)]
"""A setting that says when a refinement ends, as text or as keys."""


class Clock:
    """The time that a run has taken, those of earlier processes included.

    Args:
        limit: seconds, None for any number.
        spent: seconds before this process.
    """

    def __init__(self, limit: float | None, spent: float = 0.0):
        self._limit = limit
        self._started = time.monotonic() - spent

    @property
    def seconds(self) -> float:
        """Taken so far."""
        return time.monotonic() - self._started

    def over(self) -> bool:
        """Whether the time is over."""
        return self._limit is not None and self.seconds >= self._limit


class Stopping:
    """Whether a run has reached what it was to go on until, or cannot.

    Args:
        until: what that is.
        archive: of the run.
        is_over: whether its time is.
        children: of each lineage in a round, at most.
        follows_law: whether designs that are known already are as welcome as new ones; rounds
            without a new one then end only a run that nothing else is sure to end.
    """

    def __init__(
        self,
        until: Until,
        archive: Archive,
        is_over: Callable[[], bool],
        children: int = 1,
        *,
        follows_law: bool = False,
    ):
        self._until, self._archive, self._is_over = until, archive, is_over
        self._looked_at = self._above = 0
        self._scored, self._fresh = -1, 0
        ends = until.rounds is not None or until.time is not None
        self._patience: float = max(IDLE_ROUNDS, -(-IDLE_CHILDREN // children))
        if follows_law and ends:
            self._patience = math.inf

    def reason(self, round: int) -> str:
        """Why the run is finished after a round; empty where it is not."""
        until, archive = self._until, self._archive
        leaders = [archive.leader(lineage) for lineage in range(archive.lineages)]
        if until.rounds is not None and round >= until.rounds:
            return f"rounds={until.rounds}"
        if until.evals is not None and len(archive.ledger) >= until.evals:
            return f"evals={until.evals}"
        if self._is_over():
            return f"time={until.time:g}s"
        if until.reward is not None and all(
            number is not None and archive.is_within(number, until.reward) for number in leaders
        ):
            return f"reward={until.reward:g}"
        if until.plateau is not None:
            since = max(archive.designs[n].round for n in leaders if n is not None)
            if round - since >= until.plateau:
                return f"plateau={until.plateau}"
        if until.above is not None:
            threshold, wanted = until.above
            new = range(self._looked_at, len(archive))
            self._above += sum(archive.is_within(number, threshold) for number in new)
            self._looked_at = len(archive)
            if self._above >= wanted:
                return f"above={threshold:g}:{wanted}"
        if self._idle(round) >= self._patience:
            return f"nothing new: {self._idle(round)} rounds found no sequence that was not known"
        return ""

    def note(self, round: int, scored: int) -> None:
        """Take note of how many sequences were scored after a round, those of a resumed run too."""
        if scored > self._scored:
            self._scored, self._fresh = scored, round

    def _idle(self, round: int) -> int:
        """Rounds since a sequence was scored, or became a design."""
        designs = self._archive.designs
        return round - max(self._fresh, designs[-1].round if designs else 0)
