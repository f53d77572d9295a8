"""What a run says while it works: messages and progress, on standard error."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.progress import Progress as RichProgress

SECONDS_BETWEEN_LINES = 15.0


class Console:
    """Messages of one run.

    Args:
        quiet: warnings only.
    """

    def __init__(self, quiet: bool = False):
        self.quiet = quiet

    def say(self, text: str) -> None:
        """A message, unless quiet."""
        if not self.quiet:
            print(text, file=sys.stderr, flush=True)  # noqa: T201 - this is the console

    def warn(self, text: str) -> None:
        """A message that is worth reading in any case."""
        print(f"designkit: warning: {text}", file=sys.stderr, flush=True)  # noqa: T201

    def show(self, fields: Mapping[str, Any]) -> None:
        """The resolved plan of ``--dry-run``, as YAML on standard output."""
        import yaml

        print(yaml.safe_dump(dict(fields), sort_keys=False), end="")  # noqa: T201

    def progress(self, title: str, total: int | None) -> Progress:
        """A display of work that has ``total`` parts; None for nobody knows how many."""
        return Progress(title, total, self.quiet)


class Progress:
    """A bar on a terminal; elsewhere one line now and then.

    Args:
        title: what is being done.
        total: number of parts, None for nobody knows.
        quiet: show nothing.
    """

    def __init__(self, title: str, total: int | None, quiet: bool = False):
        self.title = title
        self.total = total
        self.quiet = quiet
        self.started = time.monotonic()
        self.last_line = self.started
        self.first: int | None = None
        self.bar: RichProgress | None = None
        if not quiet and sys.stderr.isatty():
            self.bar = self._open_bar()
            self.task = self.bar.add_task(title, total=total, figures="")

    def _open_bar(self) -> RichProgress:
        from rich.console import Console as RichConsole
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
        from rich.progress import Progress as RichProgress

        bar = RichProgress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[figures]}"),
            console=RichConsole(stderr=True),
        )
        bar.start()
        return bar

    def advance(self, done: int, figures: Mapping[str, float]) -> None:
        """So many parts are done; ``figures`` are shown beside them."""
        if self.first is None:
            self.first = done - 1
        text = " ".join(f"{name} {value:.4g}" for name, value in figures.items())
        if self.bar is not None:
            self.bar.update(self.task, completed=done, figures=text)
        elif self._line_is_due(done):
            self.last_line = time.monotonic()
            print(  # noqa: T201 - this is the console
                f"{self.title}: {self._reached(done)}, {text}", file=sys.stderr, flush=True
            )
        if self.total is not None and done >= self.total:
            self.close()

    def _reached(self, done: int) -> str:
        if self.total is None or self.first is None:
            return str(done)
        rate = (done - self.first) / (self.last_line - self.started)
        left = int((self.total - done) / rate) if rate else 0
        return f"{done}/{self.total}, {left // 60}m{left % 60:02d}s left"

    def _line_is_due(self, done: int) -> bool:
        late = time.monotonic() - self.last_line >= SECONDS_BETWEEN_LINES
        return late and (self.total is None or done < self.total) and not self.quiet

    def close(self) -> None:
        """End the display."""
        if self.bar is not None:
            self.bar.stop()
            self.bar = None
