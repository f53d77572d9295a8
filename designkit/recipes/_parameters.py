"""Named parameters that a preset, or another configuration file, declares for itself.

    parameters:
      target: {about: structure to fold into, kind: structure}
      share: {about: share of GC pairs, kind: number, default: 0.7}
    model: "base_pairs?structure=${target}&gc=${share}"

``--set target='((...))'`` gives a value, which takes the place of ``${target}`` wherever the files
say so. One without a default has to be given.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from pydantic import Field

from designkit.dot_bracket import base_pairs
from designkit.errors import ConfigurationError, did_you_mean
from designkit.settings import KeyPath, Layer, Settings, validate

KEY = "parameters"
_WORDS = {"text": "text", "number": "a number", "structure": "a dot-bracket structure"}
_NAMED = re.compile(r"\$\{([^}]*)\}")


class Parameter(Settings):
    """A parameter of a preset.

    Attributes:
        about: what it is, in a few words.
        kind: ``text``; ``number``; ``structure``: of RNA, dot-bracket.
        default: its value where none is given.
    """

    about: str = Field(min_length=1)
    kind: Literal["text", "number", "structure"] = "text"
    default: str | int | float | None = None

    def checked(self, value: Any) -> str | int | float:
        """A value that was given.

        Raises:
            ValueError: it is not of the kind.
        """
        known: type | tuple[type, ...] = (
            (int, float) if self.kind == "number" else (str, int, float)
        )
        if isinstance(value, bool) or not isinstance(value, known):
            raise ValueError(f"must be {_WORDS[self.kind]}, not {value!r}")
        if self.kind == "structure":
            value = str(value).strip()
            base_pairs(value)
        checked: str | int | float = value
        return checked


def declared_by(layer: Layer) -> dict[str, Parameter]:
    """The parameters that a configuration file declares.

    Raises:
        ConfigurationError: declarations that are not ones; all of them.
    """
    listed = layer.data.get(KEY, {})
    if not isinstance(listed, Mapping):
        raise ConfigurationError([f"{layer.origin((KEY,))}: must hold names, each with 'about'"])
    found, problems = {}, list[str]()
    for name in listed:
        try:
            found[name] = validate(Parameter, layer.at(KEY, name), f"{KEY}.{name}")
        except ConfigurationError as error:
            problems += error.problems
    if problems:
        raise ConfigurationError(problems)
    return found


def filled_in(layers: Sequence[Layer]) -> list[Layer]:
    """Layers without their declarations, the parameters' values in place.

    Args:
        layers: in order of rank, the strongest last. Any of them may declare parameters, or give
            values to those that are declared.

    Raises:
        ConfigurationError: values that are missing or not of their kind, and names in ``${}`` that
            are not declared; all of them.
    """
    declared: dict[str, Parameter] = {}
    for layer in layers:
        declared |= declared_by(layer)
    plain = [_without(layer, {KEY} if KEY in layer.data else set()) for layer in layers]
    if not declared:
        return plain
    values = {name: one.default for name, one in declared.items() if one.default is not None}
    origins: dict[str, str] = {}
    problems: list[str] = []
    for layer in plain:
        for name in declared.keys() & layer.data.keys():
            origins[name] = layer.origin((name,))
            try:
                values[name] = declared[name].checked(layer.data[name])
            except ValueError as problem:
                problems.append(f"{_where(origins[name], name)}: {problem}")
    missing = [name for name in declared if name not in values and name not in origins]
    problems += [
        f"{name} is missing ({declared[name].about}); add --set {name}=..." for name in missing
    ]
    if problems:
        raise ConfigurationError(problems)
    found = []
    for layer in plain:
        rest = _without(layer, declared)
        changed: dict[KeyPath, str] = {}
        rest.data = _replaced(rest.data, (), rest, values, changed, problems)
        for path, name in changed.items():
            rest.origins[path] = origins.get(name, rest.origin(path))
        found.append(rest)
    if problems:
        raise ConfigurationError(problems)
    return found


def _where(origin: str, name: str) -> str:
    return origin if origin.startswith("--") else f"{origin}: {name}"


def _without(layer: Layer, names: Any) -> Layer:
    """A layer without some of its keys."""
    if not names:
        return Layer(layer.label, layer.data, dict(layer.origins))
    data = {key: value for key, value in layer.data.items() if key not in names}
    origins = {path: origin for path, origin in layer.origins.items() if path[0] not in names}
    return Layer(layer.label, data, origins)


def _replaced(
    value: Any,
    path: KeyPath,
    layer: Layer,
    values: Mapping[str, Any],
    changed: dict[KeyPath, str],
    problems: list[str],
) -> Any:
    """A value of a layer with parameters filled in; where one was goes to ``changed``."""
    if isinstance(value, dict):
        return {
            key: _replaced(inner, (*path, key), layer, values, changed, problems)
            for key, inner in value.items()
        }
    if isinstance(value, list):
        return [
            _replaced(inner, (*path, place), layer, values, changed, problems)
            for place, inner in enumerate(value)
        ]
    if not isinstance(value, str):
        return value
    names = _NAMED.findall(value)
    unknown = [name for name in names if name not in values]
    for name in unknown:
        guess = did_you_mean(name, values)
        problems.append(f"{layer.origin(path)}: no parameter '{name}' is declared{guess}")
    if not names or unknown:
        return value
    changed[path] = names[0]
    if value == f"${{{names[0]}}}":
        return values[names[0]]
    return _NAMED.sub(lambda found: str(values[found[1]]), value)
