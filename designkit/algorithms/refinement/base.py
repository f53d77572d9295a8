"""The contract of a refiner: better sequences in rounds of choosing, re-noising and decoding.

A round is a pure function of the settings, the model, the archive and the population that the
round before left, and of noise that depends on the seed, the round and the place of a child alone.
A run that goes on from any round is therefore, bit for bit, the run that was never stopped.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import AfterValidator, Field

from designkit import plugins
from designkit.algorithms.refinement._archive import Archive, Population
from designkit.algorithms.refinement._ledger import Judge, Ledger, Spent
from designkit.algorithms.sampling.base import Sampler
from designkit.errors import DesignkitError, UsageError
from designkit.settings import Layer, Settings, validate

if TYPE_CHECKING:
    from torch import Tensor

    from designkit.algorithms.sampling._constrained_draw import Guard
    from designkit.algorithms.values.base import LoadModel
    from designkit.diffusion.base import DiffusionProcess
    from designkit.models.base import DiffusionModel
    from designkit.randomness import Noise

__all__ = ["Archive", "Brief", "Judge", "Ledger", "Population", "Refiner", "SamplerName", "Spent"]


def inner_sampler(value: str | Mapping[str, Any]) -> Sampler:
    """The sampler of a name, or of a mapping with its ``name`` and settings.

    Raises:
        UsageError: there is none of that name, or its designs depend on each other.
        ConfigurationError: settings that it does not have.
    """
    fields = {"name": value} if isinstance(value, str) else dict(value)
    name = str(fields.pop("name", "ancestral"))
    plugin = plugins.find("designkit.samplers", name)
    found: Sampler = validate(plugin, Layer("sampler", fields), "sampler")
    if found.population > 1:
        raise UsageError(
            f"sampler {name}: its designs depend on each other; children are decoded one by one: "
            "choose ancestral, svdd, best_of_n, ..."
        )
    return found


def _checked(value: Any) -> Any:
    if isinstance(value, str | dict):
        try:
            inner_sampler(value)
        except DesignkitError as problem:
            raise ValueError(str(problem)) from problem
    return value


SamplerName = Annotated[str | dict[str, Any], AfterValidator(_checked)]
"""A setting that names a sampler, alone or with its settings."""


def _no_models(reference: str) -> Any:
    raise UsageError(f"{reference}: there is no registry to load it from")


@dataclass(frozen=True)
class Brief:
    """What is asked of the designs of a run.

    Attributes:
        should_stop: asked before every step of decoding; True gives the round up with
            ``Interrupted``.
        load_model: from a reference of the registry to the model.
        changeable: from a length to the positions (L,) bool that may change; None for all.
        guard: from a length to what samplers keep to; None for nothing.
        holds: whether a finished sequence of a lineage satisfies all constraints.
        most_edits: most changes from the first sequence of a lineage; None for any number.
        shortest, longest: lengths that the model writes.
        mix: whether designs of different lineages may be crossed.
        batch_size: children that are decoded together; changes speed and memory alone.
    """

    should_stop: Callable[[], bool] = lambda: False
    load_model: LoadModel = _no_models
    changeable: Callable[[int], Tensor | None] = lambda length: None
    guard: Callable[[int], Guard | None] = lambda length: None
    holds: Callable[[int, str], bool] = lambda lineage, sequence: True
    most_edits: int | None = None
    shortest: int = 1
    longest: int = 2**31
    mix: bool = False
    batch_size: int = 256


class Refiner(Settings):
    """Base of the refiners.

    Attributes:
        population: designs of each lineage that go on from a round.
        sampler: what decodes the masked positions of children: the name of a sampler whose designs
            are independent, or its ``name`` and settings.
    """

    population: int = Field(default=16, ge=1)
    sampler: SamplerName = "ancestral"

    @property
    def members(self) -> int:
        """Designs of each lineage that go on from a round, at most."""
        return self.population

    @property
    def children(self) -> int:
        """Children of each lineage in a round, at most."""
        return self.members

    def inner(self) -> Sampler:
        """The sampler of children, at the refiner's temperature where it has none of its own."""
        found = inner_sampler(self.sampler)
        heat = getattr(self, "temperature", None)
        if isinstance(heat, float | int) and "temperature" in type(found).model_fields:
            if "temperature" not in found.model_fields_set:
                found = found.model_copy(update={"temperature": heat})
        return found

    @property
    def needs_gradient(self) -> bool:
        """Whether the method cannot run with a reward that is not differentiable."""
        return self.inner().needs_gradient

    @property
    def references(self) -> tuple[str, ...]:
        """The models of the registry that the method asks for, besides the prior."""
        return self.inner().references

    @property
    def changes_lengths(self) -> bool:
        """Whether children may be longer or shorter than their parents."""
        return False

    @property
    def by_fronts(self) -> bool:
        """Whether several rewards are several objectives, none of which makes up for another."""
        return getattr(self, "selection", "best") == "pareto"

    @property
    def follows_law(self) -> bool:
        """Whether members are draws of a law, and not the best that were found."""
        return False

    @property
    def heats(self) -> tuple[float, ...]:
        """Temperatures of the laws that the members of a lineage follow, in their order."""
        return ()

    def check(self, process: DiffusionProcess) -> None:
        """Refuse a prior that the method cannot work with.

        Raises:
            UsageError: in one line.
        """
        if "blocks" not in process.decodings:
            raise UsageError(
                f"refine keeps some letters of a sequence and draws the others anew; with "
                f"{type(process).__name__.lower()} noise the prior cannot tell them apart: use a "
                "prior of masked noise"
            )

    def describe(self) -> str:
        """The settings that matter most, and those that are not as usual, for messages."""
        usual = {name: field.default for name, field in type(self).model_fields.items()}
        for name in ("population", "sampler", "temperature"):
            usual.pop(name, None)
        told = {n: value for n, value in self.model_dump().items() if usual.get(n, ...) != value}
        return ", ".join(f"{name} {value}" for name, value in told.items())

    def first(
        self, model: DiffusionModel, archive: Archive, brief: Brief, noise: Noise
    ) -> Population:
        """The population that round 1 begins with.

        It is the roots of the archive, or for a lineage without one as many draws as a round has
        children, of which the best stay. Draws of ``ancestral`` are the designs of ``sample`` with
        the same seed.

        Args:
            model: the prior.
            archive: empty.
            brief: what is asked for.
            noise: of the seed; its rows do not matter.

        Raises:
            Spent: the archive may not score the roots, or what a guided sampler asks for; of other
                draws as many are scored as it may.
            UsageError: no draw satisfies the constraints.
        """
        import torch

        from designkit.algorithms.refinement._drafts import Decoder, blank

        rooted = [lineage for lineage, root in enumerate(archive.roots) if root is not None]
        archive.add([str(archive.roots[lineage]) for lineage in rooted], rooted, 0)
        for lineage in sorted({*range(archive.lineages)} - {*rooted}):
            slots = torch.arange(max(self.members, self.children))
            drafts = blank(model, slots, torch.full_like(slots, lineage), noise)
            drawn = Decoder(model, self.inner(), archive.ledger, brief).written(drafts, noise)
            kept = [sequence for sequence in drawn if brief.holds(lineage, sequence)]
            may = archive.ledger.affordable(kept)
            kept = [sequence for sequence, allowed in zip(kept, may, strict=True) if allowed]
            archive.add(kept, [lineage] * len(kept), 0)
        best = [archive.best(lineage, self.members) for lineage in range(archive.lineages)]
        if not all(best):
            raise UsageError("none of the prior's draws satisfies the constraints: loosen them")
        return archive.population([number for own in best for number in own], 0)

    @abstractmethod
    def rounds(
        self,
        model: DiffusionModel,
        archive: Archive,
        population: Population,
        brief: Brief,
        noise: Noise,
    ) -> Iterator[Population]:
        """The populations of the rounds after one, without end.

        Args:
            model: the prior.
            archive: of the run; every sequence that is scored goes into it.
            population: what the round before left.
            brief: what is asked for.
            noise: of the seed; its rows do not matter.

        Raises:
            Interrupted: the brief said so; the archive may hold a part of the round then.
            Spent: the next round may not score as many as it needs.
        """

    @abstractmethod
    def calls_per_round(self, length: int, letters: int) -> tuple[int, int]:
        """Most denoiser rows and reward rows of a round of one lineage of L positions."""
