"""``designkit score``: score sequences."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from designkit.cli import _options as options


def register(root: typer.Typer) -> None:
    """Add the command to the program."""
    root.command("score")(score)


def score(
    sequences: options.Sequences,
    reward: options.Rewards = None,
    aggregation: options.Aggregation = None,
    model: Annotated[
        str | None,
        typer.Option("--model", metavar="MODEL", help="A prior: adds the log-likelihood (nats)."),
    ] = None,
    alphabet: options.Alphabet = None,
    column: options.Column = None,
    convert_t_u: options.ConvertTU = False,
    uppercase: options.Uppercase = False,
    on_invalid: options.OnInvalid = None,
    input_format: options.InputFormat = "auto",
    preset: options.Preset = None,
    config: options.Config = None,
    set_: options.Set = None,
    output: options.Output = "-",
    format_: options.Format = None,
    force: options.Force = False,
    append: options.Append = False,
    quiet: options.Quiet = False,
    cache: options.Cache = None,
    max_evals: options.MaxEvals = None,
    device: options.Device = "auto",
    threads: options.Threads = None,
) -> None:
    """Score sequences with rewards and, with --model, by their likelihood under a prior."""
    from designkit.recipes.options import OutputOptions, RunOptions
    from designkit.recipes.score import run_score

    flags: dict[str, Any] = {
        "model": model,
        "alphabet": alphabet,
        "column": column,
        "convert_t_u": convert_t_u or None,
        "uppercase": uppercase or None,
        "on_invalid": on_invalid,
        "aggregation": aggregation,
        "cache": cache,
        "max_evals": max_evals,
        "input_format": None if input_format == "auto" else input_format,
    }
    run = RunOptions(
        preset=preset,
        config=config or (),
        assignments=set_ or (),
        flags=flags,
        rewards=reward or (),
        device=device,
        threads=threads,
        quiet=quiet,
    )
    code = run_score(run, sequences, OutputOptions(output, format_, force, append))
    if code:
        raise typer.Exit(code)
