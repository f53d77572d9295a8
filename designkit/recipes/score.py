"""``designkit score``: rewards and likelihood of any sequences."""

from __future__ import annotations

import sys
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from designkit.errors import EXIT_OK, EXIT_SOME_ITEMS_FAILED, Interrupted, UsageError
from designkit.recipes.console import Console
from designkit.recipes.objective import (
    ObjectiveSettings,
    alphabet_of,
    load_rewards,
    make_engine,
    reference_of,
    rewards_record,
)
from designkit.recipes.options import OutputOptions, RunOptions
from designkit.recipes.runtime import interrupt_on_signals, set_threads
from designkit.settings import validate

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray

    from designkit.models.base import DiffusionModel
    from designkit.rewards import RewardEngine


CHUNK_ROWS = 1024


class ScoreSettings(ObjectiveSettings):
    """What a ``score`` configuration may hold, besides its rewards.

    Attributes:
        model: a prior, for the log-likelihood.
        likelihood_draws: noisy versions of a sequence that each likelihood estimate takes.
        alphabet: of the sequences; that of the model or of the first reward when not given.
        column: of the sequences, in tables.
        input_format: of the input.
        convert_t_u: read T as U in RNA and U as T in DNA.
        uppercase: accept lower-case letters.
        on_invalid: records that hold no usable sequence: ``fail`` stops, ``skip`` leaves them out,
            and those without a score too; ``worst`` leaves only the unusable ones out.
    """

    model: str | None = None
    likelihood_draws: int = Field(default=32, ge=2)
    alphabet: str | None = None
    column: str = "sequence"
    input_format: Literal["auto", "fasta", "csv", "tsv", "jsonl"] = "auto"
    convert_t_u: bool = False
    uppercase: bool = False
    on_invalid: Literal["fail", "skip", "worst"] = "fail"


@dataclass
class _Counts:
    written: int = 0
    unscored: int = 0
    dropped: int = 0


def run_score(options: RunOptions, source: str, output: OutputOptions) -> int:
    """The command: read, score, write, count.

    Returns:
        Exit code: 0, or 5 when a record was skipped or has no score.

    Raises:
        UsageError: nothing to score with.
        BudgetExhausted: ``max_evals`` is spent; what was written is kept.
        InputError: a record that cannot be used.
    """
    settings = validate(ScoreSettings, options.configuration("score"))
    if not settings.rewards and settings.model is None:
        raise UsageError("nothing to score with: add --reward REF or --model MODEL")

    from designkit.io._letters import BY_FLAGS
    from designkit.io.designs import DesignWriter
    from designkit.io.sequences import read_sequences
    from designkit.recipes.record import RunRecord, check_same_run
    from designkit.recipes.runtime import choose_device
    from designkit.registry.build import load_diffusion_model
    from designkit.registry.rules import find_prior

    console = Console(options.quiet)
    writer = DesignWriter(
        output.target,
        format=output.format or ("tsv" if output.target == "-" else None),
        force=output.force,
        append=output.append,
        resumable=False,
    )
    set_threads(options.threads)
    device = choose_device(options.device)
    stored = find_prior(settings.model) if settings.model else None
    model = load_diffusion_model(stored, device) if stored else None
    rewards = load_rewards(settings.rewards, device)
    alphabet = alphabet_of(settings.alphabet, model, [one.reward for one in rewards])
    engine = make_engine(rewards, settings, alphabet, reference_of(settings, alphabet, model))
    record = RunRecord(
        output.target,
        {
            "command": "score",
            "input": source,
            "settings": settings.model_dump(mode="json"),
            "model": {"ref": stored.ref, "sha256": stored.sha256} if stored else None,
            "rewards": rewards_record(engine.rewards) if engine else [],
            "aggregation": settings.aggregation,
            "device": str(device),
        },
    )
    if output.append:
        same = {key: record.fields[key] for key in ("rewards", "aggregation", "model")}
        check_same_run(output.target, same, finished=True)
    reader = read_sequences(
        source,
        alphabet=alphabet,
        input_format=settings.input_format,
        column=settings.column,
        convert_t_u=settings.convert_t_u,
        uppercase=settings.uppercase,
        on_invalid="fail" if settings.on_invalid == "fail" else "skip",
        ways=BY_FLAGS,
        chunk_rows=_chunk_rows(engine),
    )
    name = "input" if source == "-" else Path(source).name.partition(".")[0]
    counts = _Counts()

    def counted() -> dict[str, Any]:
        return {
            "rows": {
                "read": reader.rows_read,
                "written": counts.written,
                "skipped": reader.rows_failed,
                "dropped": counts.dropped,
                "without_score": counts.unscored,
                "outside_bounds": engine.infeasible_rows if engine else 0,
            },
            "calls": {
                "denoiser_rows": model.counter.rows if model else 0,
                "reward_rows_scored": engine.rows_scored if engine else 0,
                "rewards": engine.usage() if engine else [],
            },
        }

    with interrupt_on_signals() as stop, reader, writer, engine or nullcontext():
        try:
            for frame in reader:
                scored = _score(frame, name, engine, model, settings.likelihood_draws)
                wanted = [c for c in ("reward", "log_likelihood") if c in scored]
                missing = scored[wanted].isna().any(axis=1)  # a monitor alone is no failure
                counts.unscored += int(missing.sum())
                if settings.on_invalid == "skip":
                    scored = scored[~missing]
                    counts.dropped += int(missing.sum())
                writer.write(scored)
                counts.written += len(scored)
                if stop():
                    raise Interrupted(stop.reason)
        except BaseException as problem:
            is_stopped = isinstance(problem, Interrupted | KeyboardInterrupt)
            status = "interrupted" if is_stopped else "failed"
            record.write(status, **counted(), input_sha256=None)
            raise
        input_sha256 = reader.sha256
    record.finish(**counted(), input_sha256=input_sha256)
    for failure in reader.failures:
        console.warn(f"skipped: {failure}")
    if sys.stderr.isatty() or output.target != "-" or counts.unscored or reader.rows_failed:
        outside = engine.infeasible_rows if engine else 0
        failed = engine.failed_monitors if engine else {}
        console.say(
            f"{reader.rows_read} records read = {counts.written} written + {reader.rows_failed} "
            f"skipped + {counts.dropped} dropped; {counts.unscored} without score"
            + (f"; {outside} outside the bounds" if outside else "")
            + "".join(f"; {n} without {name}" for name, n in failed.items())
        )
    return EXIT_SOME_ITEMS_FAILED if counts.unscored or reader.rows_failed else EXIT_OK


def _chunk_rows(engine: RewardEngine | None) -> int:
    """Rows scored and written together: few where they cost much, all where they are compared."""
    if engine is None:
        return CHUNK_ROWS
    if engine.coupled:
        return sys.maxsize
    is_cheap = all(one.reward.info.cost == "cheap" for one in engine.rewards)
    return CHUNK_ROWS if is_cheap else CHUNK_ROWS // 16


def _score(
    frame: pd.DataFrame,
    source: str,
    engine: RewardEngine | None,
    model: DiffusionModel | None,
    draws: int,
) -> pd.DataFrame:
    """The table with its scores; a reward is kept as ``reward.SOURCE``, other scores replaced."""
    sequences = frame["sequence"].tolist()
    added: dict[str, Any] = {}
    reasons: list[list[str]] = [[] for _ in sequences]
    if engine is not None:
        scored = engine.score(sequences)
        earlier = [name for name in ("reward", "feasible", "violation") if name in frame.columns]
        frame = frame.rename(columns={n: _free_name(f"{n}.{source}", frame) for n in earlier})
        added |= {"reward": scored.reward, **scored.columns}
        for row, reason in enumerate(scored.reasons):
            reasons[row] += [reason] if reason else []
    if model is not None:
        mean, error, refused = _log_likelihood(sequences, model, draws)
        added |= {"log_likelihood": mean, "log_likelihood_se": error}
        for row, reason in refused.items():
            reasons[row].append(reason)
    added["reason"] = ["; ".join(found) for found in reasons]
    kept = [column for column in frame.columns if column not in added]
    return frame[kept].assign(**added)


def _free_name(name: str, frame: pd.DataFrame) -> str:
    """``name``, or ``name_2``, ``name_3``, ...: the first that no column has."""
    number, free = 1, name
    while free in frame.columns:
        number += 1
        free = f"{name}_{number}"
    return free


def _log_likelihood(
    sequences: list[str], model: DiffusionModel, draws: int
) -> tuple[NDArray[np.float64], NDArray[np.float64], dict[int, str]]:
    """Estimates and standard errors (N,), and why some sequences have none."""
    import numpy as np
    import torch

    mean, error = np.full((2, len(sequences)), np.nan)
    refused: dict[int, str] = {}
    by_length: dict[int, list[int]] = {}
    law = model.length_law
    for row, sequence in enumerate(sequences):
        length = len(model.alphabet.split(sequence))
        if law.minimum <= length <= law.maximum:
            by_length.setdefault(length, []).append(row)
            continue
        lengths = f"{law.minimum}" if law.fixed else f"{law.minimum} to {law.maximum}"
        refused[row] = f"{model.name}: length {length}, the prior writes {lengths}"
    for rows in by_length.values():
        tokens = torch.from_numpy(model.alphabet.encode([sequences[row] for row in rows]))
        found, spread = model.log_likelihood(tokens.to(model.device), draws)
        mean[rows], error[rows] = found.cpu().numpy(), spread.cpu().numpy()
    return mean, error, refused
