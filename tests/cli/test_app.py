from __future__ import annotations

import errno
import os
import subprocess
import sys

import pytest
import typer

import designkit
from designkit.cli import app as program
from designkit.errors import ConfigurationError, InputError, Interrupted


@pytest.fixture
def failing(monkeypatch: pytest.MonkeyPatch):
    """Make ``designkit fail`` raise a given exception."""

    def install(error: BaseException) -> None:
        def create() -> typer.Typer:
            app = typer.Typer(pretty_exceptions_enable=False)

            @app.callback()
            def root() -> None: ...

            @app.command()
            def fail() -> None:
                raise error

            return app

        monkeypatch.setattr(program, "create_app", create)

    return install


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        (InputError("a.fa: record 3: 'X'"), 3, "designkit: error: a.fa: record 3: 'X'\n"),
        (
            ConfigurationError(["f:1: seed", "f:2: name"]),
            2,
            "designkit: error: f:1: seed\ndesignkit: error: f:2: name\n",
        ),
        (Interrupted("after 3 steps"), 75, "designkit: stopped: after 3 steps\n"),
        (KeyboardInterrupt(), 130, "designkit: interrupted\n"),
        (
            ValueError("a\nb"),
            1,
            "designkit: internal error: ValueError: a b; run with DESIGNKIT_DEBUG=1 for the "
            "traceback\n",
        ),
        (typer.Exit(5), 5, ""),
    ],
)
def test_errors_are_lines_and_codes(run, failing, error, code, message) -> None:
    failing(error)
    outcome = run("fail")
    assert (outcome.exit_code, outcome.stderr, outcome.stdout) == (code, message, "")


def test_debug_shows_the_traceback_and_keeps_the_code(run, failing, monkeypatch) -> None:
    monkeypatch.setenv("DESIGNKIT_DEBUG", "1")
    failing(InputError("bad"))
    outcome = run("fail")
    assert outcome.exit_code == 3
    assert "Traceback (most recent call last)" in outcome.stderr
    failing(KeyError("x"))
    assert "Traceback" in run("fail").stderr


def test_a_pipe_broken_elsewhere_is_a_failure(run, failing) -> None:
    failing(BrokenPipeError(errno.EPIPE, "Broken pipe"))
    outcome = run("fail")
    assert outcome.exit_code == 1
    assert "internal error: BrokenPipeError" in outcome.stderr


@pytest.mark.parametrize(
    "arguments", [["--help"], ["presets", "list", "--help"], ["many"]], ids=" ".join
)
def test_a_closed_standard_output_is_quiet(arguments: list[str]) -> None:
    code = (
        "import sys, typer\n"
        "from designkit.cli import app\n"
        "create = app.create_app\n"
        "def more():\n"
        "    made = create()\n"
        "    @made.command()\n"
        "    def many():\n"
        "        for line in range(100000): typer.echo('A' * 80)\n"
        "    return made\n"
        "app.create_app = more\n"
        "sys.exit(app.main())\n"
    )
    reader, writer = os.pipe()
    os.close(reader)
    process = subprocess.run(
        [sys.executable, "-c", code, *arguments], stdout=writer, stderr=subprocess.PIPE, timeout=60
    )
    os.close(writer)
    assert (process.returncode, process.stderr) == (0, b"")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--vrsion"], "No such option: --vrsion"),
        (["presests"], "No such command 'presests'. Did you mean 'presets'?"),
        (["presets", "show"], "Missing argument 'NAME'"),
        (["presets", "list", "--al"], "No such option: --al"),
    ],
)
def test_usage_errors(run, arguments: list[str], message: str) -> None:
    outcome = run(*arguments)
    assert outcome.exit_code == 2
    assert outcome.stdout == ""
    first, second = outcome.stderr.splitlines()
    assert first.startswith("designkit: error: ")
    assert message in first
    assert second.startswith("designkit: see 'designkit")


def test_version_and_help(run) -> None:
    assert run("--version").stdout == f"designkit {designkit.__version__}\n"
    bare, asked = run(), run("--help")
    assert bare.exit_code == asked.exit_code == 0
    assert bare.stdout == asked.stdout
    assert asked.stdout.index("models") < asked.stdout.index("presets")


def test_python_m_is_the_same_program() -> None:
    process = subprocess.run(
        [sys.executable, "-m", "designkit", "presets", "show", "absent"],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert process.returncode == 2
    assert "unknown preset 'absent'" in process.stderr
