"""The reward contract: higher is better, NaN means "no score" and has a reason, zero is a value.

A reward is a class with ``info`` and ``score``, or a function under ``@reward``.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol, Self

from designkit.errors import ConfigurationError, RewardError
from designkit.settings import Layer, Settings, validate

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor

    from designkit.alphabet import Alphabet

API = 1
"""The version of this contract; it grows when a reward written for it would no longer work."""

RUN_KEYS = frozenset("weight role transform label output direction at_least at_most".split())
"""What a reference says of a reward's part in a run; rewards have no parameters of these names."""

Direction = Literal["maximize", "minimize"]
Cost = Literal["cheap", "expensive"]


@dataclass(frozen=True)
class Output:
    """One number that a reward gives for a sequence.

    Args:
        name: what it is called.
        unit: such as ``bits``; empty for a plain number.
        direction: what is better, more or less.
        range: the smallest and largest possible value, None where there are none.
    """

    name: str
    unit: str = ""
    direction: Direction = "maximize"
    range: tuple[float, float] | None = None

    def __post_init__(self) -> None:
        if self.direction not in ("maximize", "minimize"):
            raise RewardError(
                f"output {self.name!r}: direction is maximize or minimize, not {self.direction!r}"
            )
        if self.range is not None and not self.range[0] <= self.range[1]:
            raise RewardError(f"output {self.name!r}: a range goes from its lower to its upper end")

    @property
    def sign(self) -> int:
        """1 where more is better, -1 where less is."""
        return 1 if self.direction == "maximize" else -1


@dataclass(frozen=True)
class RewardInfo:
    """What a reward is, known without scoring anything.

    Args:
        name: of the column in tables.
        version: changes whenever the same sequence may get another value.
        alphabets: names of the alphabets it reads; empty means any.
        outputs: the first is the objective, the others are recorded beside it.
        differentiable: whether it has ``score_relaxed``.
        deterministic: whether a sequence always gets the same value.
        coupled: whether the value of a sequence depends on those it is scored with; such a reward
            sees the distinct sequences of a whole population.
        cost: ``cheap`` rewards are run before ``expensive`` ones.
        max_batch: most sequences of one call, None for any number.
        citation: where the definition comes from.
        api: version of the reward contract that it was written for.
        params: the parameters it was made with.
    """

    name: str
    version: str = "1"
    alphabets: tuple[str, ...] = ()
    outputs: tuple[Output, ...] = ()
    differentiable: bool = False
    deterministic: bool = True
    cost: Cost = "cheap"
    max_batch: int | None = None
    coupled: bool = False
    citation: str = ""
    api: int = API
    params: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.outputs:
            object.__setattr__(self, "outputs", (Output(self.name),))
        if len({output.name for output in self.outputs}) < len(self.outputs):
            raise RewardError(f"reward {self.name!r}: two outputs have one name")
        if self.cost not in ("cheap", "expensive"):
            raise RewardError(f"reward {self.name!r}: cost is cheap or expensive")
        if self.max_batch is not None and self.max_batch < 1:
            raise RewardError(f"reward {self.name!r}: max_batch must be at least 1")
        if self.coupled and self.max_batch is not None:
            raise RewardError(f"reward {self.name!r}: a population is scored whole, not in batches")


@dataclass
class Scores:
    """Values of N sequences, in their order.

    Args:
        values: (N, outputs) float64 in the units of ``RewardInfo.outputs``, NaN for "no score".
        errors: (N) why there is no score, None where there is one.
    """

    values: NDArray[np.float64]
    errors: list[str | None]


class StandIn(Protocol):
    """A cheap guess of a reward, made of what it has scored; sequences are (N, L) tokens."""

    def judge(self, tokens: NDArray[np.int64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Guesses (N,) of the first output, and where sequences fall short.

        That is told by weights (N, L), not below 0 and of sum 1.
        """
        ...

    def near(self, tokens: NDArray[np.int64], most: int) -> Self:
        """The same guess, or a cheaper one for sequences like these.

        Args:
            tokens: the sequences.
            most: things to compare each sequence with.
        """
        ...


class Reward(ABC):
    """Base of all rewards; subclasses set ``template`` or ``info`` and define ``score``.

    Args:
        parameters: values of ``settings_type``, checked by it.

    Attributes:
        template: the info without parameters: all that can be said before one is made.
        settings_type: the parameters it takes. Files among them are to be of the type ``Path``:
            what they hold is part of the reward's identity.
        speed_parameters: parameters that change how fast it scores, and never the values.
        needs_models: the constructor also takes ``load_model``, which gives the prior or predictor
            that a reference names.
        attribute: what it is called where it comes from; two rewards of one file differ in it.
        info: the template with the parameters, unless the constructor replaces it.

    Raises:
        ConfigurationError: an unknown parameter, a missing one, or a value out of range.
    """

    template: ClassVar[RewardInfo | None] = None
    settings_type: ClassVar[type[Settings]] = Settings
    speed_parameters: ClassVar[frozenset[str]] = frozenset()
    needs_models: ClassVar[bool] = False
    attribute: str = ""
    info: RewardInfo
    settings: Settings

    def __init__(self, **parameters: Any):
        self.settings = _check_parameters(type(self), parameters)
        if self.template is not None:
            made_with = self.settings.model_dump(mode="json", exclude_none=True)
            self.info = replace(self.template, params=made_with)

    @property
    def own_alphabet(self) -> Alphabet | None:
        """The alphabet it reads where ``info.alphabets`` cannot tell: one that has no file."""
        return None

    def bind(self, alphabet: Alphabet) -> None:
        """Hear which letters will come, before the first call.

        Raises:
            RewardError: the reward does not read this alphabet.
        """
        if self.info.alphabets and alphabet.name not in self.info.alphabets:
            raise RewardError(
                f"reward {self.info.name!r} scores {' or '.join(self.info.alphabets)} sequences, "
                f"not {alphabet.name}{explain_t_u(self.info.alphabets, alphabet)}"
            )

    @abstractmethod
    def score(self, sequences: list[str]) -> Scores:
        """Values of N sequences, in their order; may raise for a batch that holds a bad item."""

    def close(self) -> None:
        """Give back processes and files; called once, after the last call."""
        return

    def stand_in(self, scored: Sequence[str]) -> StandIn | None:
        """A cheap guess of this reward, None where there is none.

        Args:
            scored: sequences that it has scored, in their order; nothing else may matter.
        """
        return None

    def score_relaxed(self, probs: Tensor, valid: Tensor | None = None) -> Tensor:
        """The first output of relaxed sequences; equals ``score`` on one-hots; autograd.

        Args:
            probs: (B, L, K) letter probabilities.
            valid: (B, L) True at positions that exist, None where all do.

        Returns:
            (B,) in the unit and direction of the first output.

        Raises:
            RewardError: the reward is not differentiable.
        """
        raise RewardError(f"reward {self.info.name!r} is not differentiable")

    def slopes(self, probs: Tensor) -> Tensor:
        """Derivatives of ``score_relaxed``, (N, L, K), at letter probabilities (N, L, K)."""
        import torch

        with torch.enable_grad():
            probs = probs.detach().requires_grad_()
            (found,) = torch.autograd.grad(self.score_relaxed(probs).sum(), probs)
        return found

    def score_with_slopes(self, sequences: list[str], probs: Tensor) -> tuple[Scores, Tensor]:
        """``score`` of N sequences of one length, and ``slopes`` at their one-hots.

        Rewards that find both in one pass of a network do so in a method of their own.
        """
        return self.score(sequences), self.slopes(probs)


def explain_t_u(known: Iterable[str], alphabet: Alphabet) -> str:
    """The end of a message about a wrong alphabet, where only T and U differ."""
    if alphabet.name in ("dna", "rna") and {*known, alphabet.name} >= {"dna", "rna"}:
        return "; DNA is written with T and RNA with U: convert one to the other first"
    return ""


def _check_parameters(reward_class: type[Reward], parameters: Mapping[str, Any]) -> Settings:
    template = reward_class.template
    name = template.name if template is not None else reward_class.__name__.lower()
    schema = reward_class.settings_type
    missing = [
        key
        for key, field_info in schema.model_fields.items()
        if field_info.is_required() and key not in parameters
    ]
    if missing:
        example = "&".join(f"{key}=..." for key in missing)
        raise ConfigurationError([f"reward {name} needs {' and '.join(missing)}: {name}?{example}"])
    return validate(schema, Layer(f"reward {name}", dict(parameters)))
