"""``designkit finetune``: tune a prior to a reward."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from designkit.cli import _design_options as designs
from designkit.cli import _options as options


def register(root: typer.Typer) -> None:
    """Add the command to the program."""
    root.command("finetune")(finetune)


def finetune(
    name: options.Name,
    model: Annotated[
        str | None,
        typer.Argument(metavar="MODEL", help="The prior to tune: name, name@version, or folder."),
    ] = None,
    method: Annotated[
        str | None,
        typer.Option("--method", help="What to train by: tb, ppo, rwmle."),
    ] = None,
    reward: options.Rewards = None,
    holdout: Annotated[
        list[str] | None,
        typer.Option(
            "--holdout",
            metavar="REF",
            help="A reward that is not raised: chooses the best weights, and ends the run where "
            "it falls while the reward rises. Repeatable.",
        ),
    ] = None,
    aggregation: options.Aggregation = None,
    alpha: designs.Alpha = None,
    length: designs.Length = None,
    condition: designs.Condition = None,
    on_invalid: options.OnInvalid = None,
    preset: options.Preset = None,
    config: options.Config = None,
    set_: options.Set = None,
    seed: options.Seed = None,
    dry_run: options.DryRun = False,
    run_dir: options.RunDir = None,
    resume: options.Resume = False,
    quiet: options.Quiet = False,
    cache: options.Cache = None,
    device: options.Device = "auto",
    precision: options.Precision = "fp32",  # ratios of probabilities are rough in bf16
    threads: options.Threads = None,
    max_time: options.MaxTime = None,
) -> None:
    """Tune a prior: its designs come to follow p(x) exp(reward / alpha), without guidance."""
    from designkit.recipes.finetune import run_finetune
    from designkit.recipes.options import RunOptions

    flags: dict[str, Any] = {
        "model": model,
        "method.name": method,
        "method.temperature": alpha,
        "holdout": holdout or None,
        "aggregation": aggregation,
        "length": length,
        "condition": condition,
        "on_invalid": on_invalid,
        "precision": None if precision == "fp32" else precision,
        "cache": cache,
    }
    run_finetune(
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
        name=name,
        run_dir=run_dir,
        resume=resume,
    )
