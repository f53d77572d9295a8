"""Options that several commands have: the same flag means the same thing everywhere.

A command writes ``seed: Seed = None``; type, range and help come with the alias.
"""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from designkit.randomness import MAX_SEED

CONFIGURATION = "Configuration"
CONSTRAINTS = "Constraints"
OUTPUT = "Output"
COMPUTING = "Computing"

# What to use
Model = Annotated[
    str, typer.Argument(metavar="MODEL", help="Name, name@version, or folder of a model.")
]
Sequences = Annotated[
    str, typer.Argument(metavar="FILE", help="FASTA, CSV, TSV or JSON lines; - is standard input.")
]
Rewards = Annotated[
    list[str] | None,
    typer.Option(
        "--reward",
        metavar="REF",
        help="What to raise: NAME, NAME?key=value, model:NAME, file.py:NAME, exec:COMMAND, or a "
        "YAML file. weight, role, transform, ... are keys too. Repeatable.",
    ),
]
Aggregation = Annotated[
    Literal["sum", "product", "geometric_mean", "min", "pareto"] | None,
    typer.Option("--aggregation", help="How several rewards become one; sum when not given."),
]
Alphabet = Annotated[
    str | None,
    typer.Option("--alphabet", help="dna, rna, protein, or a YAML file with an alphabet."),
]
Column = Annotated[str | None, typer.Option("--column", help="Column of the sequences, in tables.")]
InputFormat = Annotated[
    Literal["auto", "fasta", "csv", "tsv", "jsonl"],
    typer.Option("--input-format", help="Format of the input, where its name does not tell."),
]
OnInvalid = Annotated[
    Literal["fail", "skip", "worst"] | None,
    typer.Option("--on-invalid", help="What to do with items that cannot be used or scored."),
]
Uppercase = Annotated[bool, typer.Option("--uppercase", help="Accept lower-case letters.")]
ConvertTU = Annotated[
    bool, typer.Option("--convert-t-u", help="Read U as T in DNA, and T as U in RNA.")
]

# Constraints: positions count from 1, both ends of a range included
Template = Annotated[
    str | None,
    typer.Option(
        "--template",
        metavar="LETTERS",
        help="Letter or IUPAC code of every position, as in ATGNNNTAA; sets the length.",
        rich_help_panel=CONSTRAINTS,
    ),
]
Fix = Annotated[
    str | None,
    typer.Option(
        "--fix",
        metavar="POSITIONS",
        help="Keep these letters of the template, as in 1-10,25; the others are free.",
        rich_help_panel=CONSTRAINTS,
    ),
]
Design = Annotated[
    str | None,
    typer.Option(
        "--design",
        metavar="POSITIONS",
        help="Change these letters of the template alone, as in 40-60.",
        rich_help_panel=CONSTRAINTS,
    ),
]
Forbid = Annotated[
    list[str] | None,
    typer.Option(
        "--forbid",
        metavar="WORD",
        help="No such word, nor in DNA its reverse complement; WORD:forward is this strand alone. "
        "IUPAC codes may be used. Repeatable.",
        rich_help_panel=CONSTRAINTS,
    ),
]
ForbidLetters = Annotated[
    str | None,
    typer.Option(
        "--forbid-letters",
        metavar="LETTERS",
        help="No such letters, except where they are kept.",
        rich_help_panel=CONSTRAINTS,
    ),
]
MaxHomopolymer = Annotated[
    int | None,
    typer.Option(
        "--max-homopolymer",
        min=1,
        help="Longest run of one letter.",
        rich_help_panel=CONSTRAINTS,
    ),
]
Coding = Annotated[
    str | None,
    typer.Option(
        "--coding",
        metavar="POSITIONS",
        help="Read as codons from the first position on, as in 1-300: no stop codon.",
        rich_help_panel=CONSTRAINTS,
    ),
]
GC = Annotated[
    list[str] | None,
    typer.Option(
        "--gc",
        metavar="LOW-HIGH[:WINDOW]",
        help="Share of G and C of the whole sequence, as in 0.4-0.6, or of every window, as in "
        "0.3-0.7:50. Designs outside are drawn again. Repeatable.",
        rich_help_panel=CONSTRAINTS,
    ),
]

# Configuration
Preset = Annotated[
    str | None,
    typer.Option(
        "--preset",
        metavar="NAME",
        help="Start from a preset; 'designkit presets list' shows them.",
        rich_help_panel=CONFIGURATION,
    ),
]
Config = Annotated[
    list[str] | None,
    typer.Option(
        "--config",
        metavar="FILE",
        help="YAML file over the preset. Repeatable, the last wins.",
        rich_help_panel=CONFIGURATION,
    ),
]
Set = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="KEY=VALUE",
        help="One setting over presets and files, as in --set method.candidates=10. Repeatable.",
        rich_help_panel=CONFIGURATION,
    ),
]
Seed = Annotated[
    int | None,
    typer.Option(
        "--seed",
        min=0,
        max=MAX_SEED,
        help="Same seed, same result. Drawn and recorded when not given.",
        rich_help_panel=CONFIGURATION,
    ),
]
DryRun = Annotated[
    bool,
    typer.Option(
        "--dry-run",
        help="Print the resolved plan and stop.",
        rich_help_panel=CONFIGURATION,
    ),
]

# Output
Output = Annotated[
    str,
    typer.Option(
        "-o",
        "--output",
        metavar="FILE",
        help="Where results go; - is standard output, .gz compresses.",
        rich_help_panel=OUTPUT,
    ),
]
Format = Annotated[
    Literal["fasta", "csv", "tsv", "jsonl"] | None,
    typer.Option(
        "--format",
        help="Format of the output, where its name does not tell.",
        rich_help_panel=OUTPUT,
    ),
]
Name = Annotated[
    str,
    typer.Option(
        "--name",
        metavar="NAME",
        help="Name of the new model in the registry.",
        rich_help_panel=OUTPUT,
    ),
]
RunDir = Annotated[
    str | None,
    typer.Option(
        "--run-dir",
        metavar="DIR",
        help="Folder for checkpoints and the training log.",
        rich_help_panel=OUTPUT,
    ),
]
Force = Annotated[
    bool, typer.Option("--force", help="Replace an existing output.", rich_help_panel=OUTPUT)
]
Append = Annotated[
    bool, typer.Option("--append", help="Add to an existing output.", rich_help_panel=OUTPUT)
]
Resume = Annotated[
    bool,
    typer.Option(
        "--resume",
        help="Continue an interrupted run; does nothing to a finished one.",
        rich_help_panel=OUTPUT,
    ),
]
Shard = Annotated[
    str | None,
    typer.Option(
        "--shard",
        metavar="I/N",
        help="Do part I of N (from 0), or 'slurm' in a job array; 'designkit merge' joins them.",
        rich_help_panel=OUTPUT,
    ),
]
Quiet = Annotated[
    bool,
    typer.Option("-q", "--quiet", help="No progress, only warnings.", rich_help_panel=OUTPUT),
]
Verbose = Annotated[bool, typer.Option("-v", "--verbose", help="Say more.", rich_help_panel=OUTPUT)]
LogFile = Annotated[
    str | None,
    typer.Option(
        "--log-file",
        metavar="FILE",
        help="Write messages to a file too.",
        rich_help_panel=OUTPUT,
    ),
]

# Computing
Device = Annotated[
    str,
    typer.Option(
        "--device",
        metavar="auto|cpu|cuda[:N]|mps",
        help="Where to compute; auto takes a GPU if there is one.",
        rich_help_panel=COMPUTING,
    ),
]
Precision = Annotated[
    Literal["auto", "fp32", "bf16"],
    typer.Option(
        "--precision",
        help="auto is bf16 on GPUs that have it, fp32 elsewhere.",
        rich_help_panel=COMPUTING,
    ),
]
Threads = Annotated[
    int | None,
    typer.Option(
        "--threads",
        min=1,
        help="CPU threads; SLURM_CPUS_PER_TASK or all cores when not given.",
        rich_help_panel=COMPUTING,
    ),
]
BatchSize = Annotated[
    int | None,
    typer.Option(
        "--batch-size",
        min=1,
        help="Sequences computed together; does not change which ones come out.",
        rich_help_panel=COMPUTING,
    ),
]
MaxTime = Annotated[
    str | None,
    typer.Option(
        "--max-time",
        metavar="TIME",
        help="Stop after 90s, 30m or 2h, exit 75; --resume continues.",
        rich_help_panel=COMPUTING,
    ),
]
Cache = Annotated[
    str | None,
    typer.Option(
        "--cache",
        metavar="FILE",
        help="Keep scores in a file that several runs may share at the same time.",
        rich_help_panel=COMPUTING,
    ),
]
MaxEvals = Annotated[
    int | None,
    typer.Option(
        "--max-evals",
        min=1,
        help="Stop, exit 75, rather than score more distinct sequences than this.",
        rich_help_panel=COMPUTING,
    ),
]
