"""``designkit models``: what the registry holds."""

from __future__ import annotations

from typing import Annotated

import typer

from designkit.cli import _options as options
from designkit.cli._table import print_table

app = typer.Typer(help="List, show and verify trained models.")


def register(root: typer.Typer) -> None:
    """Add the command to the program."""
    root.add_typer(app, name="models")


@app.command("list")
def list_() -> None:
    """List all models: your own and those that come with designkit."""
    from designkit.recipes.models import COLUMNS, list_models

    print_table(COLUMNS, list_models())


@app.command()
def show(
    model: options.Model,
    as_json: Annotated[bool, typer.Option("--json", help="Print the card as stored.")] = False,
) -> None:
    """Print what is known about a model: sizes, data, measured quality, licence."""
    from designkit.recipes.models import describe_model, show_model

    typer.echo(show_model(model) if as_json else describe_model(model))


@app.command()
def verify(
    models: Annotated[
        list[str] | None, typer.Argument(metavar="MODEL", help="Models; all when none is named.")
    ] = None,
) -> None:
    """Check the files of models against their recorded hashes; exit 4 if any differs."""
    from designkit.errors import ModelError
    from designkit.recipes.models import verify_models

    failed = []
    for name, problem in verify_models(models or []):
        typer.echo(f"{name}: {problem or 'ok'}")
        if problem:
            failed.append(name)
    if failed:
        raise ModelError(f"{len(failed)} damaged: {', '.join(failed)}")
