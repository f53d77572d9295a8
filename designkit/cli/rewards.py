"""``designkit rewards``: what can be asked for, and help with writing more of it."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from designkit.cli import _options as options
from designkit.cli._table import print_table

app = typer.Typer(help="List, show, check and begin rewards, and audit their value.")
Reference = Annotated[
    str, typer.Argument(metavar="REF", help="A name, NAME?key=value, model:NAME, file.py:NAME.")
]
Json = Annotated[bool, typer.Option("--json", help="Print all that is known, for programs.")]


def register(root: typer.Typer) -> None:
    """Add the command to the program."""
    root.add_typer(app, name="rewards")


@app.command("list")
def list_(as_json: Json = False) -> None:
    """List all rewards that have a name: those that come with designkit and other packages'."""
    from designkit.recipes.rewards import COLUMNS, list_rewards, reward_rows, rewards_record

    facts = list_rewards()
    if as_json:
        typer.echo(json.dumps(rewards_record(facts), indent=2, ensure_ascii=False))
    else:
        print_table(COLUMNS, reward_rows(facts))


@app.command()
def show(ref: Reference, as_json: Json = False) -> None:
    """Print what is known about a reward: definition, outputs, parameters, citation, source."""
    from designkit.recipes.rewards import describe_reward, find_reward, rewards_record

    facts = find_reward(ref)
    if as_json:
        typer.echo(json.dumps(rewards_record([facts])[0], indent=2, ensure_ascii=False))
    else:
        typer.echo(describe_reward(facts))


@app.command()
def check(
    ref: Reference,
    sequences: Annotated[
        str | None,
        typer.Option(
            "--sequences",
            metavar="FILE",
            help="Sequences to check with, the first 256 of the file; random ones without.",
        ),
    ] = None,
    alphabet: options.Alphabet = None,
    length: Annotated[
        int | None,
        typer.Option(
            "--length",
            min=1,
            help="Of random sequences; 50, or what the model was trained on, when not given.",
        ),
    ] = None,
    device: options.Device = "auto",
    threads: options.Threads = None,
) -> None:
    """Check that a reward keeps the contract; exit 4 if it fails a check."""
    from designkit.errors import RewardError
    from designkit.recipes.rewards import check_reward_of

    failed = []
    for finding in check_reward_of(ref, sequences, alphabet, length, device, threads):
        word = "FAILED" if finding.outcome == "failed" else finding.outcome
        typer.echo(f"{word:<9}{finding.check:<12}{finding.detail}")
        failed += [finding.check] if finding.outcome == "failed" else []
    if failed:
        raise RewardError(f"{ref}: {len(failed)} failed: {', '.join(failed)}")


@app.command()
def new(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Name of the reward.")],
    output: options.Output = ".",
    as_class: Annotated[
        bool,
        typer.Option("--class", help="The full form: settings, several outputs, gradients."),
    ] = False,
    force: options.Force = False,
) -> None:
    """Write NAME.py, or another file, with a reward that works, to change into yours."""
    from designkit.recipes.rewards import begin_reward

    path, ref = begin_reward(name, output, as_class=as_class, force=force)
    typer.echo(path)
    typer.echo(f"next: designkit rewards check {ref}", err=True)


@app.command()
def audit(
    ref: Reference,
    natural: Annotated[
        str | None,
        typer.Option(
            "--natural",
            metavar="FILE",
            help="Natural sequences to compare with; designs of the prior when not given.",
        ),
    ] = None,
    prior: Annotated[
        str | None,
        typer.Option("--prior", metavar="MODEL", help="A prior, whose designs are scored too."),
    ] = None,
    alphabet: options.Alphabet = None,
    length: Annotated[
        int | None,
        typer.Option(
            "--length",
            min=1,
            help="Of random and degenerate sequences; the natural one when not given.",
        ),
    ] = None,
    num: Annotated[
        int, typer.Option("-n", "--num", min=1, help="Sequences of each kind that is drawn.")
    ] = 256,
    seed: options.Seed = None,
    device: options.Device = "auto",
    threads: options.Threads = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    quiet: options.Quiet = False,
) -> None:
    """Ask whether a reward can be trusted as a guide, before a run does what it says."""
    from designkit.recipes.audit import run_audit

    code = run_audit(
        ref,
        natural=natural,
        prior=prior,
        alphabet=alphabet,
        length=length,
        num=num,
        seed=seed,
        device=device,
        threads=threads,
        as_json=as_json,
        quiet=quiet,
    )
    if code:
        raise typer.Exit(code)
