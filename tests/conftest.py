"""Fixtures for all tests: one thread, a home of its own, and the program run in-process."""

from __future__ import annotations

import io
import os
import signal
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

# Read by torch and numpy when a test imports them; tests that need neither stay quick.
os.environ["OMP_NUM_THREADS"] = "1"
os.environ["MKL_NUM_THREADS"] = "1"
# A suite started in the background of a shell is told to ignore Ctrl-C, and would hand that on.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def home(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty registry, so that no test sees or changes the user's own."""
    folder = tmp_path_factory.mktemp("home")
    monkeypatch.setenv("DESIGNKIT_HOME", str(folder))
    monkeypatch.delenv("DESIGNKIT_PATH", raising=False)
    monkeypatch.delenv("DESIGNKIT_DEBUG", raising=False)
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "100")
    return folder


@dataclass
class Outcome:
    """What a run of the program left."""

    exit_code: int
    stdout: str
    stderr: str


@pytest.fixture
def run(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Outcome]:
    """Run ``designkit ARGUMENTS`` in this process: ``run("score", path, stdin="...")``."""
    from designkit.cli.app import main

    def run_program(*arguments: object, stdin: str | bytes = "") -> Outcome:
        raw = stdin.encode() if isinstance(stdin, str) else stdin
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(raw), encoding="utf-8"))
        capsys.readouterr()
        code = main([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        return Outcome(code, captured.out, captured.err)

    return run_program
