"""What can be said of a reward without making one: its class, its settings, their docstrings."""

from __future__ import annotations

import inspect
import re
import shlex
import sys
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType, NoneType
from typing import Annotated, Any, Literal, get_args, get_origin

from designkit.rewards import PREFIXES, FunctionReward, Output, Reward, RewardInfo

KINDS = {bool: "true|false", int: "whole number", float: "number", str: "text", Path: "file"}
_BOUNDS = {"ge": "at least", "gt": "above", "le": "at most", "lt": "below"}
_EXTRA = re.compile(r"pip install '(designkit\[\w+\])'")
_SECTION = re.compile(r"\n\s*\n(?:Args|Attributes|Returns|Raises):\n")
_PRIVATE_MODULE = re.compile(r"^from (designkit\.rewards\._\w+) import", re.MULTILINE)


@dataclass(frozen=True)
class Parameter:
    """A parameter of a reward.

    Attributes:
        name: as written after the ``?``.
        kind: what it takes, in words, with its bounds.
        default: as written, empty where there is none.
        required: whether it must be given.
        meaning: from the docstring.
    """

    name: str
    kind: str
    default: str
    required: bool
    meaning: str


@dataclass(frozen=True)
class RewardFacts:
    """What is known of a reward.

    Attributes:
        name: what it is called.
        measures: in one line.
        docstring: of its class or function, without the list of arguments.
        info: its template, None where there is none.
        parameters: what it takes.
        needs: what to install for it, empty for nothing.
        source: the file it comes from.
        reference: an example of a reference.
        problem: why nothing else is known, empty if all is.
    """

    name: str
    measures: str = ""
    docstring: str = ""
    info: RewardInfo | None = None
    parameters: tuple[Parameter, ...] = ()
    needs: str = ""
    source: str = ""
    reference: str = ""
    problem: str = ""

    @property
    def outputs(self) -> tuple[Output, ...]:
        """What it gives, empty where that is not known before it is made."""
        return self.info.outputs if self.info else ()

    @property
    def shell_reference(self) -> str:
        """The reference, quoted for a shell where it must be."""
        return shlex.quote(self.reference)


def facts_of(reward_class: type[Reward], name: str, source: str = "") -> RewardFacts:
    """What is known of a class of rewards.

    Args:
        reward_class: the class, or what ``@reward`` made.
        name: what it is called.
        source: what names it in a reference, its name by default.
    """
    module = sys.modules.get(reward_class.__module__)
    docstring = inspect.cleandoc(reward_class.__doc__ or "")
    parameters = tuple(_parameters(reward_class))
    return RewardFacts(
        name=name,
        measures=_measures(reward_class, module, name),
        docstring=re.split(r"\n\s*\n(?:Args|Attributes|Returns|Raises):\n", f"{docstring}\n")[
            0
        ].strip(),
        info=reward_class.template,
        parameters=parameters,
        needs=_needs(module),
        source=str(getattr(module, "__file__", None) or ""),
        reference=_reference(source or name, parameters),
    )


def _measures(reward_class: type[Reward], module: ModuleType | None, name: str) -> str:
    """First sentence of the module that is named like the reward, else of the class."""
    own_module = reward_class.__module__.rpartition(".")[2] == name.lower().replace("-", "_")
    text = getattr(module, "__doc__", None) if own_module else None
    paragraph = inspect.cleandoc(text or reward_class.__doc__ or "").partition("\n\n")[0]
    return " ".join(paragraph.split())


def _parameters(reward_class: type[Reward]) -> Iterator[Parameter]:
    meanings = _meanings(reward_class)
    for name, field in reward_class.settings_type.model_fields.items():
        kind, bounds = _kind(field.annotation)
        bounds += [bound for one in field.metadata for bound in _bounds(one)]
        required = field.is_required()
        default = None if required else field.get_default(call_default_factory=True)
        yield Parameter(
            name=name,
            kind=" ".join([kind, " and ".join(bounds)]).strip(),
            default=_written(default),
            required=required,
            meaning=meanings.get(name, ""),
        )


def _kind(annotation: Any) -> tuple[str, list[str]]:
    """A type in words, and the bounds written in it."""
    origin, inner = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        kind, bounds = _kind(inner[0])
        return kind, bounds + [bound for one in inner[1:] for bound in _bounds(one)]
    if origin is Literal:
        return "|".join(map(str, inner)), []
    if origin in (list, tuple, set, frozenset):
        kind, bounds = _kind(inner[0]) if inner else ("text", [])
        return f"{kind},{kind},...", bounds
    if inner:  # a union
        kinds = [_kind(one) for one in inner if one is not NoneType]
        bounds = [bound for _, found in kinds for bound in found]
        return " or ".join(dict.fromkeys(kind for kind, _ in kinds)), bounds
    return KINDS.get(annotation, getattr(annotation, "__name__", "text").lower()), []


def _bounds(constraint: Any) -> list[str]:
    return [
        f"{words} {getattr(constraint, key):g}"
        for key, words in _BOUNDS.items()
        if isinstance(getattr(constraint, key, None), int | float)
    ]


def _written(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, list | tuple | set | frozenset):
        return ",".join(map(_written, value))
    return str(value).lower() if isinstance(value, bool) else str(value)


def _meanings(reward_class: type[Reward]) -> dict[str, str]:
    """What docstrings say of each parameter, the nearest class first."""
    documented: list[str | None] = [base.__doc__ for base in reward_class.settings_type.__mro__]
    if issubclass(reward_class, FunctionReward):
        documented = [reward_class.__doc__]
    meanings: dict[str, str] = {}
    for docstring in documented:
        for name, text in _arguments(docstring or "").items():
            if not text.startswith("see ``"):
                meanings.setdefault(name, text)
    return meanings


def _arguments(docstring: str) -> dict[str, str]:
    """The list ``Args:`` or ``Attributes:`` of a Google-style docstring."""
    sections = re.findall(
        r"^(?:Args|Attributes):\n((?:[ ]+.*\n|\n)+)", f"{inspect.cleandoc(docstring)}\n", re.M
    )
    found: dict[str, str] = {}
    for section in sections:
        name = ""
        for line in textwrap.dedent(section).splitlines():
            entry = re.match(r"(\w+)(?: \([^)]*\))?: (.*)", line)
            if entry:
                name = entry[1]
                found[name] = entry[2]
            elif name:
                found[name] = f"{found[name]} {line.strip()}".strip()
    return found


def _needs(module: ModuleType | None) -> str:
    """The extra that the messages of a module, or of the private ones it imports, ask for."""
    sources = [_source(module)]
    for name in _PRIVATE_MODULE.findall(sources[0]):
        sources.append(_source(sys.modules.get(name)))
    return next((found[1] for found in map(_EXTRA.search, sources) if found), "")


def _source(module: ModuleType | None) -> str:
    path = getattr(module, "__file__", None)
    return Path(path).read_text(encoding="utf-8") if path and Path(path).is_file() else ""


def _reference(source: str, parameters: tuple[Parameter, ...]) -> str:
    """How it is named where its required parameters are given."""
    for prefix, (name, parameter) in PREFIXES.items():
        if source == name:
            return f"{prefix}:{'NAME' if parameter == 'model' else parameter.upper()}"
    required = [f"{one.name}={_placeholder(one)}" for one in parameters if one.required]
    return f"{source}?{'&'.join(required)}" if required else source


def _placeholder(parameter: Parameter) -> str:
    if "|" in parameter.kind:
        return parameter.kind.partition("|")[0]
    return "FILE" if parameter.kind == "file" else parameter.name.upper()
