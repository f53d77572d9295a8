"""``designkit pretrain``: train a prior, a predictor or a value network."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from designkit.cli import _options as options


def register(root: typer.Typer) -> None:
    """Add the command to the program."""
    root.command("pretrain")(pretrain)


def pretrain(
    name: options.Name,
    data: Annotated[
        list[str] | None,
        typer.Option("--data", metavar="FILE", help="Training sequences. Repeatable."),
    ] = None,
    column: options.Column = None,
    label: Annotated[
        list[str] | None,
        typer.Option("--label", help="Column to predict: trains a predictor. Repeatable."),
    ] = None,
    class_column: Annotated[
        str | None,
        typer.Option(
            "--class-column",
            help="Column of classes that a prior is conditioned on; 'sample --condition' names "
            "one. Numbers are cut by --set classes.quantiles=[0.5,0.95] or classes.edges.",
        ),
    ] = None,
    split_group: Annotated[
        str | None,
        typer.Option(
            "--split-group",
            help="'cluster' (near-duplicates stay together) or a column whose values do.",
        ),
    ] = None,
    adversarial: Annotated[
        bool,
        typer.Option(
            "--adversarial",
            help="Teach a predictor not to score repeats, truncated and shuffled sequences high.",
        ),
    ] = False,
    prior: Annotated[
        str | None,
        typer.Option(
            "--prior",
            metavar="MODEL",
            help="A prior: trains a value network of its half-decoded sequences, for value=learned "
            "and gradients. Needs --reward, no --data.",
        ),
    ] = None,
    reward: options.Rewards = None,
    alpha: Annotated[
        float | None,
        typer.Option(
            "--alpha",
            help="Temperature of a value network's soft value, in units of the reward; a fifth of "
            "its standard deviation when not given.",
        ),
    ] = None,
    alphabet: options.Alphabet = None,
    preset: options.Preset = None,
    config: options.Config = None,
    set_: options.Set = None,
    seed: options.Seed = None,
    dry_run: options.DryRun = False,
    run_dir: options.RunDir = None,
    resume: options.Resume = False,
    quiet: options.Quiet = False,
    device: options.Device = "auto",
    precision: options.Precision = "auto",
    threads: options.Threads = None,
    max_time: options.MaxTime = None,
) -> None:
    """Train a prior, or with --label a reward predictor, from FASTA or tables.

    With --prior, train a value network: what the prior's half-decoded sequences will be worth.
    """
    from designkit.recipes.options import RunOptions
    from designkit.recipes.pretrain import run_pretrain

    group = split_group and ("cluster" if split_group == "cluster" else f"group:{split_group}")
    flags: dict[str, Any] = {
        "data.column": column,
        "data.labels": {one: {} for one in label} if label else None,
        "kind": "predictor" if label else "value" if prior else None,
        "classes.column": class_column,
        "prior": prior,
        "temperature": alpha,
        "split.by": group,
        "adversarial": {} if adversarial else None,
        "alphabet": alphabet,
        "precision": None if precision == "auto" else precision,
    }
    run_pretrain(
        RunOptions(
            preset,
            config or (),
            set_ or (),
            flags,
            seed,
            device,
            threads,
            max_time,
            dry_run,
            quiet,
            reward or (),
        ),
        sources=data or (),
        name=name,
        run_dir=run_dir,
        resume=resume,
    )
