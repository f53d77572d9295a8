"""Rewards from references such as ``gc?low=0.4&high=0.6``, ``model:mrl#te``, ``./mine.py:f``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from urllib.parse import unquote

from designkit import plugins
from designkit.errors import DesignkitError, RewardError
from designkit.rewards.base import Reward, RewardInfo

GROUP = "designkit.rewards"


def load_reward(ref: str, *, load_model: Callable[[str], Any] | None = None) -> Reward:
    """The reward that a reference names, made with its parameters.

    Forms, tried in this order: ``model:NAME[#output]``; ``file.py:attr`` and ``pkg.module:attr``;
    ``name[@version]``. Each may end in ``?key=value&key=value``; ``%26`` stands for a ``&`` in a
    value, ``%25`` for a ``%``.

    Args:
        ref: the reference.
        load_model: gives the predictor of a model reference; ``model:`` needs it.

    Raises:
        RewardError: an unknown name or version, code that cannot be loaded or is not a reward.
        ConfigurationError: parameters that the reward does not take.
        ModelError: a ``model:`` reference to no model.
    """
    source, separator, query = ref.partition("?")
    parameters = _parse_query(ref, query) if separator else {}
    if not source:
        raise RewardError(f"reward {ref!r}: the name is missing")
    prefix, _, rest = source.partition(":")
    if prefix == "model":
        return _load_model_reward(rest, parameters, load_model)
    if ":" in source:
        return _make(plugins.load_object(source, "reward"), source, parameters)
    name, separator, version = source.partition("@")
    made = _make(plugins.find(GROUP, name), name, parameters)
    if separator and made.info.version != version:
        raise RewardError(
            f"reward {name!r} is version {made.info.version} here, not {version or 'empty'}"
        )
    return made


def _load_model_reward(
    source: str, parameters: dict[str, str], load_model: Callable[[str], Any] | None
) -> Reward:
    from designkit.rewards.model import Model

    name, separator, output = source.partition("#")
    if not name or (separator and not output):
        raise RewardError(f"reward 'model:{source}': write model:NAME or model:NAME#output")
    if parameters:
        raise RewardError(f"reward 'model:{source}' takes no parameters; choose an output with #")
    if load_model is None:
        raise RewardError(f"reward 'model:{source}': there is no model registry here")
    return Model(load_model(name), name=name, output=output or None)


def _make(found: Any, source: str, parameters: dict[str, str]) -> Reward:
    if not (isinstance(found, type) and issubclass(found, Reward)):
        raise RewardError(
            f"{source!r} is not a reward: decorate the function with @reward, or derive the class "
            "from Reward (both in designkit.rewards)"
        )
    if found.__module__ == "designkit.rewards.model":
        raise RewardError("a model as reward is written model:NAME or model:NAME#output")
    try:
        made = found(**parameters)
    except DesignkitError:
        raise
    except Exception as problem:
        reason = " ".join(f"{type(problem).__name__}: {problem}".split())
        raise RewardError(f"reward {source!r} cannot be made: {reason}") from problem
    if not isinstance(getattr(made, "info", None), RewardInfo):
        raise RewardError(f"reward {source!r} has no info")
    return made


def _parse_query(ref: str, query: str) -> dict[str, str]:
    parameters: dict[str, str] = {}
    for part in query.split("&"):
        key, separator, value = part.partition("=")
        if not key or not separator:
            raise RewardError(f"reward {ref!r}: parameters are written ?key=value&key=value")
        if key in parameters:
            raise RewardError(f"reward {ref!r}: parameter {key!r} is given twice")
        parameters[unquote(key)] = unquote(value)
    return parameters
