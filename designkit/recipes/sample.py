"""``designkit sample``: draw designs from a prior, guided by rewards or not."""

from __future__ import annotations

import json
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

from pydantic import Field

from designkit.alphabet import Alphabet
from designkit.errors import EXIT_OK, EXIT_SOME_ITEMS_FAILED, Interrupted, UsageError
from designkit.recipes._constraints import MOST_ATTEMPTS, RunConstraints, template_length
from designkit.recipes._learned_value import at_its_temperature, doubts, network_of
from designkit.recipes._loaded import LoadedModels
from designkit.recipes._methods import (
    DesignSettings,
    check_condition,
    named_method,
    resolve_method,
)
from designkit.recipes._planner import AUTO, NO_MODEL, plan_method, to_be_found
from designkit.recipes._references import check_references
from designkit.recipes._temperature import is_measured, with_temperature
from designkit.recipes.console import Console
from designkit.recipes.objective import (
    load_rewards,
    make_engine,
    model_loader,
    reference_of,
    rewards_record,
)
from designkit.recipes.options import OutputOptions, RunOptions
from designkit.recipes.runtime import draw_seed, set_threads, stop_on_signals, what_ended
from designkit.settings import Layer

if TYPE_CHECKING:
    from designkit.algorithms.sampling.base import Sampler
    from designkit.registry.store import StoredModel


class SampleSettings(DesignSettings):
    """What a ``sample`` preset may hold; its methods are the samplers."""

    method: dict[str, Any] = Field(default_factory=lambda: {"name": "ancestral"})


def resolve_settings(merged: Layer) -> tuple[SampleSettings, Sampler]:
    """Settings and sampler, checked without importing torch; lists every problem.

    The method ``auto`` is replaced by the one that the budget allows.
    """
    method = named_method(merged, "ancestral")
    if method.data["name"] == AUTO:
        further = set(merged.data) - set(SampleSettings.model_fields)
        method.data = plan_method(merged, method.data, *to_be_found(merged), further)
    sampler: Sampler
    settings, sampler = resolve_method(
        merged, method, SampleSettings, "designkit.samplers", NO_MODEL
    )
    if sampler.needs_reward and not settings.rewards:
        raise UsageError(f"method {method.data['name']} needs a reward: add --reward REF")
    return settings, sampler


def run_sample(options: RunOptions, output: OutputOptions) -> int:
    """The command: resolve, draw, write, count.

    Returns:
        Exit code: 0, or 5 when some designs have no score or break the constraints.

    Raises:
        Interrupted: stopped by a signal, Ctrl-C or ``--max-time``; the finished designs are kept.
        RewardError: more than a fifth of the designs have no score.
    """
    settings, sampler = resolve_settings(options.configuration("sample"))
    seconds = options.seconds
    console = Console(options.quiet)

    from designkit.io.designs import DesignWriter, is_complete
    from designkit.recipes.record import RunRecord, check_same_run, read_record

    finished = output.resume and is_complete(output.target)
    seed = options.seed
    if seed is None and output.resume:
        seed = read_record(output.target, finished=finished).get("seed")
    seed = draw_seed(seed)

    from designkit.recipes._sampling_run import SamplingRun
    from designkit.recipes.runtime import choose_device, choose_precision
    from designkit.registry.build import component, load_diffusion_model
    from designkit.registry.rules import find_prior
    from designkit.registry.store import Registry

    stored = find_prior(settings.model)
    if "process" in stored.card:
        sampler = sampler.suited(component("designkit.processes", stored.card["process"]))
    alphabet = Alphabet.from_dict(stored.card["alphabet"])
    length = template_length(settings.constraints, alphabet, settings.length)
    settings = settings.model_copy(update={"length": length})
    constraints = RunConstraints(settings.constraints, alphabet)
    lengths = _check_lengths(settings, sampler, stored, constraints)
    longest = max(lengths)
    check_references(sampler, stored, lengths)
    needed_by = settings.method["name"] if sampler.needs_condition else None
    check_condition(settings.condition, stored, needed_by)
    same = {
        "settings": settings.model_dump(mode="json"),
        "sampler": sampler.model_dump(mode="json"),
        "model": {"ref": stored.ref, "sha256": stored.sha256, "parent": stored.card["parent"]},
        "models": {ref: Registry().find(ref).sha256 for ref in sampler.references},
        "seed": seed,
    }
    if finished:
        check_same_run(output.target, same, finished=True)
        console.say(f"{output.target}: complete already, nothing to resume")
        return EXIT_OK
    writer = DesignWriter(
        output.target,
        format=output.format,
        force=output.force,
        append=output.append,
        resume=output.resume,
    )
    if options.dry_run:
        console.show(_plan(settings, sampler, constraints, longest, seed))
        return EXIT_OK
    set_threads(options.threads)
    device = choose_device(options.device)
    model = load_diffusion_model(stored, device, choose_precision(settings.precision, device))
    if settings.condition is not None:
        model = model.conditioned(settings.condition)
    rewards = load_rewards(settings.rewards, device)
    reference = reference_of(
        settings,
        model.alphabet,
        model,
        length=settings.length,
        steps=sampler.steps,
        decoding=sampler.decoding,
    )
    engine = make_engine(rewards, settings, model.alphabet, reference)
    if engine is not None and engine.coupled:
        raise UsageError(
            f"{', '.join(engine.coupled_by)}: compares designs with each other, but these are "
            "drawn one by one; use transform=quantile, or 'designkit score'"
        )
    if engine is not None and sampler.needs_gradient:
        engine.check_differentiable()
    models = LoadedModels(model_loader(device))
    network = network_of(sampler, model, models)
    sampler = at_its_temperature(sampler, network)
    sampler = with_temperature(sampler, engine, settings.effective_share)
    console.say(
        f"{settings.num} designs from {stored.ref} by {settings.method['name']} "
        f"({sampler.describe()}), seed {seed}, {device} {model.precision}"
    )
    if told := constraints.describe(longest):
        console.say(told)
    same["rewards"] = rewards_record(engine.rewards) if engine else []
    same["value_network"] = {"name": network.name, "sha256": network.sha256} if network else None
    for doubt in doubts(sampler, network, json.loads(json.dumps(same["rewards"]))):
        console.warn(doubt)
    fields = {**same, "temperature": getattr(sampler, "temperature", None), "device": str(device)}
    record = RunRecord(output.target, {"command": "sample", **fields})
    with writer, stop_on_signals(seconds) as stop, engine or nullcontext():
        run = SamplingRun(settings, sampler, model, engine, seed, stored.ref, constraints, models)
        if writer.rows_before:
            run.append_to(writer)
        if writer.rows_resumed:
            check_same_run(output.target, same)
            run.take_up(writer, read_record(output.target, finished=False))
        record.write("running", **run.counts(writer))
        failed = run.failed
        try:
            progress = console.progress("designs", settings.num)
            for frame in run.batches(stop):
                writer.write(frame)
                if run.failed > failed:  # no row tells of these
                    failed = run.failed
                    record.write("running", **run.counts(writer))
                progress.advance(run.done, run.figures())
        except (Interrupted, KeyboardInterrupt) as stopped:
            record.write("interrupted", **run.counts(writer))
            done = f"{run.done} of {settings.num} designs done"
            raise what_ended(stopped, stop, done) from stopped
        except BaseException:
            record.write("failed", **run.counts(writer))
            raise
    record.finish(**run.counts(writer))
    console.say(run.summary(writer))
    return EXIT_SOME_ITEMS_FAILED if run.unscored or run.failed else EXIT_OK


def _check_lengths(
    settings: SampleSettings, sampler: Sampler, stored: StoredModel, constraints: RunConstraints
) -> list[int]:
    """Refuse what the prior cannot write, before any work.

    Returns:
        The lengths that may be drawn.

    Raises:
        UsageError: a length outside its law, constraints that no design satisfies, or more steps
            than a design may have letters to be found.
    """
    lengths = [int(length) for length in stored.card.get("length_law", {})]
    if settings.length is not None and lengths:
        low, high = min(lengths), max(lengths)
        if not low <= settings.length <= high:
            written = f"{low}" if low == high else f"{low} to {high}"
            asked = f"--length {settings.length}"
            if settings.constraints.template is not None:
                asked = f"--template has {settings.length} letters"
            raise UsageError(f"{asked}: {stored.name} writes sequences of {written} letters")
        lengths = [settings.length]
    for length in lengths:
        sampler.steps_for(constraints.free(length))
    return lengths


def _plan(
    settings: SampleSettings,
    sampler: Sampler,
    constraints: RunConstraints,
    longest: int,
    seed: int,
) -> dict[str, Any]:
    """What ``--dry-run`` prints: the resolved settings and the calls to be made at most."""
    free, letters = constraints.free(longest), constraints.alphabet.size
    attempts = MOST_ATTEMPTS if settings.constraints.gc else 1
    drawn = -(-settings.num // sampler.population) * sampler.population
    denoiser, reward = (drawn * rows for rows in sampler.calls_per_design(free, letters))
    network = sampler.network_rows(free, letters)
    fitted = any(one.transform and one.transform.needs_reference for one in settings.rewards)
    measured = bool(settings.rewards) and is_measured(sampler)
    references = settings.reference_num if fitted or measured else 0
    again = {
        "attempts_at_most": attempts,
        "denoiser_rows_of_one_attempt": denoiser,
        "reward_rows_of_one_attempt": reward,
    }
    return {
        "settings": settings.model_dump(mode="json"),
        "sampler": sampler.model_dump(mode="json"),
        "seed": seed,
        "steps": sampler.steps_for(free),
        "constraints": constraints.describe(longest) or "none",
        **(again if attempts > 1 else {}),
        "denoiser_rows_at_most": attempts * denoiser + references * sampler.steps_for(longest),
        "reward_rows_at_most": attempts * reward + settings.num + references
        if settings.rewards
        else 0,
        **({"value_network_rows_at_most": attempts * drawn * network} if network else {}),
    }
