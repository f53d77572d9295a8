"""``designkit sample``: draw designs."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from designkit.cli import _design_options as designs
from designkit.cli import _options as options


def register(root: typer.Typer) -> None:
    """Add the command to the program."""
    root.command("sample")(sample)


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
            help="How to draw. For the best designs: svdd, svdd_r, beam, mcts, best_of_n, "
            "gradient; for designs of p(x) exp(reward / alpha): smc, nested_is, tds, classifier; "
            "towards a class: cfg; the prior itself: ancestral. auto chooses for --max-evals.",
        ),
    ] = None,
    reward: options.Rewards = None,
    aggregation: options.Aggregation = None,
    alpha: designs.Alpha = None,
    length: designs.Length = None,
    condition: designs.Condition = None,
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
    from designkit.recipes.options import OutputOptions, RunOptions
    from designkit.recipes.sample import run_sample

    constraints = designs.constraint_flags(
        template, fix, design, forbid, forbid_letters, max_homopolymer, coding, gc
    )
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
        **constraints,
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
