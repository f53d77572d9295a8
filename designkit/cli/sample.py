"""``designkit sample``: draw designs."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from designkit.cli import _options as options


def register(root: typer.Typer) -> None:
    """Add the command to the program."""
    root.command("sample")(sample)


def _alpha(text: str) -> float | str:
    try:
        return float(text)
    except ValueError:
        return text


def sample(
    model: Annotated[
        str | None,
        typer.Argument(metavar="MODEL", help="A prior: name, name@version, or folder."),
    ] = None,
    num: Annotated[int | None, typer.Option("-n", "--num", help="Designs to draw.", min=1)] = None,
    method: Annotated[
        str | None,
        typer.Option(
            "--method",
            help="How to draw: ancestral, best_of_n, svdd, ...; auto chooses for --max-evals.",
        ),
    ] = None,
    reward: options.Rewards = None,
    aggregation: options.Aggregation = None,
    alpha: Annotated[
        Any,
        typer.Option(
            "--alpha",
            metavar="NUMBER|auto",
            parser=_alpha,
            help="Temperature of p(x) exp(reward / alpha), in units of the reward: a reward "
            "difference of alpha makes a design e = 2.7 times as likely. 0 is greedy; auto "
            "measures the one at which a tenth of the prior's designs would carry the weight.",
        ),
    ] = None,
    length: Annotated[
        int | None, typer.Option("--length", min=1, help="Letters of every design.")
    ] = None,
    condition: Annotated[
        str | None,
        typer.Option(
            "--condition",
            metavar="CLASS",
            help="Class of the prior to draw from; 'designkit models show' names them.",
        ),
    ] = None,
    on_invalid: options.OnInvalid = None,
    template: options.Template = None,
    fix: options.Fix = None,
    design: options.Design = None,
    forbid: options.Forbid = None,
    forbid_letters: options.ForbidLetters = None,
    max_homopolymer: options.MaxHomopolymer = None,
    coding: options.Coding = None,
    gc: options.GC = None,
    preset: options.Preset = None,
    config: options.Config = None,
    set_: options.Set = None,
    seed: options.Seed = None,
    dry_run: options.DryRun = False,
    output: options.Output = "-",
    format_: options.Format = None,
    force: options.Force = False,
    append: options.Append = False,
    resume: options.Resume = False,
    quiet: options.Quiet = False,
    cache: options.Cache = None,
    max_evals: options.MaxEvals = None,
    device: options.Device = "auto",
    precision: options.Precision = "auto",
    threads: options.Threads = None,
    batch_size: options.BatchSize = None,
    max_time: options.MaxTime = None,
) -> None:
    """Draw designs from a prior; with --method and --reward, guided ones."""
    from designkit.recipes.options import RunOptions
    from designkit.recipes.sample import OutputOptions, run_sample

    flags: dict[str, Any] = {
        "model": model,
        "num": num,
        "method.name": method,
        "method.temperature": alpha,
        "aggregation": aggregation,
        "cache": cache,
        "max_evals": max_evals,
        "length": length,
        "condition": condition,
        "constraints.template": template,
        "constraints.fix": fix,
        "constraints.design": design,
        "constraints.forbid": forbid,
        "constraints.forbid_letters": forbid_letters,
        "constraints.max_homopolymer": max_homopolymer,
        "constraints.coding": coding,
        "constraints.gc": gc,
        "batch_size": batch_size,
        "precision": None if precision == "auto" else precision,
        "on_invalid": on_invalid,
    }
    run = RunOptions(
        preset=preset,
        config=config or (),
        assignments=set_ or (),
        flags=flags,
        rewards=reward or (),
        seed=seed,
        device=device,
        threads=threads,
        max_time=max_time,
        dry_run=dry_run,
        quiet=quiet,
    )
    code = run_sample(run, OutputOptions(output, format_, force, append, resume))
    if code:
        raise typer.Exit(code)
