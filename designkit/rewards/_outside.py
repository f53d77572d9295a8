"""What ``exec`` and ``exec1`` share: their parameters, their info, how an answer becomes values."""

from __future__ import annotations

import logging
import math
import os
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

from pydantic import BeforeValidator, Field

from designkit.alphabet import Alphabet
from designkit.errors import RewardError
from designkit.rewards._program import files_of, split_command
from designkit.rewards.base import Output, Reward
from designkit.settings import Settings

PROTOCOL = "1"

_SCRIPT = re.compile(r"\.(py|sh|r|pl|jl|js|rb|awk|lua)$", re.IGNORECASE)
_LONGEST_REASON = 300
_COMPLAINTS = 10


def _names(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    return [part.strip() for part in value.split(",")] if value else []


Names = Annotated[tuple[Annotated[str, Field(min_length=1)], ...], BeforeValidator(_names)]


class OutsideSettings(Settings):
    """The program, and what it says of itself nowhere else.

    Args:
        command: the program and its arguments, quoted as for a shell.
        name: of the reward; by default the file name of the script, or else of the program.
        outputs: names of several outputs, separated by commas; the first is the objective.
        unit: of the first output.
        alphabet: names of the alphabets it reads, separated by commas; any by default.
        version: to be raised when values change and no file named by the command does.
        deterministic: whether a sequence always gets the same value.
        timeout: seconds, see the reward.
    """

    command: str
    name: str = ""
    outputs: Names = ()
    unit: str = ""
    alphabet: Names = ()
    version: str = "1"
    deterministic: bool = True
    timeout: float = Field(default=300, gt=0)


class OutsideReward(Reward):
    """A reward that an outside program computes.

    Attributes:
        files: existing files that the command names: what they hold is part of the identity.
    """

    settings: OutsideSettings

    def __init__(self, **parameters: object):
        super().__init__(**parameters)
        settings = self.settings
        self.words = split_command(self.info.name, settings.command)
        self.files: tuple[Path, ...] = files_of(self.words)
        script = next((word for word in self.words if _SCRIPT.search(word)), self.words[0])
        name = settings.name or re.sub(r"\W", "_", Path(script).stem)
        outputs = [Output(output) for output in settings.outputs or (name,)]
        outputs[0] = replace(outputs[0], unit=settings.unit)
        self.info = replace(
            self.info,
            name=name,
            version=settings.version,
            alphabets=settings.alphabet,
            outputs=tuple(outputs),
            deterministic=settings.deterministic,
        )
        self.environment = {"DESIGNKIT_PROTOCOL": PROTOCOL}
        if "PYTHONUNBUFFERED" not in os.environ:  # a print() without flush would never arrive
            self.environment["PYTHONUNBUFFERED"] = "1"

    def bind(self, alphabet: Alphabet) -> None:
        """Programs that are started from now on find the alphabet in their environment."""
        super().bind(alphabet)
        self.environment["DESIGNKIT_ALPHABET"] = alphabet.name


class Answers:
    """Values of N items, as far as they are known.

    Args:
        count: N.
        outputs: their names.

    Attributes:
        values: (N, outputs), NaN where there is none.
        errors: (N) why.
        open: items that have neither value nor error.
    """

    def __init__(self, count: int, outputs: Sequence[str]):
        import numpy as np

        self.outputs = outputs
        self.values = np.full((count, len(outputs)), np.nan)
        self.errors: list[str | None] = [None] * count
        self.open = set(range(count))

    def accept(self, item: int, answer: Sequence[Any]) -> None:
        """Note what a program wrote for each output; None is no score.

        An item that is answered again, with other values, has no score.
        """
        import numpy as np

        values, error = read_values(answer)
        if item not in self.open:
            same = np.array_equal(values, self.values[item], equal_nan=True)
            if not same or error != self.errors[item]:
                self.fail(item, "the program answered twice, and not the same")
            return
        self.values[item] = values
        self.errors[item] = error
        self.open.discard(item)

    def fail(self, item: int, reason: str) -> None:
        """Note why an item has no score."""
        self.values[item] = math.nan
        self.errors[item] = reason
        self.open.discard(item)


def read_values(answer: Sequence[Any]) -> tuple[list[float], str | None]:
    """Numbers of one item, and why there is no score.

    None and NaN mean no score; anything else that is not a finite number is a failure. Only the
    first output must have a value.
    """
    values = []
    for value in answer:
        if value is None:
            values.append(math.nan)
            continue
        try:
            if isinstance(value, bool) or not isinstance(value, int | float):
                raise TypeError
            number = float(value)
        except (TypeError, OverflowError):
            return [math.nan] * len(answer), f"the program returned {shorten(value)}, not a number"
        if math.isinf(number):
            return [math.nan] * len(answer), f"the program returned {number}"
        values.append(number)
    return values, "the program gave no score" if math.isnan(values[0]) else None


def shorten(value: Any) -> str:
    """A value as one line of a message, whatever it is."""
    text = value if isinstance(value, str) else repr(value)
    line = " ".join(text.encode(errors="replace").decode().split())
    return line if len(line) <= _LONGEST_REASON else line[: _LONGEST_REASON - 3] + "..."


class Complaints:
    """What a program does wrong, said so often and no more.

    Args:
        label: what the log calls the program.
    """

    def __init__(self, label: str):
        self._label = label
        self._left = _COMPLAINTS

    def add(self, text: str, found: Any) -> None:
        """Log a complaint about something the program wrote."""
        self._left -= 1
        if self._left >= 0:
            end = "" if self._left else " (no more of these are shown)"
            found = found.decode(errors="replace") if isinstance(found, bytes) else found
            logging.getLogger(__name__).warning(
                "%s: %s, ignored: %s%s", self._label, text, shorten(found), end
            )


def never_answered(name: str, problem: str, last_words: Sequence[str]) -> RewardError:
    """The error of a program that never gave an answer, with its last lines of standard error."""
    said = f": {' | '.join(map(shorten, last_words))}" if last_words else ""
    return RewardError(f"reward {name!r}: {problem}, and nothing was ever answered{said}")
