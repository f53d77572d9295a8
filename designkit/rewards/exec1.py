"""Whatever an outside program says of a batch: ``exec1:COMMAND``, started for each batch."""

from __future__ import annotations

import logging
import math
import re
import time
from collections.abc import Sequence
from dataclasses import replace

from pydantic import Field

from designkit.rewards._outside import (
    Answers,
    Complaints,
    OutsideReward,
    OutsideSettings,
    never_answered,
    shorten,
)
from designkit.rewards._program import LONGEST_LINE, Program, exchange, stop, wait
from designkit.rewards.base import RewardInfo, Scores

FAILED_RUNS = 50  # of a batch, before nothing of it is halved any more
_EXIT = 5.0  # seconds to end after the output was closed
_GLANCE = 1.0  # seconds between two looks at whether the program has ended
_ID = re.compile("[0-9]{1,18}")
_NO_SCORE = {"", "na", "nan", "null", "none"}


class Exec1Settings(OutsideSettings):
    """The program, and how much it gets at a time.

    Args:
        command: see ``OutsideSettings``, as for name, outputs, unit, alphabet, version and
            deterministic.
        timeout: seconds that one run may take.
        max_batch: most sequences of one run, any number by default.
        header: whether the table it gets, and the one it writes, begin with a line of names.
    """

    timeout: float = Field(default=3600, gt=0)
    max_batch: int | None = Field(default=None, ge=1)
    header: bool = False


class Exec1(OutsideReward):
    """The number that a program writes for each sequence of a batch, in a table.

    It reads lines ``id<TAB>sequence`` to the end of its input, writes lines ``id<TAB>value``, in
    any order, with one more column for each further output, and ends with exit code 0. With
    another one, what it has answered counts, and the rest is tried again: where it answered
    nothing, in halves, to find the sequences at fault.

    Raises:
        RewardError: there is no such program.
    """

    template = RewardInfo(name="exec1", cost="expensive")
    settings_type = Exec1Settings
    speed_parameters = frozenset({"timeout", "max_batch"})
    settings: Exec1Settings

    def __init__(self, **parameters: object):
        super().__init__(**parameters)
        self.info = replace(self.info, max_batch=self.settings.max_batch)
        self._complaints = Complaints(self.info.name)
        self._next_id = 0
        self._ever_answered = False

    def score(self, sequences: list[str]) -> Scores:
        """(N, outputs).

        Raises:
            RewardError: the program cannot be started, or fails again and again without ever
                having answered.
        """
        size = self.settings.max_batch or max(len(sequences), 1)
        answers = Answers(len(sequences), [output.name for output in self.info.outputs])
        for start in range(0, len(sequences), size):
            self._score_batch(sequences, range(start, min(start + size, len(sequences))), answers)
        return Scores(answers.values, answers.errors)

    def _score_batch(self, sequences: Sequence[str], batch: range, answers: Answers) -> None:
        to_do: list[list[int]] = [list(batch)]
        failed = 0
        enough = math.ceil(math.log2(len(batch))) + 1  # runs to find one item by halves
        while to_do:
            items = to_do.pop()
            problem, again, program = self._run(sequences, items, answers)
            left = [item for item in items if item in answers.open]
            if not left:
                continue
            failed += again
            if again and failed > enough and not self._ever_answered:
                raise never_answered(self.info.name, problem, program.last_words)
            if not again or len(items) == 1 or failed >= FAILED_RUNS:
                for item in left:
                    answers.fail(item, problem)
            elif len(left) < len(items):
                to_do.append(left)
            else:
                middle = len(left) // 2
                to_do += [left[middle:], left[:middle]]

    def _run(
        self, sequences: Sequence[str], items: Sequence[int], answers: Answers
    ) -> tuple[str, bool, Program]:
        """One run of the program.

        Returns:
            Why an item is still open, whether another run may help, and the program.
        """
        waiting = dict(enumerate(items, self._next_id))
        self._next_id += len(items)
        header = "id\tsequence\n" if self.settings.header else ""
        table = "".join(f"{key}\t{sequences[item]}\n" for key, item in waiting.items())
        program = Program(self.words, self.info.name, self.environment)
        try:
            program.send((header + table).encode())
            program.end_input()
            self._hear(program, waiting, answers)
            closed = program.finished
            wait([program], _EXIT if closed else 0)
            code = program.exit_code  # None where it has to be stopped
        finally:
            stop([program])
        if code == 0:
            if program.rest:  # the last line needs no line end
                self._read([program.rest], waiting, answers)
            return "the program wrote no line for it", False, program
        if code is not None:
            said = f": {shorten(program.last_words[-1])}" if program.last_words else ""
            problem = f"the program failed (exit code {code}){said}"
        elif closed:
            problem = "the program closed its output, and did not end"
        elif len(program.rest) > LONGEST_LINE:
            problem = f"the program wrote a line of more than {LONGEST_LINE // 2**20} MB"
        else:
            problem = f"the program took more than {self.settings.timeout:g} s"
        logging.getLogger(__name__).warning("%s: %s", self.info.name, problem)
        return problem, code is not None, program

    def _hear(self, program: Program, waiting: dict[int, int], answers: Answers) -> None:
        """Read what the program writes, to the end of its output or of its time."""
        deadline = time.monotonic() + self.settings.timeout
        names_to_come = self.settings.header
        while not program.finished and len(program.rest) <= LONGEST_LINE:
            left = deadline - time.monotonic()
            if left <= 0:
                return
            exchange([program], min(left, _GLANCE))
            if program.has_ended():  # what it left running may hold its output open
                deadline = min(deadline, time.monotonic() + _GLANCE)
            lines = program.take_lines()
            if lines and names_to_come:
                names_to_come, lines = False, lines[1:]
            self._read(lines, waiting, answers)

    def _read(self, lines: Sequence[bytes], waiting: dict[int, int], answers: Answers) -> None:
        """Join lines to items by their ids."""
        for line in lines:
            if not line.strip():
                continue
            key, *cells = line.decode(errors="replace").rstrip("\r").split("\t")
            item = waiting.get(int(key)) if _ID.fullmatch(key) else None
            if item is None:
                self._complaints.add("no line id<TAB>value with an id of this run", line)
            elif len(cells) != len(self.info.outputs):
                wanted = 1 + len(self.info.outputs)
                answers.fail(item, f"the program wrote {1 + len(cells)} columns, not {wanted}")
            else:
                self._ever_answered = True
                answers.accept(item, [_number(cell.strip()) for cell in cells])


def _number(cell: str) -> float | str | None:
    """The number in a cell, None for no score, the text where it is neither."""
    if cell.lower() in _NO_SCORE:
        return None
    try:
        return cell if "_" in cell else float(cell)
    except ValueError:
        return cell
