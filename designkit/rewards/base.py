"""The reward contract: higher is better, NaN means "no score" and has a reason, zero is a value.

A reward is a class with ``info`` and ``score``, or a function under ``@reward``.
"""

from __future__ import annotations

import contextlib
import math
import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from designkit.errors import ConfigurationError, DesignkitError, RewardError
from designkit.settings import Layer, Settings, validate

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor

    from designkit.alphabet import Alphabet

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
        deterministic: whether a sequence always gets the same value, whatever it is scored with.
        cost: ``cheap`` rewards are run before ``expensive`` ones.
        max_batch: most sequences of one call, None for any number.
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


@dataclass
class Scores:
    """Values of N sequences, in their order.

    Args:
        values: (N, outputs) float64 in the units of ``RewardInfo.outputs``, NaN for "no score".
        errors: (N) why there is no score, None where there is one.
    """

    values: NDArray[np.float64]
    errors: list[str | None]


class Reward(ABC):
    """Base of all rewards; subclasses set ``info`` and define ``score``.

    Args:
        parameters: values of ``settings_type``, checked by it.

    Attributes:
        name: in messages about parameters; the class's in lower case by default.
        settings_type: the parameters it takes.

    Raises:
        ConfigurationError: an unknown parameter, a missing one, or a value out of range.
    """

    name: ClassVar[str] = ""
    settings_type: ClassVar[type[Settings]] = Settings
    info: RewardInfo
    settings: Settings

    def __init__(self, **parameters: Any):
        self.settings = _check_parameters(type(self), parameters)

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


def score_batches(
    score: Callable[[list[str]], Scores], info: RewardInfo, sequences: Sequence[str]
) -> Scores:
    """Score in batches of ``max_batch``, check every answer, and find the items of failing batches.

    A batch that raises is halved until the failing items are alone; each gets NaN and the message.
    Infinite values are failures too.

    Args:
        score: gives the scores of one batch.
        info: of the reward.
        sequences: N sequences.

    Returns:
        The N scores; every NaN in the first output has a reason.

    Raises:
        RewardError: the reward broke its contract (another number of values, of outputs), or
            raised this itself; nothing of that call can be trusted.
    """
    import numpy as np

    size = info.max_batch or max(1, len(sequences))
    parts = [
        _score_or_split(score, info, list(sequences[start : start + size]))
        for start in range(0, len(sequences), size)
    ]
    if not parts:
        return Scores(np.zeros((0, len(info.outputs))), [])
    errors = [error for part in parts for error in part.errors]
    return Scores(np.concatenate([part.values for part in parts]), errors)


def explain_t_u(known: Iterable[str], alphabet: Alphabet) -> str:
    """The end of a message about a wrong alphabet, where only T and U differ."""
    if alphabet.name in ("dna", "rna") and {*known, alphabet.name} >= {"dna", "rna"}:
        return "; DNA is written with T and RNA with U: convert one to the other first"
    return ""


def _score_or_split(
    score: Callable[[list[str]], Scores], info: RewardInfo, batch: list[str]
) -> Scores:
    import numpy as np

    try:
        # What a reward prints must not get into designs that go to standard output.
        with contextlib.redirect_stdout(sys.stderr):
            scores = score(list(batch))
        return _checked(scores, info, len(batch))
    except DesignkitError:
        raise
    except (Exception, SystemExit) as problem:
        if len(batch) == 1:
            reason = " ".join(f"{type(problem).__name__}: {problem}".split())
            return Scores(np.full((1, len(info.outputs)), np.nan), [reason])
    middle = len(batch) // 2
    first = _score_or_split(score, info, batch[:middle])
    second = _score_or_split(score, info, batch[middle:])
    return Scores(np.concatenate([first.values, second.values]), first.errors + second.errors)


def _checked(scores: Scores, info: RewardInfo, count: int) -> Scores:
    import numpy as np

    if not isinstance(scores, Scores):
        raise RewardError(
            f"reward {info.name!r} returned {type(scores).__name__}, not designkit.rewards.Scores"
        )
    values = np.array(scores.values, dtype=np.float64)
    errors = list(scores.errors)
    if len(values) != count or len(errors) != count:
        found = len(values) if len(values) != count else len(errors)
        raise RewardError(f"reward {info.name!r} returned {found} values for {count} sequences")
    if values.shape != (count, len(info.outputs)):
        raise RewardError(
            f"reward {info.name!r} returned values of shape {values.shape}; "
            f"{count} sequences with {len(info.outputs)} outputs need "
            f"{(count, len(info.outputs))}"
        )
    values[[row for row, error in enumerate(errors) if error is not None]] = np.nan
    for row in np.flatnonzero(~np.isfinite(values[:, 0])):
        if not math.isnan(values[row, 0]):
            errors[row] = errors[row] or f"the reward returned {values[row, 0]}"
        errors[row] = errors[row] or "the reward gave no score"
    values[~np.isfinite(values)] = np.nan
    return Scores(values, errors)


def _check_parameters(reward_class: type[Reward], parameters: Mapping[str, Any]) -> Settings:
    name = reward_class.name or reward_class.__name__.lower()
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
