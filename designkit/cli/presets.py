"""``designkit presets``: the configurations that come with the program."""

from __future__ import annotations

from typing import Annotated

import typer

from designkit.cli import _options as options
from designkit.cli._table import print_table

app = typer.Typer(help="List, show and copy presets.")
Name = Annotated[str, typer.Argument(metavar="NAME", help="Name of a preset.")]


def register(root: typer.Typer) -> None:
    """Add the command to the program."""
    root.add_typer(app, name="presets")


@app.command("list")
def list_() -> None:
    """List the presets with their titles."""
    from designkit.recipes.presets import list_presets

    print_table(("name", "title"), ((preset.name, preset.title) for preset in list_presets()))


@app.command()
def show(name: Name) -> None:
    """Print a preset."""
    from designkit.recipes.presets import find_preset

    typer.echo(find_preset(name).read_text(encoding="utf-8"), nl=False)


@app.command()
def copy(
    name: Name,
    target: Annotated[
        str | None,
        typer.Argument(metavar="FILE", help="Where to; NAME.yaml here when not given."),
    ] = None,
    force: options.Force = False,
) -> None:
    """Copy a preset to a file, to edit and use with --config."""
    from designkit.recipes.presets import copy_preset

    typer.echo(copy_preset(name, target, force))
