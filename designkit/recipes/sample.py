"""``designkit sample``: draw designs from a prior, guided by rewards or not."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from designkit import plugins
from designkit.errors import (
    EXIT_OK,
    EXIT_SOME_ITEMS_FAILED,
    ConfigurationError,
    Interrupted,
    RewardError,
    UsageError,
)
from designkit.recipes.console import Console
from designkit.recipes.objective import RewardSettings, load_rewards, make_engine, rewards_record
from designkit.recipes.options import RunOptions
from designkit.recipes.runtime import draw_seed, set_threads, stop_on_signals
from designkit.settings import Layer, Settings, validate

if TYPE_CHECKING:
    import pandas as pd

    from designkit.algorithms.sampling.base import Sampler
    from designkit.io.designs import DesignWriter
    from designkit.models.base import DiffusionModel
    from designkit.rewards import RewardEngine

LARGEST_NAN_SHARE = 0.2


class SampleSettings(Settings):
    """What a ``sample`` preset may hold.

    Attributes:
        model: the prior.
        num: designs to draw.
        length: of every design; drawn from the prior's length law when not given.
        method: ``name`` of the sampler and its settings.
        rewards: what to raise.
        batch_size: designs decoded together; changes speed and memory, not the designs.
        precision: arithmetic of the prior.
        on_invalid: designs that a reward cannot score: ``fail`` stops when they are more than a
            fifth, ``skip`` leaves them out, ``worst`` keeps them whatever their number.
    """

    model: str
    num: int = Field(default=10, ge=1)
    length: int | None = Field(default=None, ge=1)
    method: dict[str, Any] = Field(default_factory=lambda: {"name": "ancestral"})
    rewards: list[RewardSettings] = Field(default_factory=list)
    batch_size: int = Field(default=64, ge=1)
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    on_invalid: Literal["fail", "skip", "worst"] = "fail"


@dataclass(frozen=True)
class OutputOptions:
    """Where designs go.

    Attributes:
        target: a file, or ``-``.
        format: of the output, None for what its name says.
        force: replace an existing output.
        append: add to it.
        resume: continue an interrupted run.
    """

    target: str = "-"
    format: str | None = None
    force: bool = False
    append: bool = False
    resume: bool = False


def resolve_settings(merged: Layer) -> tuple[SampleSettings, Sampler]:
    """Settings and sampler, checked without importing torch; lists every problem.

    A key of ``--set`` that is none of ``SampleSettings`` is taken for a setting of the method.
    """
    method = merged.at("method")
    for key in [key for key in merged.data if key not in SampleSettings.model_fields]:
        method.data = {**method.data, key: merged.data.pop(key)}
        method.origins[(key,)] = merged.origin((key,))
    method.data.setdefault("name", "ancestral")
    merged.data["method"] = method.data
    own = {key: value for key, value in method.data.items() if key != "name"}
    plugin = plugins.find("designkit.samplers", str(method.data["name"]))
    problems: list[str] = []
    settings = sampler = None
    try:
        settings = validate(SampleSettings, merged)
    except ConfigurationError as error:
        problems += error.problems
    try:
        sampler = validate(plugin, Layer(method.label, own, method.origins), "method")
    except ConfigurationError as error:
        problems += error.problems
    if settings is None or sampler is None:
        raise ConfigurationError(problems)
    if sampler.needs_reward and not settings.rewards:
        raise UsageError(f"method {method.data['name']} needs a reward: add --reward REF")
    return settings, sampler


def run_sample(options: RunOptions, output: OutputOptions) -> int:
    """The command: resolve, draw, write, count.

    Returns:
        Exit code: 0, or 5 when some designs have no score.

    Raises:
        Interrupted: stopped by a signal or ``--max-time``; the finished designs are kept.
        RewardError: more than a fifth of the designs have no score.
    """
    settings, sampler = resolve_settings(options.configuration())
    console = Console(options.quiet)

    from designkit.io.designs import DesignWriter, is_complete

    if output.resume and is_complete(output.target):
        console.say(f"{output.target}: complete already, nothing to resume")
        return EXIT_OK
    before = _earlier_seed(output) if output.resume and options.seed is None else None
    seed = before if before is not None else draw_seed(options.seed)

    from designkit.recipes.record import RunRecord
    from designkit.recipes.runtime import choose_device, choose_precision
    from designkit.registry.build import load_diffusion_model
    from designkit.registry.store import Registry

    stored = Registry().find(settings.model)
    writer = DesignWriter(
        output.target,
        format=output.format,
        force=output.force,
        append=output.append,
        resume=output.resume,
    )
    if options.dry_run:
        console.show(_plan(settings, sampler, stored.card, seed))
        return EXIT_OK
    set_threads(options.threads)
    device = choose_device(options.device)
    model = load_diffusion_model(stored, device, choose_precision(settings.precision, device))
    rewards = load_rewards(settings.rewards, device)
    engine = make_engine(rewards, model.alphabet)
    console.say(
        f"{settings.num} designs from {stored.ref} by {settings.method['name']} "
        f"({sampler}), seed {seed}, {device} {model.precision}"
    )
    record = RunRecord(
        output.target,
        {
            "command": "sample",
            "settings": settings.model_dump(mode="json"),
            "sampler": sampler.model_dump(mode="json"),
            "model": {"ref": stored.ref, "sha256": stored.sha256, "parent": stored.card["parent"]},
            "rewards": rewards_record(rewards),
            "seed": seed,
            "device": str(device),
        },
    )
    with writer, stop_on_signals(options.seconds) as stop:
        record.write("running")
        run = _Run(settings, sampler, model, engine, seed, stored.ref)
        run.done = writer.rows_resumed
        status = "failed"
        try:
            progress = console.progress("designs", settings.num)
            for frame in run.batches(writer.rows_resumed):
                writer.write(frame)
                progress.advance(run.done, run.figures())
                if stop() and run.done < settings.num:
                    raise Interrupted(
                        f"{stop.reason}: {run.done} of {settings.num} designs written; "
                        "--resume continues"
                    )
            status = "complete"
        except Interrupted:
            status = "interrupted"
            raise
        finally:
            record.write(status, **run.counts(writer))
    console.say(run.summary(writer))
    return EXIT_SOME_ITEMS_FAILED if run.unscored else EXIT_OK


class _Run:
    """The state of a sampling run: what is drawn, scored, counted."""

    def __init__(
        self,
        settings: SampleSettings,
        sampler: Sampler,
        model: DiffusionModel,
        engine: RewardEngine | None,
        seed: int,
        ref: str,
    ):
        self.settings = settings
        self.sampler = sampler
        self.model = model
        self.engine = engine
        self.seed = seed
        self.ref = ref
        self.done = 0
        self.unscored = 0
        self.dropped = 0
        self.rewards: list[float] = []

    def batches(self, start: int) -> Iterator[pd.DataFrame]:
        """Tables of finished designs, in order, from design ``start`` on."""
        for first in range(start, self.settings.num, self.settings.batch_size):
            last = min(first + self.settings.batch_size, self.settings.num)
            frame = self._score(self._draw(first, last), first)
            self.done = last
            yield frame

    def _draw(self, first: int, last: int) -> list[str]:
        """Designs ``first`` to ``last - 1``; those of one length are decoded together."""
        import torch

        from designkit.algorithms.sampling.base import Request
        from designkit.randomness import noise_for

        noise = noise_for(self.seed, last - first, start=first, device=self.model.device)
        length = self.settings.length
        lengths = (
            self.model.length_law.sample(noise) if length is None else [length] * (last - first)
        )
        designs = [""] * (last - first)
        for one in sorted(set(lengths)):
            rows = torch.tensor([row for row, found in enumerate(lengths) if found == one])
            drawn = self.sampler.sample(
                self.model, self.engine, Request(one), noise.rows(rows.to(self.model.device))
            )
            written = self.model.alphabet.decode(drawn.tokens.cpu())
            for row, sequence in zip(rows.tolist(), written, strict=True):
                designs[row] = sequence
        return designs

    def _score(self, sequences: list[str], first: int) -> pd.DataFrame:
        import numpy as np
        import pandas as pd

        columns: dict[str, Any] = {
            "id": [f"design_{first + row + 1}" for row in range(len(sequences))],
            "sequence": sequences,
        }
        if self.engine is not None:
            scored = self.engine.score(sequences)
            columns |= {"reward": scored.reward, **scored.columns}
            missing = np.isnan(scored.reward)
            self.unscored += int(missing.sum())
            self.rewards += scored.reward[~missing].tolist()
            share = self.unscored / (self.unscored + len(self.rewards))
            if self.settings.on_invalid == "fail" and share > LARGEST_NAN_SHARE:
                reason = next(filter(None, scored.reasons), "no reason given")
                raise RewardError(
                    f"{self.unscored} of {self.unscored + len(self.rewards)} designs have no score "
                    f"({reason}); --on-invalid worst keeps them, skip leaves them out"
                )
        frame = pd.DataFrame(columns).assign(
            model=self.ref, method=self.settings.method["name"], seed=self.seed
        )
        if self.engine is not None and self.settings.on_invalid == "skip":
            kept = frame[frame["reward"].notna()]
            self.dropped += len(frame) - len(kept)
            return kept
        return frame

    def figures(self) -> dict[str, float]:
        """Best and median reward so far."""
        import numpy as np

        if not self.rewards:
            return {}
        return {"best": max(self.rewards), "median": float(np.median(self.rewards))}

    def counts(self, writer: DesignWriter) -> dict[str, Any]:
        """Rows and calls, for the record."""
        engine = self.engine
        return {
            "rows": {
                "requested": self.settings.num,
                "resumed": writer.rows_resumed,
                "written": writer.rows_written,
                "without_score": self.unscored,
                "dropped": self.dropped,
            },
            "calls": {
                "denoiser_calls": self.model.counter.calls,
                "denoiser_rows": self.model.counter.rows,
                "reward_rows_requested": engine.rows_requested if engine else 0,
                "reward_rows_scored": engine.rows_scored if engine else 0,
            },
            **self.figures(),
        }

    def summary(self, writer: DesignWriter) -> str:
        """What happened, in two or three lines."""
        counts = self.counts(writer)
        rows, calls = counts["rows"], counts["calls"]
        drawn = max(1, self.done - rows["resumed"])
        lines = [
            f"{rows['requested']} designs requested = {rows['written']} written"
            + (f" + {rows['resumed']} written before" if rows["resumed"] else "")
            + f" + {self.dropped} dropped; {self.unscored} without score",
            f"denoiser: {calls['denoiser_rows']} rows in {calls['denoiser_calls']} calls "
            f"({calls['denoiser_rows'] / drawn:.1f} rows a design)",
        ]
        if self.engine is not None:
            lines.append(
                f"rewards: {calls['reward_rows_scored']} distinct sequences of "
                f"{calls['reward_rows_requested']} asked for "
                f"({calls['reward_rows_scored'] / drawn:.1f} a design)"
            )
        if self.rewards:
            lines.append("reward: " + ", ".join(f"{k} {v:.4g}" for k, v in self.figures().items()))
        return "\n".join(lines)


def _earlier_seed(output: OutputOptions) -> int | None:
    try:
        return int(json.loads(Path(output.target + ".meta.json").read_text())["seed"])
    except (OSError, ValueError, KeyError):
        return None


def _plan(
    settings: SampleSettings, sampler: Sampler, card: dict[str, Any], seed: int
) -> dict[str, Any]:
    """What ``--dry-run`` prints: the resolved settings and the calls to be made at most."""
    longest = settings.length or max(int(length) for length in card["length_law"])
    denoiser, reward = sampler.calls_per_design(longest)
    return {
        "settings": settings.model_dump(mode="json"),
        "sampler": sampler.model_dump(mode="json"),
        "seed": seed,
        "steps": sampler.steps_for(longest),
        "denoiser_rows_at_most": denoiser * settings.num,
        "reward_rows_at_most": (reward + 1) * settings.num if settings.rewards else 0,
    }
