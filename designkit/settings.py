"""Pydantic base class for everything a user can set, and the layers its values come from.

A layer is a nested dictionary that remembers where each value was written: a preset or file and its
line, a ``--set``, a flag. Layers are merged, later ones win, and what remains is checked against a
settings class. Every problem found is reported, in the user's words, at the place it was written.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from designkit._problems import describe, joined, path_in
from designkit.errors import ConfigurationError

if TYPE_CHECKING:
    import yaml

KeyPath = tuple[str | int, ...]


class Settings(BaseModel):
    """Frozen settings: command-line options, preset keys and Python arguments in one schema."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


S = TypeVar("S", bound=Settings)


@dataclass
class Layer:
    """Values of one source.

    Args:
        label: the source, for messages: a file, ``--set``, ``flags``.
        data: nested values.
        origins: where the value at a key path was written: ``run.yaml:3``, ``--set seed=1``.
    """

    label: str
    data: dict[str, Any] = field(default_factory=dict)
    origins: dict[KeyPath, str] = field(default_factory=dict)

    def origin(self, path: Sequence[str | int]) -> str:
        """Where the value at ``path``, the nearest one around it, or one in it, was written."""
        for end in range(len(path), 0, -1):
            if tuple(path[:end]) in self.origins:
                return self.origins[tuple(path[:end])]
        inside = (o for p, o in self.origins.items() if path and p[: len(path)] == tuple(path))
        return next(inside, self.label)

    def at(self, *path: str) -> Layer:
        """The layer below a key path, empty where there is nothing."""
        value: Any = self.data
        for part in path:
            value = value.get(part) if isinstance(value, dict) else None
        inside = {p[len(path) :]: o for p, o in self.origins.items() if p[: len(path)] == path}
        return Layer(self.origin(path), value if isinstance(value, dict) else {}, inside)


def read_yaml(path: str | Path) -> Layer:
    """Read one YAML document of keys and values.

    Numbers and booleans are those of YAML 1.2: ``1e-3`` is a number, ``no`` and ``1:30`` are text.

    Raises:
        ConfigurationError: the file cannot be read, is not YAML, is not a mapping, or repeats keys.
    """
    label = str(path)
    try:
        text = Path(path).read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = (error.strerror or str(error)) if isinstance(error, OSError) else "not UTF-8 text"
        raise ConfigurationError([f"{label}: {reason}"]) from error
    return parse_yaml(text, label)


def parse_yaml(text: str, label: str) -> Layer:
    """``read_yaml`` of text; ``label`` stands for the file in messages."""
    import yaml

    layer, problems = Layer(label), list[str]()
    try:
        loader = _loader_class()(text)
        root = loader.get_single_node()
        if root is not None and not isinstance(root, yaml.MappingNode):
            raise ConfigurationError([f"{label}:1: must hold keys and values, like 'seed: 1'"])
        if root is not None:
            layer.data = _plain(loader, root, (), layer, problems)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        problems.append(f"{label}:{mark.line + 1 if mark else 1}: not valid YAML: {error.problem}")
    except yaml.YAMLError as error:
        problems.append(f"{label}: not valid YAML: {' '.join(str(error).split())}")
    except RecursionError:
        problems.append(f"{label}: nested too deeply, or a part that contains itself")
    if problems:
        raise ConfigurationError(problems)
    return layer


def parse_set(assignments: Iterable[str]) -> Layer:
    """The layer of ``--set`` values such as ``method.candidates=10``.

    A value is a YAML scalar, or a list or mapping in YAML's flow style; the last of equal
    keys wins.

    Raises:
        ConfigurationError: no ``=``, an empty key, or a key below a plain value.
    """
    layer, problems = Layer("--set"), list[str]()
    for assignment in assignments:
        origin = f"--set {assignment}"
        key, separator, text = assignment.partition("=")
        path = tuple(key.strip().split("."))
        if not separator or not all(path):
            problems.append(f"{origin}: must be KEY=VALUE, like --set method.candidates=10")
            continue
        try:
            value = _parse_value(text.strip(), origin)
        except ConfigurationError as error:
            problems.extend(error.problems)
            continue
        if not _put(layer, path, value, origin):
            problems.append(f"{origin}: another --set gives a part of this key a plain value")
    if problems:
        raise ConfigurationError(problems)
    return layer


def flag_layer(values: Mapping[str, Any], flags: Mapping[str, str] | None = None) -> Layer:
    """The layer of command-line flags; those that are None were not given.

    Args:
        values: dotted key path to value.
        flags: name of the flag where it is not ``--`` and the last part of the path.
    """
    layer = Layer("flags")
    for key, value in values.items():
        flag = (flags or {}).get(key, "--" + key.rpartition(".")[2].replace("_", "-"))
        if value is not None and not _put(layer, tuple(key.split(".")), value, flag):
            raise ValueError(f"{key}: a part of this key has a plain value")
    return layer


def merge(layers: Iterable[Layer]) -> Layer:
    """One layer: mappings are merged key by key, other values replaced by those of later layers."""

    def overlay(below: dict[str, Any], above: dict[str, Any]) -> dict[str, Any]:
        result = dict(below)
        for key, value in above.items():
            old = result.get(key)
            if isinstance(old, dict) and isinstance(value, dict):
                value = overlay(old, value)
            result[key] = value
        return result

    merged = Layer("configuration")
    for layer in layers:
        merged.data = overlay(merged.data, layer.data)
        merged.origins |= layer.origins
    return merged


def resolve(schema: type[S], layers: Iterable[Layer]) -> S:
    """Settings from layers in order of rank, the strongest last.

    Raises:
        ConfigurationError: unknown keys and unusable values, all of them.
    """
    return validate(schema, merge(layers))


def validate(schema: type[S], layer: Layer, prefix: str = "") -> S:
    """Settings from one layer.

    Args:
        schema: the settings class.
        layer: its values.
        prefix: key path of these values in the whole configuration, for messages: ``method``.

    Raises:
        ConfigurationError: unknown keys and unusable values, all of them.
    """
    try:
        return schema.model_validate(layer.data)
    except ValidationError as error:
        raise MisfitError(schema, error, joined(_found(schema, layer, prefix, error))) from error


class MisfitError(ConfigurationError):
    """Values that a settings class does not take.

    Args:
        schema: the settings class.
        error: what pydantic found.
        problems: the same in the user's words.
    """

    def __init__(self, schema: type[Settings], error: ValidationError, problems: Sequence[str]):
        super().__init__(problems)
        self.schema, self.error = schema, error


def _found(
    schema: type[Settings], layer: Layer, prefix: str, error: ValidationError
) -> Iterator[str]:
    """Problems one by one; those of a part that has settings of its own where it wrote them."""
    for details in error.errors():
        inner = getattr(details.get("ctx", {}).get("error"), "__cause__", None)
        path = path_in(layer.data, details["loc"])
        if isinstance(inner, MisfitError) and isinstance(details["input"], dict):
            names = tuple(str(part) for part in path)
            dotted = ".".join((prefix, *names) if prefix else names)
            yield from _found(inner.schema, layer.at(*names), dotted, inner.error)
        else:
            yield describe(schema, layer, prefix, details)


def _put(layer: Layer, path: tuple[str, ...], value: Any, origin: str) -> bool:
    """Set a value in a layer; False where a part of the path holds a plain value."""
    target = layer.data
    for part in path[:-1]:
        target = target.setdefault(part, {})
        if not isinstance(target, dict):
            return False
    target[path[-1]] = value
    layer.origins[path] = origin
    return True


def _parse_value(text: str, origin: str) -> Any:
    import yaml

    if text[:1] in ("[", "{", '"', "'"):
        try:
            return parse_yaml(f"value: {text}", origin).data["value"]
        except ConfigurationError as error:
            raise ConfigurationError([f"{origin}: not a valid list, mapping or text"]) from error
    # A plain scalar whatever its characters: '*', '#' and ': ' are only letters here.
    loader = _loader_class()("")
    tag = loader.resolve(yaml.ScalarNode, text, (True, False))  # type: ignore[no-untyped-call]
    return loader.construct_object(yaml.ScalarNode(tag, text))


def _plain(
    loader: yaml.SafeLoader, node: yaml.Node, path: KeyPath, layer: Layer, problems: list[str]
) -> Any:
    """Values of a node; line numbers go to ``layer.origins``, repeated keys to ``problems``."""
    import yaml

    if path:
        layer.origins.setdefault(path, f"{layer.label}:{node.start_mark.line + 1}")
    if isinstance(node, yaml.SequenceNode):
        items = enumerate(node.value)
        return [_plain(loader, item, (*path, i), layer, problems) for i, item in items]
    if not isinstance(node, yaml.MappingNode):
        return loader.construct_object(node)
    data: dict[str, Any] = {}
    for key_node, value_node in node.value:
        place = f"{layer.label}:{key_node.start_mark.line + 1}"
        if not isinstance(key_node, yaml.ScalarNode):
            problems.append(f"{place}: a key must be one word")
            continue
        key = str(key_node.value)
        if key in data:
            first = layer.origins[(*path, key)].rpartition(":")[2]
            problems.append(f"{place}: key '{key}' is repeated (first on line {first})")
            continue
        layer.origins[(*path, key)] = place
        data[key] = _plain(loader, value_node, (*path, key), layer, problems)
    return data


@cache
def _loader_class() -> type[yaml.SafeLoader]:
    import yaml

    class CoreSchemaLoader(yaml.SafeLoader):
        """YAML 1.2 scalars, without the surprises of 1.1 (``1e-3``, ``no``, ``1:30``, dates)."""

        yaml_implicit_resolvers: dict[str, Any] = {}  # noqa: RUF012 - PyYAML's own contract

    number = r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?"
    for tag, pattern in (
        ("null", "~|null|Null|NULL|"),
        ("bool", "true|True|TRUE|false|False|FALSE"),
        ("int", "[-+]?[0-9]+"),
        ("float", rf"{number}|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)"),
    ):
        CoreSchemaLoader.add_implicit_resolver(
            f"tag:yaml.org,2002:{tag}", re.compile(f"^(?:{pattern})$"), None
        )

    # PyYAML's own constructor reads 010 as octal, and cannot read 08.
    def decimal(loader: Any, node: Any) -> int:
        return int(loader.construct_scalar(node))

    CoreSchemaLoader.add_constructor("tag:yaml.org,2002:int", decimal)
    return CoreSchemaLoader
