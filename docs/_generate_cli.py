"""Write docs/cli.md from the help texts of the program: ``make docs``.

The texts are laid out without rich, at a fixed width, so that they are the same on every terminal.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import typer

from designkit.cli.app import create_app

PAGE = Path(__file__).with_name("cli.md")
WIDTH = 90
TOP = """\
# Command line

Written by `make docs` from `designkit COMMAND --help`; do not edit.

The same flag means the same thing in every command. Settings come from, weakest first,
`--preset NAME`, `--config FILE.yaml` (repeatable), `--set KEY=VALUE`, and flags.
"""


def cli_page() -> str:
    """The page as it should be."""
    app = create_app()
    for one in (app, *(group.typer_instance for group in app.registered_groups)):
        one.rich_markup_mode = None
    root = typer.main.get_command(app)
    return "\n".join([TOP, *_sections(root, "designkit", None)])


def _sections(command, name: str, parent: typer.Context | None) -> Iterator[str]:
    context = typer.Context(
        command,
        info_name=name,
        parent=parent,
        terminal_width=WIDTH,
        max_content_width=WIDTH,
        help_option_names=["-h", "--help"],
    )
    level = "##" if parent is None or parent.parent is None else "###"
    text = "\n".join(line.rstrip() for line in command.get_help(context).splitlines())
    yield f"{level} {context.command_path}\n\n```\n{text}\n```\n"
    for sub_name, sub_command in getattr(command, "commands", {}).items():
        yield from _sections(sub_command, sub_name, context)


if __name__ == "__main__":
    PAGE.write_text(cli_page(), encoding="utf-8")
