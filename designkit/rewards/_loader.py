"""Rewards from references such as ``gc?low=0.4&high=0.6``, ``model:mrl#te``, ``./mine.py:f``."""

from __future__ import annotations

import contextlib
import re
import sys
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import quote, unquote

from designkit import plugins
from designkit.errors import DesignkitError, RewardError
from designkit.rewards.base import API, RUN_KEYS, Reward, RewardInfo

GROUP = "designkit.rewards"
_TRAILING_QUERY = re.compile(r"""\?((?:\w+=[^&?\s'"]*)(?:&\w+=[^&?\s'"]*)*)$""")


# How a prefix is written out: the reward, and the parameter that takes what follows.
PREFIXES = {
    "model": ("predictor", "model"),
    "exec": ("exec", "command"),
    "exec1": ("exec1", "command"),
}

ModelLoader = Callable[[str], Any]


def load_reward(ref: str, *, load_model: ModelLoader | None = None) -> Reward:
    """The reward that a reference names, made with its parameters.

    Forms, tried in this order: ``model:NAME[#output]``, ``exec:COMMAND``, ``exec1:COMMAND``;
    ``file.py:attr`` and ``pkg.module:attr``; ``name[@version]``. Each may end in
    ``?key=value&key=value``; ``%26`` stands for a ``&`` in a value, ``%25`` for a ``%``. In a
    command only a last ``?`` that is followed by nothing but parameters begins them, and not one
    in quotes; a blank in a value is ``%20`` there.

    Args:
        ref: the reference.
        load_model: gives the prior or predictor of a model's reference; rewards with
            ``needs_models`` need it.

    Raises:
        RewardError: an unknown name or version, code that cannot be loaded or is not a reward, or
            was written for another version of the contract.
        ConfigurationError: parameters that the reward does not take.
        ModelError: a reference to no model.
    """
    source, parameters = split_reference(ref)
    told = sorted(RUN_KEYS & parameters.keys())
    if told:
        raise RewardError(
            f"reward {ref!r}: {told[0]} says what part a reward plays in a run; leave it out here"
        )
    if source.endswith(".py") and source.partition(":")[0] not in PREFIXES:
        raise RewardError(f"reward {ref!r}: name the function or class in it: {source}:NAME")
    # What a file prints while it is loaded must not get into designs on standard output.
    with contextlib.redirect_stdout(sys.stderr):
        return _load(ref, source, parameters, load_model)


def _load(
    ref: str, source: str, parameters: dict[str, str], load_model: ModelLoader | None
) -> Reward:
    prefix, separator, rest = source.partition(":")
    if separator and prefix in PREFIXES:
        name, parameter = PREFIXES[prefix]
        if prefix == "model":
            rest, hash_, target = rest.partition("#")
            if not rest or (hash_ and not target):
                raise RewardError(f"reward {ref!r}: write model:NAME or model:NAME#output")
            parameters |= {"target": target} if hash_ else {}
        return _make(plugins.find(GROUP, name), source, parameters | {parameter: rest}, load_model)
    if ":" in source:
        return _make(plugins.load_object(source, "reward"), source, parameters, load_model)
    name, separator, version = source.partition("@")
    made = _make(plugins.find(GROUP, name), name, parameters, load_model)
    if separator and made.info.version != version:
        raise RewardError(
            f"reward {name!r} is version {made.info.version} here, not {version or 'empty'}"
        )
    return made


def split_reference(ref: str) -> tuple[str, dict[str, str]]:
    """What a reference names, and the parameters after its ``?``.

    Raises:
        RewardError: parameters that are not written ``key=value&key=value``, or no name.
    """
    if ref.startswith(("exec:", "exec1:")):
        found = _TRAILING_QUERY.search(ref)
        source, separator, query = (ref[: found.start()], "?", found[1]) if found else (ref, "", "")
    else:
        source, separator, query = ref.partition("?")
    parameters = _parse_query(ref, query) if separator else {}
    if not source:
        raise RewardError(f"reward {ref!r}: the name is missing")
    return source, parameters


def written_reference(source: str, parameters: Mapping[str, str]) -> str:
    """The reference that ``split_reference`` takes apart into these."""
    pairs = [f"{_escaped(key)}={_escaped(value)}" for key, value in parameters.items()]
    return f"{source}?{'&'.join(pairs)}" if pairs else source


def _escaped(text: str) -> str:
    return re.sub(r"""[%&?'"\s]""", lambda found: quote(found[0]), text)


def _make(
    found: Any, source: str, parameters: dict[str, str], load_model: ModelLoader | None
) -> Reward:
    if not (isinstance(found, type) and issubclass(found, Reward)):
        raise RewardError(
            f"{source!r} is not a reward: decorate the function with @reward, or derive the class "
            "from Reward (both in designkit.rewards)"
        )
    clash = sorted(RUN_KEYS & set(found.settings_type.model_fields))
    if clash:
        raise RewardError(
            f"reward {source!r} has a parameter {clash[0]!r}, which says what part a reward plays; "
            "give the parameter another name"
        )
    further: dict[str, Any] = {}
    if found.needs_models:
        if load_model is None:
            raise RewardError(f"reward {source!r}: there is no model registry here")
        further["load_model"] = load_model
    try:
        made = found(**parameters, **further)
    except DesignkitError:
        raise
    except Exception as problem:
        reason = " ".join(f"{type(problem).__name__}: {problem}".split())
        raise RewardError(f"reward {source!r} cannot be made: {reason}") from problem
    made.attribute = source.rpartition(":")[2]
    if not isinstance(getattr(made, "info", None), RewardInfo):
        raise RewardError(f"reward {source!r} has no info")
    if made.info.api != API:
        raise RewardError(
            f"reward {source!r} was written for version {made.info.api} of the reward contract, "
            f"this designkit has version {API}; install the one that it was written for"
        )
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
