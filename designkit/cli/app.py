"""The ``designkit`` program: its commands, and the one place where an error becomes a message.

Each module of this package whose name has no leading underscore is a command and offers
``register(app)``. Bodies of commands import what they need when they run, so that help and
refusals are quick.
"""

from __future__ import annotations

import errno
import os
import pkgutil
import select
import sys
import traceback
from collections.abc import Sequence
from importlib import import_module
from typing import Annotated

import typer

import designkit
from designkit.errors import (
    EXIT_KEYBOARD_INTERRUPT,
    EXIT_OK,
    DesignkitError,
    Interrupted,
    OutputError,
)

DEBUG_VARIABLE = "DESIGNKIT_DEBUG"

# The order of --help; a command that is not named here comes after these.
ORDER = (
    "pretrain",
    "finetune",
    "sample",
    "refine",
    "score",
    "report",
    "models",
    "rewards",
    "presets",
)


def create_app() -> typer.Typer:
    """The typer application with every command of this package."""
    app = typer.Typer(
        name="designkit",
        add_completion=False,
        pretty_exceptions_enable=False,
        rich_markup_mode="rich",
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback(invoke_without_command=True)(_root)
    folder = import_module("designkit.cli").__path__
    commands = [m.name for m in pkgutil.iter_modules(folder) if not m.name.startswith("_")]
    commands.remove("app")
    for command in sorted(
        commands, key=lambda c: (ORDER.index(c) if c in ORDER else len(ORDER), c)
    ):
        import_module(f"designkit.cli.{command}").register(app)
    return app


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"designkit {designkit.__version__}")
        raise typer.Exit


def _root(
    context: typer.Context,
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version and exit."
        ),
    ] = False,
) -> None:
    """Design DNA, RNA and protein sequences with diffusion models steered by rewards."""
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the program.

    Args:
        arguments: what follows the program's name; ``sys.argv`` when None.

    Returns:
        The exit code, see ``designkit.errors``. A command that ends well but not with 0 raises
        ``typer.Exit``.
    """
    debug = os.environ.get(DEBUG_VARIABLE, "0") not in ("", "0")
    try:
        code = create_app()(args=arguments, prog_name="designkit", standalone_mode=False)
        sys.stdout.flush()
        if code == EXIT_KEYBOARD_INTERRUPT:
            _say("interrupted")
        return code if isinstance(code, int) else EXIT_OK
    except typer.TyperException as error:
        return _refuse(error)
    except DesignkitError as error:
        if debug:
            traceback.print_exc()
        label = "stopped" if isinstance(error, Interrupted) else "error"
        for line in str(error).splitlines() or [type(error).__name__]:
            _say(f"{label}: {line}")
        for note in getattr(error, "__notes__", []):
            _say(note)
        return error.exit_code
    except KeyboardInterrupt:
        _say("interrupted")
        return EXIT_KEYBOARD_INTERRUPT
    except SystemExit as stop:
        # What typer and rich make of a broken pipe.
        if not isinstance(stop.__context__, BrokenPipeError):
            raise
        if traceback.extract_tb(stop.__traceback__)[-1].name == "on_broken_pipe":
            return EXIT_OK  # rich found nobody reading, and has closed standard output
        return _fail(stop.__context__, debug)
    except Exception as error:
        return _fail(error, debug)


def _fail(error: Exception, debug: bool) -> int:
    """End after an error nobody foresaw, or after the reader of a pipe had enough."""
    if isinstance(error, BrokenPipeError) and _stdout_is_closed():
        # Let the interpreter flush what is left into nothing.
        devnull = os.open(os.devnull, os.O_WRONLY)
        os.dup2(devnull, sys.__stdout__.fileno())  # type: ignore[union-attr]
        os.close(devnull)
        return EXIT_OK
    if debug:
        traceback.print_exception(error)
    if isinstance(error, OSError) and error.errno == errno.ENOSPC:
        _say(f"error: {error.filename or 'output'}: cannot be written: no space left on device")
        return OutputError.exit_code
    text = " ".join(f"{type(error).__name__}: {error}".split())
    _say(f"internal error: {text}; run with {DEBUG_VARIABLE}=1 for the traceback")
    return DesignkitError.exit_code


def _say(line: str) -> None:
    print(f"designkit: {line}", file=sys.stderr)  # noqa: T201 - the program's messages


def _refuse(error: typer.TyperException) -> int:
    """A usage error found by typer: what is wrong, and where help is."""
    _say(f"error: {' '.join(error.format_message().split())}")
    context = getattr(error, "ctx", None)
    if context is not None:
        _say(f"see '{context.command_path} --help'")
    return error.exit_code


def _stdout_is_closed() -> bool:
    """Whether standard output is a pipe that nobody reads any more.

    A broken pipe may also be one to a reward's process; that is a failure.
    """
    try:
        poll = select.poll()
        poll.register(sys.__stdout__.fileno(), 0)  # type: ignore[union-attr]
        return any(event & (select.POLLERR | select.POLLHUP) for _, event in poll.poll(0))
    except (OSError, ValueError, AttributeError):
        return False
