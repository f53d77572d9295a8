"""Functions as rewards.

The shortest plugin is one function::

    from designkit.rewards import reward

    @reward(alphabet="dna", unit="fraction", range=(0, 1))
    def gc(sequences: list[str]) -> list[float]:
        return [(s.count("G") + s.count("C")) / len(s) for s in sequences]

What a function takes after the sequences are the reward's parameters: ``gc?low=0.4``.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, cast, get_type_hints, overload

from pydantic import create_model

from designkit.errors import RewardError
from designkit.rewards.base import (
    API,
    Cost,
    Direction,
    Output,
    Reward,
    RewardInfo,
    Scores,
)
from designkit.settings import Settings

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Function = Callable[..., Any]


class FunctionReward(Reward):
    """A reward made by ``@reward``; ``function`` is what was decorated."""

    function: ClassVar[Function]

    def __init__(self, **parameters: Any):
        super().__init__(**parameters)
        names = type(self.settings).model_fields
        self._arguments = {name: getattr(self.settings, name) for name in names}

    def score(self, sequences: list[str]) -> Scores:
        """(N, outputs): what the function returns for N sequences."""
        import numpy as np

        if not sequences:  # which functions need not think of
            return Scores(np.zeros((0, len(self.info.outputs))), [])
        result = type(self).function(list(sequences), **self._arguments)
        outputs = [output.name for output in self.info.outputs]
        if isinstance(result, Mapping):
            if set(result) != set(outputs):
                raise RewardError(
                    f"reward {self.info.name!r} returned {sorted(map(str, result))}, "
                    f"declared are the outputs {sorted(outputs)}"
                )
            columns = [_as_floats(self.info.name, result[name]) for name in outputs]
            if len({column.shape for column in columns}) > 1:
                raise RewardError(
                    f"reward {self.info.name!r} returned outputs of different lengths: "
                    f"{[len(column) for column in columns]}"
                )
            values = np.stack(columns, axis=1)
        else:
            values = _as_floats(self.info.name, result)
        values = values[:, None] if values.ndim == 1 else values
        return Scores(values, [None] * len(values))


@overload
def reward(function: Function, /) -> type[FunctionReward]: ...
@overload
def reward(
    *,
    name: str = "",
    version: str = "1",
    alphabet: str | Sequence[str] = (),
    unit: str = "",
    direction: Direction = "maximize",
    range: tuple[float, float] | None = None,
    outputs: Sequence[Output] = (),
    deterministic: bool = True,
    cost: Cost = "cheap",
    max_batch: int | None = None,
    coupled: bool = False,
    citation: str = "",
    api: int = API,
) -> Callable[[Function], type[FunctionReward]]: ...
def reward(
    function: Function | None = None,
    /,
    *,
    name: str = "",
    version: str = "1",
    alphabet: str | Sequence[str] = (),
    unit: str = "",
    direction: Direction = "maximize",
    range: tuple[float, float] | None = None,
    outputs: Sequence[Output] = (),
    deterministic: bool = True,
    cost: Cost = "cheap",
    max_batch: int | None = None,
    coupled: bool = False,
    citation: str = "",
    api: int = API,
) -> type[FunctionReward] | Callable[[Function], type[FunctionReward]]:
    """Make a reward of a function from N sequences to N values.

    The function returns a list or array (N,), an array (N, outputs), or a mapping from output name
    to N values; NaN or None means "no score". It may raise: then the batch is split to find the
    sequences that fail, and these get NaN and the message. Its further parameters, with their type
    annotations and defaults, are the reward's parameters.

    Args:
        function: the function, where the decorator is used without parentheses.
        name: of the reward; the function's by default.
        version: see ``RewardInfo``, as for the following.
        alphabet: name or names of the alphabets it reads; any by default.
        unit: of the only output.
        direction: of the only output.
        range: of the only output.
        outputs: several outputs, instead of unit, direction and range.
        deterministic: False for values with noise.
        cost: ``cheap`` or ``expensive``.
        max_batch: most sequences of one call.
        coupled: see ``RewardInfo``.
        citation: where the definition comes from.
        api: version of the reward contract that the function was written for.

    Returns:
        A subclass of ``Reward``; ``gc()`` or ``gc(low=0.4)`` makes one to score with.

    Raises:
        RewardError: the function's signature is no reward's.
    """
    if function is not None and not callable(function):
        raise RewardError(f"@reward({function!r}): name the argument, as in alphabet={function!r}")

    def decorate(function: Function) -> type[FunctionReward]:
        label = name or function.__name__
        alphabets = (alphabet,) if isinstance(alphabet, str) else tuple(alphabet)
        single = Output(label, unit=unit, direction=direction, range=range)
        info = RewardInfo(
            name=label,
            version=version,
            alphabets=alphabets,
            outputs=tuple(outputs) or (single,),
            deterministic=deterministic,
            cost=cost,
            max_batch=max_batch,
            coupled=coupled,
            citation=citation,
            api=api,
        )
        made = type(
            function.__name__,
            (FunctionReward,),
            {
                "__doc__": function.__doc__,
                "__module__": function.__module__,
                "function": staticmethod(function),
                "template": info,
                "settings_type": _settings_of(function, label),
            },
        )
        return cast(type[FunctionReward], made)

    return decorate if function is None else decorate(function)


def _as_floats(name: str, result: Any) -> NDArray[np.float64]:
    import numpy as np

    if result is None:
        raise RewardError(f"reward {name!r} returned nothing; return a value for each sequence")
    try:
        array = np.asarray(result, dtype=np.float64)
    except (TypeError, ValueError) as problem:
        raise RewardError(f"reward {name!r} returned something that is not numbers") from problem
    if array.ndim not in (1, 2):
        raise RewardError(f"reward {name!r} returned {array.ndim} dimensions, not one or two")
    return array


def _settings_of(function: Function, name: str) -> type[Settings]:
    """The parameters after the first as a settings class."""
    parameters = list(inspect.signature(function).parameters.values())
    if not parameters or parameters[0].kind is inspect.Parameter.KEYWORD_ONLY:
        raise RewardError(f"reward {name!r}: the function must take the list of sequences first")
    try:
        hints = get_type_hints(function, include_extras=True)
    except NameError as problem:
        raise RewardError(f"reward {name!r}: annotation not known: {problem}") from problem
    fields: dict[str, Any] = {}
    for parameter in parameters[1:]:
        if parameter.kind not in (
            inspect.Parameter.KEYWORD_ONLY,
            inspect.Parameter.POSITIONAL_OR_KEYWORD,
        ):
            raise RewardError(f"reward {name!r}: parameters are named one by one, not {parameter}")
        if parameter.name.startswith("_") or hasattr(Settings, parameter.name):
            raise RewardError(f"reward {name!r}: a parameter cannot be called {parameter.name!r}")
        default = ... if parameter.default is inspect.Parameter.empty else parameter.default
        fields[parameter.name] = (hints.get(parameter.name, Any), default)
    return create_model(f"{function.__name__}_settings", __base__=Settings, **fields)
