"""Whatever an outside program says of each sequence: ``exec:COMMAND``, a long-lived process."""

from __future__ import annotations

import weakref

from pydantic import Field

from designkit.rewards._outside import OutsideReward, OutsideSettings
from designkit.rewards._workers import WorkerPool
from designkit.rewards.base import RewardInfo, Scores


class ExecSettings(OutsideSettings):
    """The program, how many of it, and for how long each may be silent.

    Args:
        command: see ``OutsideSettings``, as for name, outputs, unit, alphabet, version and
            deterministic.
        timeout: seconds that a process with work to do may go without an answer.
        workers: number of processes.
        in_flight: most items that a process is sent before it has answered.
    """

    workers: int = Field(default=1, ge=1)
    in_flight: int = Field(default=32, ge=1)


class Exec(OutsideReward):
    """The number that a process answers for each sequence, in lines of JSON.

    The process reads ``{"id": 17, "sequence": "ACGT"}`` and writes ``{"id": 17, "value": 0.5}``,
    ``{"id": 17, "values": {"first": 0.5, "second": 2}}`` or ``{"id": 17, "error": "too long"}``,
    in any order. It is started when there is something to score. One that ends or is silent for
    too long is replaced, and what it has not answered is sent once more.

    Raises:
        RewardError: there is no such program.
    """

    template = RewardInfo(name="exec", cost="expensive")
    settings_type = ExecSettings
    speed_parameters = frozenset({"timeout", "workers", "in_flight"})
    settings: ExecSettings

    def __init__(self, **parameters: object):
        super().__init__(**parameters)
        self.pool = WorkerPool(
            self.words,
            self.info.name,
            outputs=[output.name for output in self.info.outputs],
            count=self.settings.workers,
            in_flight=self.settings.in_flight,
            timeout=self.settings.timeout,
            environment=self.environment,
        )
        # Also when the interpreter ends, or nobody calls close.
        self._end = weakref.finalize(self, self.pool.close)

    def score(self, sequences: list[str]) -> Scores:
        """(N, outputs); see ``WorkerPool.score``."""
        answers = self.pool.score(sequences)
        return Scores(answers.values, answers.errors)

    def close(self) -> None:
        """End the processes: their input ends, 2 seconds later they get SIGTERM, then SIGKILL."""
        self.pool.close()
