"""``designkit refine``: improve sequences in rounds."""

from __future__ import annotations

from contextlib import nullcontext
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field, model_validator

from designkit.errors import (
    EXIT_OK,
    EXIT_SOME_ITEMS_FAILED,
    Interrupted,
    UsageError,
)
from designkit.recipes._diversity import DiversityOption
from designkit.recipes._loaded import LoadedModels
from designkit.recipes._methods import DesignSettings, named_method, resolve_method
from designkit.recipes._until import Until, UntilOption, as_mapping
from designkit.recipes.console import Console
from designkit.recipes.objective import model_loader, rewards_record
from designkit.recipes.options import OutputOptions, RunOptions
from designkit.recipes.runtime import (
    StopRequest,
    choose_device,
    draw_seed,
    set_threads,
    stop_on_signals,
    what_ended,
)
from designkit.settings import Layer

if TYPE_CHECKING:
    import torch

    from designkit.algorithms.refinement.base import Refiner
    from designkit.io.designs import DesignWriter
    from designkit.io.journal import Journal
    from designkit.recipes._refinement_job import Job

DEFAULT_ROUNDS = 20
NO_MODEL = "no model to draw from: designkit refine --model MODEL"


class RefineSettings(DesignSettings):
    """What a ``refine`` preset may hold, besides its rewards.

    Attributes:
        input: sequences to start from, a file or ``-``; draws of the prior without one.
        num: designs to write, the best of all; with inputs only where it is given.
        per_input: designs to write of each input; 10 where neither this nor ``num`` is given.
        method: ``name`` of the refiner and its settings.
        until: when the run is finished, ``rounds=20`` when nothing is given.
        max_edits: most changes from its input that a design may have.
        mix: whether designs of different inputs may be crossed.
        diversity: how different the designs that are written are to be; the best of all, however
            alike, when not given.
        likelihood_draws: noisy versions that a likelihood estimate of a written design takes; 0
            for no likelihoods.
        column: of the sequences, in tables.
        input_format: of the input.
        convert_t_u: read T as U in RNA and U as T in DNA.
        uppercase: accept lower-case letters.
    """

    input: str | None = None
    per_input: int | None = Field(default=None, ge=1)
    method: dict[str, Any] = Field(default_factory=lambda: {"name": "rerd"})
    until: UntilOption = Field(default_factory=lambda: Until(rounds=DEFAULT_ROUNDS))
    max_edits: int | None = Field(default=None, ge=1)
    mix: bool = False
    diversity: DiversityOption | None = None
    likelihood_draws: int = Field(default=32, ge=0)
    column: str = "sequence"
    input_format: Literal["auto", "fasta", "csv", "tsv", "jsonl"] = "auto"
    convert_t_u: bool = False
    uppercase: bool = False

    @model_validator(mode="before")
    @classmethod
    def _how_many(cls, fields: Any) -> Any:
        if not isinstance(fields, dict):
            return fields
        given = [key for key in ("num", "per_input") if fields.get(key) is not None]
        if len(given) == 2:
            raise ValueError(
                "num (-n) is the number of all designs, per_input of each input: choose one"
            )
        return fields if given else {**fields, "per_input": cls.model_fields["num"].default}


def until_flags(text: str | None) -> dict[str, Any]:
    """The keys that ``--until`` sets; what a preset says of others stays."""
    try:
        fields = as_mapping(text)
    except ValueError:  # told with all other problems
        fields = text
    if not isinstance(fields, dict):
        return {"until": fields}
    return {f"until.{key}": value for key, value in fields.items()}


def resolve_settings(merged: Layer) -> tuple[RefineSettings, Refiner]:
    """Settings and refiner, checked without importing torch; lists every problem."""
    method = named_method(merged, "rerd")
    refiner: Refiner
    settings, refiner = resolve_method(
        merged, method, RefineSettings, "designkit.refiners", NO_MODEL
    )
    if not settings.rewards:
        raise UsageError("nothing to raise: add --reward REF")
    if settings.input is None:
        for key in ("max_edits", "mix"):
            if getattr(settings, key):
                flag = "--" + key.replace("_", "-")
                raise UsageError(f"{flag} is about the sequences to start from: give some")
    return settings, refiner


def run_refine(options: RunOptions, output: OutputOptions) -> int:
    """The command: resolve, refine, write, count.

    Returns:
        Exit code: 0, or 5 when inputs were skipped or fewer designs than asked for were found.

    Raises:
        Interrupted: stopped by a signal, ``--max-time`` or ``--max-evals``; the rounds that are
            done are kept, and the best designs so far are in ``OUT.partial.csv``.
        InputError: a sequence to start from that cannot be used.
        RewardError: more than a fifth of the sequences have no score.
    """
    merged = options.configuration("refine")
    for given, other in (("num", "per_input"), ("per_input", "num")):
        if options.flags.get(given) is not None and options.flags.get(other) is None:
            merged.data.pop(other, None)  # what a preset says of it
    settings, refiner = resolve_settings(merged)
    console = Console(options.quiet)

    from designkit.io.designs import DesignWriter, is_complete
    from designkit.io.journal import Journal, journal_of
    from designkit.recipes.record import check_same_run, read_record

    target = output.target
    finished = output.resume and is_complete(target) and not journal_of(target).exists()
    seed = options.seed
    if seed is None and output.resume:
        seed = read_record(target, finished=finished).get("seed")

    from designkit.recipes._refinement_job import Job

    job = Job(settings, refiner, draw_seed(seed))
    if finished:
        check_same_run(target, job.same, finished=True)
        console.say(f"{target}: complete already, nothing to resume")
        return EXIT_OK
    # What is resumed writes its tables once more when it is finished.
    force = output.force or output.resume
    writer = DesignWriter(target, format=output.format, force=force, resumable=False)
    if writer.part is None and output.resume:
        raise UsageError(f"--resume needs an output file; {target} is a stream")
    journal = None
    if writer.part is not None:
        journal = Journal(target, resume=output.resume, force=output.force)
    if options.dry_run:
        console.show(job.plan(job.inputs([])))
        return EXIT_OK
    set_threads(options.threads)
    with journal or nullcontext(), stop_on_signals(options.seconds) as stop:
        return _refine(job, writer, journal, console, choose_device(options.device), stop)


def _refine(
    job: Job,
    writer: DesignWriter,
    journal: Journal | None,
    console: Console,
    device: torch.device,
    stop: StopRequest,
) -> int:
    """The run itself, from loading the prior to its exit code."""
    from designkit.recipes._refinement_outputs import RefinementOutputs
    from designkit.recipes.record import RunRecord, check_same_run

    lines = [] if journal is None else journal.lines
    inputs = job.inputs(lines)
    model, models = job.model(device), LoadedModels(model_loader(device))
    with job.engine(model) as engine:
        same = {**job.same, "rewards": rewards_record(engine.rewards)}
        if lines:
            check_same_run(writer.target, same)
        run = job.begin(model, engine, models, inputs, journal)
        outputs = RefinementOutputs(writer, job, run, inputs, engine, models)
        console.say(job.title(run, inputs))
        fields = {"until": job.settings.until.describe(), "device": str(device)}
        record = RunRecord(writer.target, {"command": "refine", **same, **fields})
        record.write("running")
        brief = job.brief(model, inputs, models, lambda: stop() or run.clock.over())
        progress = console.progress("rounds", job.settings.until.rounds)
        reason = ""
        try:
            for reason in run.rounds(brief, job.seed, stop):
                progress.advance(len(run.history) - 1, run.figures())
                if reason:
                    break
            outputs.write()
        except (Interrupted, KeyboardInterrupt) as stopped:
            if isinstance(stopped, Interrupted):  # Ctrl-C may come in the middle of a round
                outputs.write_partial()
            record.write("interrupted", **outputs.counts())
            raise what_ended(stopped, stop, outputs.kept()) from stopped
        except BaseException:
            record.write("failed", **outputs.counts())
            if journal is not None and not run.history:
                journal.remove()  # there is nothing to go on from
            raise
        finally:
            progress.close()
        record.finish(**outputs.counts(), finished_by=reason)
        if journal is not None:
            journal.remove()
        console.say(outputs.summary(reason))
    return EXIT_SOME_ITEMS_FAILED if outputs.has_failures else EXIT_OK
