"""Find a plugin by name, entry point, ``pkg.module:attr`` or ``file.py:attr``.

Built-ins and outside packages come through the same door, the entry points of a group. An entry
point names one object (``pkg.module:attr``) or a room: a package in which every public module that
defines an object of its own name is a plugin. Rooms are read without importing their modules, so
that listing names and refusing a misspelt one is quick.
"""

from __future__ import annotations

import ast
import hashlib
import importlib
import importlib.util
import sys
import traceback
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

from designkit.errors import ArtifactError, PluginError, RewardError, UsageError, did_you_mean

NOT_PLUGINS = frozenset({"base"})


def names(group: str) -> list[str]:
    """Names of the plugins of a group, sorted, without importing any of their modules."""
    return sorted(_group(group)[0])


def unreadable(group: str) -> list[str]:
    """The packages of a group whose plugins cannot be listed, and why."""
    return list(_group(group)[1])


def find(group: str, name: str) -> Any:
    """The plugin of a name; ``-`` and ``_`` mean the same, and so do ``A`` and ``a``.

    Args:
        group: an entry-point group such as ``designkit.samplers``.
        name: a name that ``names(group)`` lists.

    Raises:
        UsageError: no such plugin (RewardError for rewards), or several packages offer the name.
        PluginError: the plugin cannot be imported (RewardError for rewards).
    """
    references, unreadable = _group(group)
    what = role(group)
    found = references.get(name.lower().replace("-", "_"))
    if found is None:
        message = f"unknown {what} {name!r}{did_you_mean(name, references)}"
        message = f"{message} (known: {', '.join(sorted(references)) or 'none'})"
        if unreadable:
            message += f" (not readable: {', '.join(unreadable)})"
        raise RewardError(message) if what == "reward" else UsageError(message)
    # A package that takes a built-in's name does not take the built-in away.
    found = [ref for ref in found if ref.startswith("designkit.")] or found
    if len(found) > 1:
        raise UsageError(f"several packages offer the {what} {name!r}: {', '.join(found)}")
    return load_object(found[0], what)


def load_object(ref: str, what: str = "plugin") -> Any:
    """The object that ``pkg.module:attr`` or ``path/file.py:attr`` names.

    A file is executed once for each content; ``sys.path`` stays as it is, and nothing is written
    beside the file.

    Args:
        ref: the reference; ``attr`` may be dotted.
        what: what the object is to be, for messages; ``reward`` makes every error a RewardError.

    Raises:
        PluginError: the reference has no such form, the code does not run, or it has no such name
            (RewardError for rewards).
    """
    error: type[ArtifactError] = RewardError if what == "reward" else PluginError
    place, separator, attribute = ref.rpartition(":")
    if not separator:
        place, attribute = ref, ""
    if not place or not attribute:
        raise error(f"{what} {ref!r}: name the object, as in {place or 'file.py'}:NAME")
    try:
        module = (
            _load_file(Path(place)) if place.endswith(".py") else importlib.import_module(place)
        )
    except (Exception, SystemExit) as problem:
        raise error(f"cannot load {what} {ref!r}: {_explain(problem, place)}") from problem
    found: Any = module
    for part in attribute.split("."):
        if not hasattr(found, part):
            public = [word for word in dir(found) if not word.startswith("_")]
            raise error(f"{place} has no {attribute!r}{did_you_mean(part, public)}")
        found = getattr(found, part)
    return found


def role(group: str) -> str:
    """What a plugin of the group is, in the singular: ``designkit.processes`` -> ``process``."""
    plural = group.rpartition(".")[2]
    return plural.removesuffix("es") if plural.endswith("sses") else plural.removesuffix("s")


@cache
def _group(group: str) -> tuple[dict[str, list[str]], list[str]]:
    """References ``pkg.module:attr`` by plugin name, and the rooms that could not be read."""
    from importlib.metadata import entry_points

    references: dict[str, list[str]] = {}
    unreadable = []
    for value, name in sorted({(point.value, point.name) for point in entry_points(group=group)}):
        if ":" in value:
            references.setdefault(name.lower().replace("-", "_"), []).append(value)
            continue
        try:
            room = _room(value, role(group))
        except Exception as problem:
            unreadable.append(f"{value}: {problem}")
            continue
        for module, reference in room.items():
            references.setdefault(module, []).append(reference)
    return references, unreadable


def _room(package: str, role_name: str) -> dict[str, str]:
    """Plugins of a room, as module name to ``package.module:attr``."""
    spec = importlib.util.find_spec(package)
    if spec is None or spec.submodule_search_locations is None:
        raise PluginError(f"no package {package!r}")
    found = {}
    for file in (f for place in spec.submodule_search_locations for f in Path(place).glob("*.py")):
        if file.stem.startswith("_") or file.stem in NOT_PLUGINS:
            continue
        attribute = plugin_attribute(file, file.stem, role_name)
        if attribute:
            found[file.stem] = f"{package}.{file.stem}:{attribute}"
    return found


def plugin_attribute(path: Path, module: str, role_name: str) -> str | None:
    """The name in a module's source that is the plugin, or None.

    It equals the module's name, or that name followed by the role, case and underscores aside:
    ``best_of_n`` -> ``BestOfN``, ``cnn`` in the role ``denoiser`` -> ``CNNDenoiser``. The longer
    form is preferred, so that one room can serve two groups.
    """
    try:
        tree = ast.parse(path.read_bytes(), filename=str(path))
    except SyntaxError:
        return module  # loading it tells file and line
    defined: list[str] = []
    for node in tree.body:
        if isinstance(node, ast.ClassDef | ast.FunctionDef):
            defined.append(node.name)
        elif isinstance(node, ast.Assign):
            defined.extend(target.id for target in node.targets if isinstance(target, ast.Name))
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            defined.append(node.target.id)
    key = module.replace("_", "").lower()
    for wanted in (key + role_name, key):
        matches = [word for word in defined if word.replace("_", "").lower() == wanted]
        public = [word for word in matches if not word.startswith("_")]
        if public:
            return module if module in public else public[0]
    return None


def _load_file(path: Path) -> ModuleType:
    """Execute a Python file as a module of its own, named by its place and content."""
    source = path.read_bytes()
    digest = hashlib.sha256(str(path.resolve()).encode() + b"\0" + source).hexdigest()[:16]
    name = f"designkit_plugin_{digest}"
    if name in sys.modules:
        return sys.modules[name]
    module = ModuleType(name)
    module.__file__ = str(path.resolve())
    # Before the code runs: dataclasses with postponed annotations look their module up here.
    sys.modules[name] = module
    try:
        exec(compile(source, str(path), "exec"), module.__dict__)
    except BaseException:
        del sys.modules[name]
        raise
    return module


def _explain(problem: BaseException, place: str) -> str:
    """One line: what went wrong, and the line of the user's file where it did."""
    place = str(Path(place))
    if isinstance(problem, OSError) and problem.strerror and str(problem.filename) == place:
        return problem.strerror[0].lower() + problem.strerror[1:]
    if isinstance(problem, SyntaxError):
        return f"{problem.msg} ({problem.filename}, line {problem.lineno})"
    text = " ".join(f"{type(problem).__name__}: {problem}".split())
    frames = [f for f in traceback.extract_tb(problem.__traceback__) if f.filename == place]
    return f"{text} (line {frames[-1].lineno})" if frames else text
