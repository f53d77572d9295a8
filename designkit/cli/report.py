"""``designkit report``: compare tables of designs."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from designkit.cli import _options as options
from designkit.cli._table import print_table

if TYPE_CHECKING:
    from rich.table import Table


def register(root: typer.Typer) -> None:
    """Add the command to the program."""
    root.command("report")(report)


def report(
    files: Annotated[
        list[str],
        typer.Argument(metavar="FILE...", help="Tables of designs, as sample and score write."),
    ],
    by: Annotated[
        str, typer.Option("--by", metavar="COLUMN", help="What makes a row; 'file' is one each.")
    ] = "method",
    output: options.Output = "-",
    force: options.Force = False,
) -> None:
    """Compare sets of designs: scores, diversity, calls spent on each design."""
    from designkit.recipes.report import run_report

    header, rows = run_report(files, by, output, force)
    if sys.stdout.isatty():
        _show(header, rows)
    else:
        print_table(header, rows)


def _show(header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """The table on a terminal; one column a group where one row a group is too wide."""
    from rich.console import Console

    console = Console()
    table = _table([name.replace("-", "-\n").replace("_", "_\n") for name in header], rows)
    needed = console.measure(table, options=console.options.update(width=10_000)).maximum
    if needed > console.width:
        turned = [list(column) for column in zip(header, *rows, strict=True)]
        table = _table(turned[0], turned[1:])
    console.print(table)


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> Table:
    from rich.table import Table
    from rich.text import Text

    table = Table()
    for number, heading in enumerate(header):
        table.add_column(Text(heading), justify="right" if number else "left", overflow="fold")
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))
    return table
