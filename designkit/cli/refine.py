"""``designkit refine``: improve sequences in rounds."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import typer

from designkit.cli import _design_options as designs
from designkit.cli import _options as options

LAB = "Lab in the loop"


def register(root: typer.Typer) -> None:
    """Add the command to the program."""
    root.command("refine")(refine)


def refine(
    sequences: Annotated[
        str | None,
        typer.Argument(
            metavar="FILE",
            help="Sequences to start from: FASTA, CSV, TSV or JSON lines, - for standard input. "
            "Draws of the prior when not given.",
        ),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option("--model", metavar="MODEL", help="A prior: name, name@version, or folder."),
    ] = None,
    method: Annotated[
        str | None, typer.Option("--method", help="How to refine: rerd, mh, genetic, ...")
    ] = None,
    reward: options.Rewards = None,
    aggregation: options.Aggregation = None,
    alpha: designs.Alpha = None,
    until: Annotated[
        str | None,
        typer.Option(
            "--until",
            metavar="KEY=VALUE,...",
            help="When to end, whatever comes first: rounds=20 (when not given), evals=1000 "
            "distinct sequences scored, time=2m, reward=1.0 reached by every input, plateau=5 "
            "rounds without a better design, above=12:10 designs of at least this reward.",
        ),
    ] = None,
    num: Annotated[
        int | None,
        typer.Option("-n", "--num", help="Designs to write, the best of all.", min=1),
    ] = None,
    per_input: Annotated[
        int | None,
        typer.Option("--per-input", help="Designs to write of each input; 10 without -n.", min=1),
    ] = None,
    max_edits: Annotated[
        int | None,
        typer.Option("--max-edits", min=1, help="Most changes of a design from its input."),
    ] = None,
    mix: Annotated[
        bool, typer.Option("--mix", help="Cross designs of different inputs too.")
    ] = False,
    diversity: Annotated[
        Literal["clusters", "maxmin", "dpp"] | None,
        typer.Option(
            "--diversity",
            help="Write designs that differ: the best of each cluster, those farthest from each "
            "other, or good and different ones by a determinantal point process.",
        ),
    ] = None,
    ask: Annotated[
        int | None,
        typer.Option(
            "--ask",
            min=1,
            metavar="NUMBER",
            help="Write so many different sequences to measure, kept in --state.",
            rich_help_panel=LAB,
        ),
    ] = None,
    tell: Annotated[
        str | None,
        typer.Option(
            "--tell",
            metavar="FILE",
            help="Measured values of sequences asked for: CSV or TSV with id or sequence.",
            rich_help_panel=LAB,
        ),
    ] = None,
    state: Annotated[
        str | None,
        typer.Option(
            "--state",
            metavar="DIR",
            help="Folder of a campaign: what was asked, measured and learnt.",
            rich_help_panel=LAB,
        ),
    ] = None,
    data: Annotated[
        str | None,
        typer.Option(
            "--data",
            metavar="FILE",
            help="Other measured sequences, to learn from and to build on.",
            rich_help_panel=LAB,
        ),
    ] = None,
    label: Annotated[
        str | None,
        typer.Option(
            "--label",
            metavar="COLUMN",
            help="Column of the measured values.",
            rich_help_panel=LAB,
        ),
    ] = None,
    length: designs.Length = None,
    condition: designs.Condition = None,
    on_invalid: options.OnInvalid = None,
    column: options.Column = None,
    convert_t_u: options.ConvertTU = False,
    uppercase: options.Uppercase = False,
    input_format: options.InputFormat = "auto",
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
    """Improve sequences, or draws of a prior, in rounds of changing and choosing."""
    from designkit.recipes.options import OutputOptions, RunOptions
    from designkit.recipes.refine import run_refine, until_flags

    is_campaign = any(value is not None for value in (ask, tell, state, data, label))

    constraints = designs.constraint_flags(
        template, fix, design, forbid, forbid_letters, max_homopolymer, coding, gc
    )
    flags: dict[str, Any] = {
        "input": sequences,
        "model": model,
        "num": num,
        "per_input": per_input,
        "method.name": method,
        "method.temperature": alpha,
        **until_flags(until),
        "max_edits": max_edits,
        "mix": mix or None,
        "diversity.kind": diversity,
        "label": label,
        "aggregation": aggregation,
        "cache": cache,
        "max_evals": max_evals,
        "length": length,
        "condition": condition,
        **constraints,
        "batch_size": batch_size,
        "precision": None if precision == "auto" else precision,
        "on_invalid": on_invalid,
        "column": column,
        "convert_t_u": convert_t_u or None,
        "uppercase": uppercase or None,
        "input_format": None if input_format == "auto" else input_format,
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
    where = OutputOptions(output, format_, force, resume=resume)
    if is_campaign:
        from designkit.recipes.campaign import CampaignRequest, run_campaign

        code = run_campaign(run, where, CampaignRequest(state, ask, tell, data))
    else:
        code = run_refine(run, where)
    if code:
        raise typer.Exit(code)
