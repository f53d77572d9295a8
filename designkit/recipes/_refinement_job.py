"""What a refinement works with: its prior, rewards, inputs and constraints."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from designkit.alphabet import Alphabet
from designkit.errors import UsageError
from designkit.models.base import LengthLaw
from designkit.recipes._constraints import RunConstraints, template_length
from designkit.recipes._learned_value import network_of
from designkit.recipes._lineages import Inputs, read_inputs
from designkit.recipes._loaded import LoadedModels
from designkit.recipes._methods import check_condition
from designkit.recipes._refinement_run import RefinementRun
from designkit.recipes._temperature import is_measured, with_temperature
from designkit.recipes._until import Clock
from designkit.recipes.objective import load_rewards, make_engine, reference_of
from designkit.recipes.runtime import choose_precision
from designkit.registry.build import component, load_diffusion_model
from designkit.registry.rules import find_prior
from designkit.registry.store import Registry

if TYPE_CHECKING:
    import torch

    from designkit.algorithms.refinement.base import Brief, Refiner
    from designkit.io.journal import Journal
    from designkit.models.base import DiffusionModel
    from designkit.recipes.refine import RefineSettings
    from designkit.rewards import RewardEngine


class Job:
    """The parts of a refinement, made one after the other.

    Args:
        settings: of the run.
        refiner: as it was asked for.
        seed: of the run.

    Attributes:
        stored: the prior.
        constraints: of the designs.
        lengths: that designs may have.

    Raises:
        UsageError: a prior, a class, a length or constraints that do not fit.
    """

    def __init__(self, settings: RefineSettings, refiner: Refiner, seed: int):
        self.settings, self.refiner, self.seed = settings, refiner, seed
        self.stored = find_prior(settings.model)
        card = self.stored.card
        if "process" in card:
            refiner.check(component("designkit.processes", card["process"]))
        self._alphabet = Alphabet.from_dict(card["alphabet"])
        inner = refiner.inner()
        check_condition(
            settings.condition,
            self.stored,
            settings.method["name"] if inner.needs_condition else None,
        )
        self.constraints = RunConstraints(settings.constraints, self._alphabet)
        self.lengths = self._allowed_lengths()
        if refiner.changes_lengths:
            self._check_resizing()

    def _check_resizing(self) -> None:
        """Refuse insertions and deletions where designs have one length, or places of their own."""
        if len(self.lengths) < 2:
            raise UsageError(
                f"indels: {self.stored.name} writes sequences of {self.lengths[0]} letters alone; "
                "leave it out"
            )
        if self.constraints.keeps_places:
            raise UsageError(
                "indels would move the positions of --template, --fix, --design or --coding: "
                "leave one out"
            )

    def _allowed_lengths(self) -> list[int]:
        """Lengths that designs may have."""
        settings = self.settings
        lengths = [int(length) for length in self.stored.card.get("length_law", {})]
        if settings.input is not None and settings.length is not None:
            raise UsageError("--length: designs are as long as the sequences to start from")
        if settings.input is not None:
            return lengths
        wanted = template_length(settings.constraints, self._alphabet, settings.length)
        if wanted is not None and lengths and not min(lengths) <= wanted <= max(lengths):
            low, high = min(lengths), max(lengths)
            written = f"{low}" if low == high else f"{low} to {high}"
            raise UsageError(
                f"--length {wanted}: {self.stored.name} writes sequences of {written} letters"
            )
        lengths = lengths if wanted is None else [wanted]
        for length in lengths:
            self.constraints.free(length)
        return lengths

    @property
    def same(self) -> dict[str, Any]:
        """What must be the same in a run that goes on after this one."""
        card = self.stored.card
        settings = self.settings.model_dump(mode="json")
        return {
            "settings": {key: value for key, value in settings.items() if key != "until"},
            "refiner": self.refiner.model_dump(mode="json"),
            "model": {
                "ref": self.stored.ref,
                "sha256": self.stored.sha256,
                "parent": card["parent"],
            },
            "models": {ref: Registry().find(ref).sha256 for ref in self.refiner.references},
            "seed": self.seed,
        }

    def inputs(self, lines: list[dict[str, Any]]) -> Inputs:
        """The sequences to start from, or those that an earlier process has started from.

        Args:
            lines: of its journal.

        Raises:
            InputError: a record that cannot be used.
            UsageError: the input is not what it was.
        """
        settings = self.settings
        if lines:
            from designkit.io.provenance import sha256_file

            found = Inputs(**{key: _tupled(value) for key, value in lines[0]["inputs"].items()})
            source = settings.input
            if source is not None and Path(source).is_file():
                if sha256_file(source) != found.sha256:
                    raise UsageError(f"{source}: changed since the interrupted run was started")
            return found
        return read_inputs(
            settings.input,
            self._alphabet,
            self.constraints,
            (min(self.lengths), max(self.lengths)),
            input_format=settings.input_format,
            column=settings.column,
            convert_t_u=settings.convert_t_u,
            uppercase=settings.uppercase,
            on_invalid="fail" if settings.on_invalid == "fail" else "skip",
        )

    def model(self, device: torch.device) -> DiffusionModel:
        """The prior of the class and the length that were asked for."""
        settings = self.settings
        model = load_diffusion_model(
            self.stored, device, choose_precision(settings.precision, device)
        )
        if settings.condition is not None:
            model = model.conditioned(settings.condition)
        if settings.input is None and len(self.lengths) == 1:
            model = replace(model, length_law=LengthLaw({self.lengths[0]: 1}))
        return model

    def engine(self, model: DiffusionModel) -> RewardEngine:
        """The rewards as one.

        Raises:
            UsageError: rewards that compare designs with each other.
            RewardError: the method needs gradients, a reward has none.
        """
        settings, inner = self.settings, self.refiner.inner()
        reference = reference_of(
            settings, self._alphabet, model, steps=inner.steps, decoding=inner.decoding
        )
        rewards = load_rewards(settings.rewards, model.device)
        engine = make_engine(rewards, settings, self._alphabet, reference)
        assert engine is not None
        if engine.coupled:
            raise UsageError(
                f"{', '.join(engine.coupled_by)}: compares designs with each other, but each is "
                "scored once, with those of its round; use transform=quantile, or in place of "
                "aggregation=pareto --set selection=pareto"
            )
        if self.refiner.needs_gradient:
            engine.check_differentiable()
        return engine

    def fitted(self, model: DiffusionModel, engine: RewardEngine, models: LoadedModels) -> Refiner:
        """The refiner with numbers for its temperature and for that of its sampler."""
        share = self.settings.effective_share
        refiner = with_temperature(self.refiner, engine, share)
        inner = refiner.inner()
        network_of(inner, model, models)
        if is_measured(inner):
            heat = getattr(with_temperature(inner, engine, share), "temperature", None)
            named = refiner.sampler
            named = {"name": named} if isinstance(named, str) else named
            refiner = refiner.model_copy(update={"sampler": {**named, "temperature": heat}})
        return refiner

    def begin(
        self,
        model: DiffusionModel,
        engine: RewardEngine,
        models: LoadedModels,
        inputs: Inputs,
        journal: Journal | None,
    ) -> RefinementRun:
        """The run, before its first round or after the last one that its journal tells of."""
        from designkit.algorithms.refinement.base import Archive, Ledger

        self._check_evals(inputs)
        lines = [] if journal is None else journal.lines
        if lines:
            refiner = self.refiner.model_copy(update=lines[0]["fitted"])
        else:
            refiner = self.fitted(model, engine, models)
            fitted = refiner.model_dump(mode="json", include={"temperature", "sampler"})
            if journal is not None:
                journal.append({"inputs": asdict(inputs), "fitted": fitted})
        until = self.settings.until
        ledger = Ledger(engine, self._alphabet, until.evals)
        aligned = not refiner.changes_lengths
        archive = Archive(ledger, self._alphabet, inputs.roots, aligned=aligned)
        clock = Clock(until.time, lines[-1]["seconds"] if len(lines) > 1 else 0.0)
        run = RefinementRun(self.settings, refiner, model, archive, clock, journal)
        run.take_up(lines[1:])
        return run

    def _check_evals(self, inputs: Inputs) -> None:
        """Refuse a run that may not score what it starts from."""
        most = self.settings.until.evals
        count = len({root for root in inputs.roots if root is not None})
        if most is not None and most < count:
            raise UsageError(
                f"--until evals={most} is fewer than the {count} sequences to start from"
            )

    def title(self, run: RefinementRun, inputs: Inputs) -> str:
        """What a run is about to do, in a line or two."""
        count = sum(root is not None for root in inputs.roots)
        what = f"{count} sequence{'s' if count > 1 else ''}" if count else "draws"
        line = (
            f"refining {what} of {self.stored.ref} by {self.settings.method['name']} "
            f"({run.refiner.describe()}) until {self.settings.until.describe()}, "
            f"seed {self.seed}, {run.model.device} {run.model.precision}"
        )
        return "\n".join(filter(None, [line, self.describe(inputs)]))

    def brief(
        self,
        model: DiffusionModel,
        inputs: Inputs,
        models: LoadedModels,
        should_stop: Callable[[], bool],
    ) -> Brief:
        """What is asked of the designs."""
        from designkit.algorithms.refinement.base import Brief

        split, own = self._alphabet.split, self.constraints
        rooted = [root for root in inputs.roots if root is not None]
        root_of = {len(split(root)): root for root in rooted}
        common: dict[str, Any] = {
            "should_stop": should_stop,
            "load_model": models,
            "most_edits": self.settings.max_edits,
            "mix": self.settings.mix,
            "shortest": min(self.lengths),
            "longest": max(self.lengths),
            "batch_size": self.settings.batch_size,
        }
        if self.settings.constraints.is_empty:
            return Brief(**common)
        return Brief(
            **common,
            changeable=lambda length: own.changeable(length, root_of.get(length)),
            guard=lambda length: own.guard(length, model.device, root_of.get(length)),
            holds=lambda lineage, sequence: not own.violations(sequence, inputs.roots[lineage]),
        )

    def describe(self, inputs: Inputs) -> str:
        """What is asked of designs, for messages; empty where there is nothing."""
        root = inputs.roots[0]
        length = max(self.lengths) if root is None else len(self._alphabet.split(root))
        told = [self.constraints.describe(length, root)]
        if self.settings.max_edits is not None:
            told.append(f"at most {self.settings.max_edits} changes from each input")
        return "; ".join(filter(None, told))

    def plan(self, inputs: Inputs) -> dict[str, Any]:
        """What ``--dry-run`` prints: the resolved settings and the calls to be made at most."""
        settings, refiner, until = self.settings, self.refiner, self.settings.until
        self._check_evals(inputs)
        root, lineages = inputs.roots[0], len(inputs.roots)
        length = max(self.lengths) if root is None else len(self._alphabet.split(root))
        free = self.constraints.free(length, root)
        denoiser, rewards = refiner.calls_per_round(free, self._alphabet.size)
        fitted = any(one.transform and one.transform.needs_reference for one in settings.rewards)
        measured = is_measured(refiner) or is_measured(refiner.inner())
        most = None
        if until.rounds is not None:
            first = rewards * lineages
            if root is None:
                each = refiner.inner().calls_per_design(free, self._alphabet.size)[1] + 1
                first = max(first, each * max(refiner.members, refiner.children))
            most = rewards * lineages * until.rounds + first
        if until.evals is not None:
            most = until.evals if most is None else min(most, until.evals)
        return {
            "settings": {**settings.model_dump(mode="json"), "until": until.describe()},
            "refiner": refiner.model_dump(mode="json"),
            "seed": self.seed,
            "inputs": len([root for root in inputs.roots if root is not None]),
            "constraints": self.describe(inputs) or "none",
            "denoiser_rows_a_round_at_most": denoiser * lineages,
            "reward_rows_a_round_at_most": rewards * lineages,
            "reward_rows_at_most": "no limit" if most is None else most,
            "reference_designs": settings.reference_num if fitted or measured else 0,
        }


def _tupled(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value
