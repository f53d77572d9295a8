"""Plain tables: columns aligned for people, one row a line for programs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import typer


def print_table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print rows of text under a header, two spaces between columns."""
    table = [[word.upper() for word in header], *(list(row) for row in rows)]
    widths = [max(len(cell) for cell in column) for column in zip(*table, strict=True)]
    for row in table:
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        typer.echo("  ".join(cells).rstrip())
