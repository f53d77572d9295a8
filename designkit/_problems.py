"""What pydantic found wrong, in the user's words and at the place it was written."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, get_args, get_origin

from pydantic import BaseModel

from designkit.errors import did_you_mean

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

    from designkit.settings import KeyPath, Layer


def describe(schema: type[BaseModel], layer: Layer, prefix: str, details: ErrorDetails) -> str:
    """One problem: where it was written, which key, what is wrong, and what was probably meant.

    Args:
        schema: the settings class that was not satisfied.
        layer: the values, with their origins.
        prefix: key path of the values in the whole configuration.
        details: one of ``ValidationError.errors()``.
    """
    kind, last = details["type"], details["loc"][-1:]
    path = path_in(layer.data, details["loc"])
    if kind == "missing" and path[-1:] != last:
        path += last
    origin = layer.origin(path)
    if kind == "value_error" and isinstance(details["input"], dict) and "name" in details["input"]:
        origin = layer.origin((*path, "name"))  # what is below a name is a problem of its own
    dotted = ".".join(str(part) for part in ((prefix,) if prefix else ()) + path)
    if kind == "missing":
        in_a_list = any(isinstance(part, int) for part in path)
        advice = "" if in_a_list else f"; set it with --set {dotted}=VALUE"
        return f"{origin}: '{dotted}' is missing{advice}"
    if kind == "extra_forbidden":
        parent = dotted[: len(dotted) - len(str(path[-1]))]
        guess = did_you_mean(str(path[-1]), _fields_at(schema, path[:-1]), parent)
        return f"{origin}: unknown key '{dotted}'{guess}"
    where = origin if origin.startswith("--") or not dotted else f"{origin}: {dotted}"
    return f"{where}: {_in_plain_words(details)}"


def joined(problems: Iterable[str]) -> list[str]:
    """Problems without repetition; "must be A, not X" and "must be B, not X" become one."""
    found: dict[tuple[str, str], list[str]] = {}
    for problem in problems:
        head, must, rest = problem.partition(": must ")
        wanted, _, value = rest.partition(", not ")
        parts = found.setdefault((head + must, value) if must and value else (problem, ""), [])
        if must and value and wanted not in parts:
            parts.append(wanted.removeprefix("be ") if parts else wanted)
    return [
        f"{head}{' or '.join(parts)}, not {value}" if parts else head
        for (head, value), parts in found.items()
    ]


def _in_plain_words(details: ErrorDetails) -> str:
    kind, value, context = details["type"], details["input"], details.get("ctx", {})
    if kind in ("value_error", "assertion_error"):
        return str(context["error"])
    if kind == "union_tag_not_found":
        return "needs a 'name' among its keys"
    if kind == "union_tag_invalid":
        known = re.findall(r"'([^']*)'", context["expected_tags"])
        tag = context["tag"]
        return f"{tag!r} is none of {', '.join(known)}{did_you_mean(tag, known)}"
    if kind in ("model_type", "model_attributes_type", "dict_type"):
        wanted = "hold keys and values"
    elif kind.startswith("int_"):
        wanted = "be a whole number"
    elif kind.startswith("float_"):
        wanted = "be a number"
    elif kind.startswith("bool_"):
        wanted = "be true or false"
    elif kind in ("string_type", "list_type", "tuple_type"):
        wanted = "be text" if kind == "string_type" else "be a list"
    elif kind in ("greater_than_equal", "less_than_equal"):
        wanted = (
            f"be at least {context['ge']}" if "ge" in context else f"be at most {context['le']}"
        )
    elif kind in ("greater_than", "less_than"):
        wanted = f"be above {context['gt']}" if "gt" in context else f"be below {context['lt']}"
    elif kind in ("literal_error", "enum"):
        wanted = f"be {context['expected']}"
    else:
        wanted = re.sub(r"^.*? should ", "", details["msg"])
    shown = value if isinstance(value, int | float) and not isinstance(value, bool) else repr(value)
    shown = {"None": "empty", "True": "true", "False": "false"}.get(str(shown), shown)
    guess = ""
    if kind == "literal_error" and isinstance(value, str):
        guess = did_you_mean(value, re.findall(r"'([^']*)'", context["expected"]))
    return f"must {wanted}, not {str(shown)[:80]}{guess}"


def path_in(data: Any, location: tuple[int | str, ...]) -> KeyPath:
    """The part of a pydantic location that is keys of the data (the rest names union members)."""
    path: list[str | int] = []
    for part in location:
        if isinstance(data, dict) and part in data:
            data = data[part]
        elif isinstance(data, list | tuple) and isinstance(part, int) and part < len(data):
            data = data[part]
        else:
            continue
        path.append(part)
    return tuple(path)


def _fields_at(schema: Any, path: KeyPath) -> list[str]:
    """Keys allowed at a path: the fields of every settings class that the type allows there."""
    if isinstance(schema, type) and issubclass(schema, BaseModel):
        if not path:
            return list(schema.model_fields)
        info = schema.model_fields.get(str(path[0]))
        return _fields_at(info.annotation, path[1:]) if info else []
    if get_origin(schema) in (list, tuple, dict, Sequence, Mapping):
        path = path[1:]
    return [name for inner in get_args(schema) for name in _fields_at(inner, path)]
