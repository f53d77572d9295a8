"""What ``sample`` and ``refine`` share on the command line, besides the options of all commands."""

from __future__ import annotations

from typing import Annotated, Any

import typer


def _alpha(text: str) -> float | str:
    try:
        return float(text)
    except ValueError:
        return text


Alpha = Annotated[
    Any,
    typer.Option(
        "--alpha",
        metavar="NUMBER|auto",
        parser=_alpha,
        help="Temperature of p(x) exp(reward / alpha), in units of the reward: a reward "
        "difference of alpha makes a design e = 2.7 times as likely. 0 is greedy; auto "
        "measures the one at which a tenth of the prior's designs would carry the weight.",
    ),
]
Length = Annotated[int | None, typer.Option("--length", min=1, help="Letters of every design.")]
Condition = Annotated[
    str | None,
    typer.Option(
        "--condition",
        metavar="CLASS",
        help="Class of the prior to draw from; 'designkit models show' names them.",
    ),
]


def constraint_flags(
    template: str | None,
    fix: str | None,
    design: str | None,
    forbid: list[str] | None,
    forbid_letters: str | None,
    max_homopolymer: int | None,
    coding: str | None,
    gc: list[str] | None,
) -> dict[str, Any]:
    """The keys that the flags of constraints set."""
    values = {
        "template": template,
        "fix": fix,
        "design": design,
        "forbid": forbid,
        "forbid_letters": forbid_letters,
        "max_homopolymer": max_homopolymer,
        "coding": coding,
        "gc": gc,
    }
    return {f"constraints.{name}": value for name, value in values.items()}
