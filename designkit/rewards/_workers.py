"""Long-lived programs that score one item for each line; every item is joined to its own answer."""

from __future__ import annotations

import json
import logging
import math
import os
import time
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from designkit.rewards._outside import Answers, Complaints, never_answered, shorten
from designkit.rewards._program import LONGEST_LINE, Program, exchange, stop, wait

TRIES = 2  # times that an item is sent
FAILURES = 3  # of a worker in a row, without an answer in between, before it is given up
FAILURES_AT_FIRST = 2  # where no worker has ever answered
_POLITE = 2.0  # seconds to end after the input was closed
_EXIT = 0.5  # seconds to end after the output was closed


@dataclass
class _Worker:
    """One place for a process.

    Attributes:
        sent: items by id, of those that the process has not answered.
        answered: items by id, of those that it has answered in this batch.
        since: when the process last answered, or began to have something to do.
        failures: in a row.
        given_up: why it gets no more work in this batch.
    """

    label: str
    program: Program | None = None
    sent: dict[int, int] = field(default_factory=dict)
    answered: dict[int, int] = field(default_factory=dict)
    since: float = 0.0
    failures: int = 0
    given_up: str = ""


class _Batch:
    """The items of one call.

    Attributes:
        fresh: items never sent.
        suspects: items that a process had when it failed; sent again at the end, one at a time.
    """

    def __init__(self, sequences: Sequence[str], outputs: Sequence[str]):
        self.sequences = sequences
        self.answers = Answers(len(sequences), outputs)
        self.fresh = deque(range(len(sequences)))
        self.suspects: list[int] = []
        self.failed = [0] * len(sequences)
        self.problem = ""

    def blame(self, items: Sequence[int], problem: str) -> None:
        """Note that a process failed with these items in its hands."""
        self.problem = problem
        for item in items:
            self.failed[item] += 1
            if self.failed[item] < TRIES:
                self.suspects.append(item)
            else:
                self.answers.fail(item, problem)


class WorkerPool:
    """Processes of one command, and the items dealt out to them.

    Args:
        words: of the command.
        name: of the reward.
        outputs: names of its outputs.
        count: number of processes.
        in_flight: most items that one has at a time.
        timeout: seconds that a process may go without an answer.
        environment: variables of the processes; read whenever one is started.
    """

    def __init__(
        self,
        words: Sequence[str],
        name: str,
        *,
        outputs: Sequence[str],
        count: int,
        in_flight: int,
        timeout: float,
        environment: Mapping[str, str],
    ):
        self._words = words
        self._name = name
        self._outputs = outputs
        self._in_flight = in_flight
        self._timeout = timeout
        self._environment = environment
        labels = [name] if count == 1 else [f"{name}[{number + 1}]" for number in range(count)]
        self._workers = [_Worker(label) for label in labels]
        self._complaints = Complaints(name)
        self._next_id = 0
        self._ever_answered = False
        self._last_words: list[str] = []
        self._owner = os.getpid()

    @property
    def process_ids(self) -> list[int]:
        """Of the processes there are now."""
        return [worker.program.process_id for worker in self._workers if worker.program]

    def score(self, sequences: Sequence[str]) -> Answers:
        """Answers for N sequences, none of them open.

        Raises:
            RewardError: the program cannot be started, or ends or is silent again and again without
                ever having answered.
        """
        batch = _Batch(sequences, self._outputs)
        try:
            self._refresh()
            while batch.answers.open:
                at_work = [worker for worker in self._workers if not worker.given_up]
                if not at_work:
                    for item in list(batch.answers.open):
                        batch.answers.fail(item, batch.problem)
                    break
                for worker in at_work:
                    self._deal(worker, batch, len(at_work))
                self._hear(batch, [worker for worker in at_work if worker.sent])
        except BaseException:
            self._stop(self._workers, polite=0)
            raise
        if batch.problem and not self._ever_answered:
            silent = " (a worker must flush each line)" if "no answer" in batch.problem else ""
            raise never_answered(self._name, batch.problem + silent, self._last_words)
        return batch.answers

    def close(self) -> None:
        """End all processes; a later ``score`` would start new ones."""
        if os.getpid() == self._owner:  # a forked process must leave its parent's workers alone
            self._stop(self._workers, polite=_POLITE)

    def _stop(self, workers: Sequence[_Worker], polite: float) -> None:
        """End the processes of these, and forget what was sent to them."""
        running = [worker.program for worker in workers if worker.program]
        for worker in workers:
            worker.program = None
            worker.sent.clear()
            worker.answered.clear()
        if running:
            stop(running, polite)
            self._last_words = [line for program in running for line in program.last_words]

    def _refresh(self) -> None:
        """Begin a batch: read what came meanwhile, and forget processes that have ended."""
        for worker in self._workers:
            worker.failures, worker.given_up = 0, ""
            worker.answered.clear()
            if worker.program is None:
                continue
            exchange([worker.program], 0)
            for line in worker.program.take_lines():
                self._complaints.add("nothing was asked", line)

    def _deal(self, worker: _Worker, batch: _Batch, sharers: int) -> None:
        """Send a worker as many items as it may have; suspects alone, when nothing else is left."""
        limit = self._in_flight
        if sharers > 1:  # the less is left the smaller the portions, so that all end together
            limit = min(limit, math.ceil(len(batch.answers.open) / (2 * sharers)))
        items: list[int] = []
        while batch.fresh and len(worker.sent) + len(items) < limit:
            items.append(batch.fresh.popleft())
        if batch.suspects and not items and not worker.sent:
            items.append(batch.suspects.pop())
        if not items:
            return
        if worker.program is not None and worker.program.finished and not worker.sent:
            self._stop([worker], polite=0)  # it ended while it had nothing to do
        if worker.program is None:
            worker.program = Program(self._words, worker.label, self._environment)
        if not worker.sent:
            worker.since = time.monotonic()
        for item in items:
            request = {"id": self._next_id, "sequence": batch.sequences[item]}
            worker.program.send(json.dumps(request).encode() + b"\n")
            worker.sent[self._next_id] = item
            self._next_id += 1

    def _hear(self, batch: _Batch, busy: Sequence[_Worker]) -> None:
        """Wait for something to happen, and see to it."""
        deadline = min(worker.since for worker in busy) + self._timeout
        exchange([worker.program for worker in busy if worker.program], deadline - time.monotonic())
        now = time.monotonic()
        for worker in busy:
            self._listen(worker, batch)
            problem = self._problem(worker, now)
            if problem:
                self._replace(worker, batch, problem)

    def _problem(self, worker: _Worker, now: float) -> str:
        program = worker.program
        if program is None:
            return ""
        if program.finished:
            if not worker.sent:
                return ""  # it is asked for nothing more; the next batch starts another
            wait([program], _EXIT)
            if program.exit_code is None:
                return "the worker closed its output"
            return f"the worker died (exit code {program.exit_code})"
        if len(program.rest) > LONGEST_LINE:
            return f"the worker wrote a line of more than {LONGEST_LINE // 2**20} MB"
        if worker.sent and now >= worker.since + self._timeout:
            return f"no answer within {self._timeout:g} s"
        return ""

    def _replace(self, worker: _Worker, batch: _Batch, problem: str) -> None:
        """End a process that failed; the next deal starts another, unless this goes on and on."""
        items = list(worker.sent.values())
        self._stop([worker], polite=0)
        worker.failures += 1
        limit = FAILURES if self._ever_answered else FAILURES_AT_FIRST
        if worker.failures >= limit:
            worker.given_up = problem
        logging.getLogger(__name__).warning(
            "%s: %s; %d items without an answer%s",
            worker.label,
            problem,
            len(items),
            "; given up for this batch" if worker.given_up else "",
        )
        batch.blame(items, problem)

    def _listen(self, worker: _Worker, batch: _Batch) -> None:
        """Join what a process wrote to the items that it was sent."""
        if worker.program is None:
            return
        for line in worker.program.take_lines():
            if not line.strip():
                continue
            reply = _read(line)
            if reply is None:
                self._complaints.add("not a JSON object", line)
                continue
            key = reply.get("id")
            if type(key) is int and key in worker.sent:
                worker.answered[key] = worker.sent.pop(key)
                worker.since = time.monotonic()
                worker.failures = 0
                self._ever_answered = True
            elif type(key) is not int or key not in worker.answered:
                self._complaints.add("no such id is waiting for an answer", line)
                continue
            self._accept(batch.answers, worker.answered[key], reply)

    def _accept(self, answers: Answers, item: int, reply: Mapping[str, Any]) -> None:
        if reply.get("error") is not None:
            answers.fail(item, shorten(reply["error"]) or "the program gave an empty reason")
            return
        first = self._outputs[0]
        values = reply["values"] if "values" in reply else {first: reply.get("value")}
        if not isinstance(values, dict):
            answers.fail(item, f'the program returned {shorten(values)} as "values", not an object')
        elif first not in values or ("values" not in reply and "value" not in reply):
            answers.fail(item, f"the program's answer has no value of {first!r}")
        else:
            answers.accept(item, [values.get(output) for output in self._outputs])


def _read(line: bytes) -> dict[str, Any] | None:
    """The JSON object of a line, None where there is none."""
    try:
        reply = json.loads(line.decode())
    except (ValueError, RecursionError):
        return None
    return reply if isinstance(reply, dict) else None
