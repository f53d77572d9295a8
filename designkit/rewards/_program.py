"""Outside programs: found before they are needed, talked to without waiting, ended for good."""

from __future__ import annotations

import logging
import math
import os
import select
import shlex
import shutil
import signal
import subprocess
import time
from collections import deque
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from designkit.errors import RewardError

LONGEST_LINE = 16 * 2**20  # bytes; more than any answer, and the most that a program can fill
LAST_WORDS = 3  # lines of standard error in a message
_CHUNK = 2**16
_GLANCE = 0.05  # most seconds between two looks at whether a program has ended
_AFTER_SIGTERM = 1.0  # seconds before SIGKILL


def split_command(kind: str, command: str) -> list[str]:
    """The words of a command, by the quoting rules of a shell; no shell ever reads it.

    A leading ``~/`` of a word is the home folder.

    Raises:
        RewardError: no command, an open quotation, or a program that is not there or cannot be run.
    """
    try:
        words = [str(Path(w).expanduser()) if w[:2] == "~/" else w for w in shlex.split(command)]
    except ValueError as problem:
        raise RewardError(f"reward {kind!r}: {command!r}: {str(problem).lower()}") from problem
    if not words:
        raise RewardError(f"reward {kind!r}: the command is missing: {kind}:COMMAND")
    program = Path(words[0])
    if shutil.which(words[0]) is None:
        if program.is_dir():
            raise RewardError(f"reward {kind!r}: {words[0]} is a folder, not a program")
        if program.is_file():
            raise RewardError(
                f"reward {kind!r}: {words[0]} is not executable; chmod +x it, or name what runs "
                f"it, as in '{kind}:python {words[0]}'"
            )
        raise RewardError(f"reward {kind!r}: there is no program {words[0]!r}")
    return words


def files_of(words: Sequence[str]) -> tuple[Path, ...]:
    """Existing files that a command names, as a word or after the ``=`` of one; absolute."""
    named = [part for word in words for part in (word, word.partition("=")[2]) if part]
    found = [Path(part).absolute() for part in named if len(part) < 4096 and os.path.isfile(part)]
    return tuple(dict.fromkeys(found))


class Program:
    """One run of an outside program, in a session of its own.

    Standard error goes to the log, line by line. Nothing here waits for the program but ``stop``.

    Args:
        words: of the command.
        label: what the log calls it.
        environment: variables beside those of this process.

    Attributes:
        lines: what it has written to standard output and nobody has taken, without line ends.
        finished: it has closed its standard output.
        last_words: its last lines of standard error.
        rest: what follows the last line end in its output.

    Raises:
        RewardError: it cannot be started.
    """

    def __init__(self, words: Sequence[str], label: str, environment: Mapping[str, str]):
        try:
            self._process = subprocess.Popen(
                words,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                bufsize=0,
                env=os.environ | dict(environment),
                start_new_session=True,
            )
        except (OSError, ValueError) as problem:
            reason = getattr(problem, "strerror", None) or problem
            raise RewardError(
                f"reward {label!r}: {words[0]} cannot be started: {reason}"
            ) from problem
        self._label = label
        pipes = (self._process.stdin, self._process.stdout, self._process.stderr)
        self._in, self._out, self._err = (pipe.fileno() for pipe in pipes if pipe is not None)
        for descriptor in (self._in, self._out, self._err):
            os.set_blocking(descriptor, False)
        self._open = {self._in, self._out, self._err}
        self._unsent = bytearray()
        self._last_request = False
        self._parts: dict[int, list[bytes]] = {self._out: [], self._err: []}
        self.lines: list[bytes] = []
        self.last_words: deque[str] = deque(maxlen=LAST_WORDS)

    @property
    def process_id(self) -> int:
        """Of the program itself; what it starts has others."""
        return self._process.pid

    @property
    def finished(self) -> bool:
        return self._out not in self._open

    @property
    def rest(self) -> bytes:
        return b"".join(self._parts[self._out])

    @property
    def exit_code(self) -> int | None:
        """Its exit code, minus the signal that ended it; None while it runs."""
        return self._process.returncode

    def has_ended(self) -> bool:
        """Whether it has ended; what it has left behind is then killed."""
        if self._process.returncode is None and self._process.poll() is not None:
            self._signal_group(signal.SIGKILL)
        return self._process.returncode is not None

    def send(self, data: bytes) -> None:
        """Give it something to read, as it becomes able to."""
        if self._in in self._open:
            self._unsent += data

    def end_input(self) -> None:
        """Close its standard input when it has read everything sent."""
        self._last_request = True
        if not self._unsent:
            self._close(self._in)

    def wanted(self) -> dict[int, int]:
        """What to poll its open pipes for, by descriptor."""
        wanted = {d: select.POLLIN for d in (self._out, self._err) if d in self._open}
        if self._in in self._open and self._unsent:
            wanted[self._in] = select.POLLOUT
        return wanted

    def serve(self, descriptor: int) -> None:
        """Read or write as much as goes without waiting."""
        try:
            if descriptor == self._in:
                del self._unsent[: os.write(descriptor, self._unsent[:_CHUNK])]
                if self._last_request and not self._unsent:
                    self._close(descriptor)
                return
            chunk = os.read(descriptor, _CHUNK)
        except BlockingIOError:
            return
        except BrokenPipeError:
            self._unsent.clear()
            self._close(descriptor)
            return
        parts = self._parts[descriptor]
        *whole, rest = chunk.split(b"\n")
        if whole:
            whole[0] = b"".join([*parts, whole[0]])
            parts.clear()
        if rest:
            parts.append(rest)
        if descriptor == self._err:
            if parts and (not chunk or sum(map(len, parts)) > _CHUNK):
                whole.append(b"".join(parts))
                parts.clear()
            self._log(whole)
        else:
            self.lines += whole
        if not chunk:
            self._close(descriptor)

    def take_lines(self) -> list[bytes]:
        """What it has written since the last call."""
        lines, self.lines = self.lines, []
        return lines

    def kill(self, number: signal.Signals) -> None:
        """Send a signal to it and to what it has started, unless it has ended."""
        if self._process.returncode is None:
            self._signal_group(number)

    def release(self) -> None:
        """Collect its exit code and close the pipes; only after SIGKILL."""
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(5)
        for _ in range(2):  # what it said last, and the end of file
            if self._err in self._open:
                self.serve(self._err)
        for descriptor in list(self._open):
            self._close(descriptor)

    def _signal_group(self, number: signal.Signals) -> None:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, number)

    def _close(self, descriptor: int) -> None:
        if descriptor not in self._open:
            return
        self._open.discard(descriptor)
        pipes = (self._process.stdin, self._process.stdout, self._process.stderr)
        for pipe in pipes:
            if pipe is not None and not pipe.closed and pipe.fileno() == descriptor:
                pipe.close()

    def _log(self, lines: Sequence[bytes]) -> None:
        for line in lines:
            # Progress bars write over themselves.
            text = line.decode(errors="replace").rstrip().rpartition("\r")[2]
            if text:
                self.last_words.append(text)
                logging.getLogger(__name__).warning("%s: %s", self._label, text)


def exchange(programs: Sequence[Program], seconds: float) -> None:
    """Wait until something can be read or written, at most so long, and do it."""
    poll = select.poll()
    owners: dict[int, Program] = {}
    for program in programs:
        for descriptor, events in program.wanted().items():
            poll.register(descriptor, events)
            owners[descriptor] = program
    for descriptor, _ in poll.poll(math.ceil(1000 * max(0.0, seconds))):
        owners[descriptor].serve(descriptor)


def stop(programs: Sequence[Program], polite: float = 0.0) -> None:
    """End programs and all they have started; none is left when this returns.

    Their standard input is closed, and after ``polite`` seconds they get SIGTERM, a second later
    SIGKILL.
    """
    try:
        for program in programs:
            program.end_input()
        wait(programs, polite)
        for program in programs:
            program.kill(signal.SIGTERM)
        wait(programs, _AFTER_SIGTERM)
    finally:
        for program in programs:
            program.kill(signal.SIGKILL)
        for program in programs:
            program.release()


def wait(programs: Sequence[Program], seconds: float) -> None:
    """Wait until all have ended, at most so long; what they still say is read."""
    deadline = time.monotonic() + seconds
    glance = 0.001
    while running := [program for program in programs if not program.has_ended()]:
        left = deadline - time.monotonic()
        if left <= 0:
            return
        exchange(running, min(glance, left))
        glance = min(2 * glance, _GLANCE)
