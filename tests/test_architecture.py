"""Arrows between rooms go one way, plugins do not know each other, and files stay readable."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import designkit
from designkit.plugins import plugin_attribute

PACKAGE = Path(designkit.__file__).parent
FILES = sorted(path for path in PACKAGE.rglob("*.py") if "_presets" not in path.parts)
IDS = [str(path.relative_to(PACKAGE)) for path in FILES]

LEAVES = {
    "errors",
    "alphabet",
    "constraints",
    "distinct",
    "dot_bracket",
    "pareto",
    "plugins",
    "settings",
    "_problems",
    "randomness",
    "sequence_stats",
}

# What a room may import besides leaves and itself; longer names allow only that module.
MAY_IMPORT: dict[str, set[str]] = {
    "__main__": {"cli"},
    "cli": {"recipes"},
    "recipes": {
        "algorithms",
        "models",
        "rewards",
        "diffusion",
        "metrics",
        "registry",
        "io",
        "report",
    },
    "algorithms": {
        "models.base",
        "models._value",
        "rewards",
        "rewards.base",
        "rewards.composite",
        "diffusion.base",
    },
    "report": {"metrics", "io"},
    "metrics": {"models.base", "io"},
    "models": {"diffusion"},
    "registry": {"models", "io"},
    "rewards": {"models.base", "io"},
    "diffusion": set(),
    "io": set(),
}
PLUGIN_ROOMS = {
    "algorithms.sampling",
    "algorithms.values",
    "algorithms.finetuning",
    "algorithms.refinement",
    "diffusion",
    "models",
    "rewards",
}
ROLES = {"models": ("denoiser", "predictor"), "diffusion": ("process",), "rewards": ("reward",)}
# Rooms whose modules may be imported to read settings or to list, hence nothing heavy at the top.
LIGHT_ROOMS = {"cli", "algorithms", "rewards", "registry"}
HEAVY = {"torch", "pandas", "Bio", "numpy", "accelerate", "safetensors"}


def module_name(path: Path) -> str:
    """Dotted name below ``designkit``; a package is named by its folder."""
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(part for part in parts if part != "__init__")


def room_of(name: str) -> str:
    return name.partition(".")[0]


def is_module(name: str) -> bool:
    place = PACKAGE.joinpath(*name.split("."))
    return place.is_dir() or place.with_suffix(".py").is_file()


def imports(tree: ast.AST) -> Iterator[str]:
    """Dotted modules of designkit that a file imports anywhere, without the package's name."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative imports hide where an arrow goes"
            found = []
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                is_inner = inner.startswith("designkit.") and is_module(inner[10:])
                found.append(inner if is_inner else str(node.module))
        else:
            continue
        yield from (name[10:] for name in found if name.startswith("designkit."))


def breaches(name: str, imported: set[str]) -> list[str]:
    """Imports of a module that its room does not allow."""
    room = room_of(name)
    wrong = []
    for target in sorted(imported - {"errors"}):
        if room_of(target) in LEAVES or (room not in LEAVES and room_of(target) == room):
            continue
        allowed = MAY_IMPORT.get(room, set())
        if target not in allowed and room_of(target) not in allowed - {"rewards"}:
            wrong.append(f"{name} imports {target}")
    return wrong


def at_top(tree: ast.Module) -> Iterator[str]:
    """Packages imported when the module is, type checking aside."""
    blocks: list[ast.stmt] = list(tree.body)
    while blocks:
        node = blocks.pop()
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield str(node.module).partition(".")[0]
        elif isinstance(node, ast.If) and "TYPE_CHECKING" not in ast.unparse(node.test):
            blocks += node.body + node.orelse
        elif isinstance(node, ast.Try):
            blocks += node.body
        elif isinstance(node, ast.ClassDef):
            blocks += node.body


@pytest.mark.parametrize("path", FILES, ids=IDS)
def test_rooms_import_only_what_they_may(path: Path) -> None:
    name = module_name(path)
    assert not breaches(name, set(imports(ast.parse(path.read_text()))))


@pytest.mark.parametrize(
    ("name", "target", "allowed"),
    [
        ("cli.sample", "recipes.sample", True),
        ("cli.sample", "io.designs", False),
        ("recipes.sample", "cli.app", False),
        ("algorithms.sampling.svdd", "models.base", True),
        ("algorithms.sampling.svdd", "models.cnn", False),
        ("algorithms.sampling.svdd", "recipes.training", False),
        ("algorithms.sampling.svdd", "rewards.gc", False),
        ("rewards.gc", "sequence_stats", True),
        ("rewards.gc", "registry.store", False),
        ("models.cnn", "diffusion.masked", True),
        ("diffusion.masked", "models.base", False),
        ("alphabet", "errors", True),
        ("alphabet", "io.sequences", False),
    ],
)
def test_the_table_itself(name: str, target: str, allowed: bool) -> None:
    assert (not breaches(name, {target})) == allowed


@pytest.mark.parametrize("path", FILES, ids=IDS)
def test_every_module_has_a_room(path: Path) -> None:
    room = room_of(module_name(path))
    assert room in MAY_IMPORT or room in LEAVES | {""}, f"no rule for {room}"


def test_commands_import_recipes_inside_functions() -> None:
    for path in (PACKAGE / "cli").glob("*.py"):
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.Import | ast.ImportFrom):
                rooms = {room_of(name) for name in imports(ast.Module([node], []))}
                assert "recipes" not in rooms, path


@pytest.mark.parametrize("path", FILES, ids=IDS)
def test_plugins_do_not_import_each_other(path: Path) -> None:
    name = module_name(path)
    room = name.rpartition(".")[0]
    if room not in PLUGIN_ROOMS or path.stem.startswith("_") or path.stem == "base":
        pytest.skip("not a plugin")
    roles = ROLES.get(room, ("sampler", "finetuner", "refiner", "value"))
    if not any(plugin_attribute(path, path.stem, role) for role in roles):
        pytest.skip("not a plugin")
    top = room_of(room)
    for target in imports(ast.parse(path.read_text())):
        last = target.rpartition(".")[2]
        own = room_of(target) == top
        assert not own or last == "base" or last.startswith("_") or target in (top, room), (
            f"{name} imports its sibling {target}"
        )


@pytest.mark.parametrize("path", FILES, ids=IDS)
def test_nothing_heavy_at_the_top(path: Path) -> None:
    room = room_of(module_name(path))
    if room not in LIGHT_ROOMS | LEAVES | {"", "__main__"} or path.stem.startswith("_"):
        pytest.skip("may import what it needs")
    assert not set(at_top(ast.parse(path.read_text()))) & HEAVY


def test_no_cupboards() -> None:
    banned = {"utils", "util", "helpers", "helper", "common", "misc"}
    assert not [path for path in FILES if {*path.parts, path.stem.strip("_")} & banned]


@pytest.mark.parametrize("path", FILES, ids=IDS)
def test_files_stay_short(path: Path) -> None:
    assert len(path.read_text().splitlines()) < 400


def test_nobody_imports_click() -> None:
    for path in FILES:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                assert not any(a.name.partition(".")[0] == "click" for a in node.names), path
            elif isinstance(node, ast.ImportFrom):
                assert str(node.module).partition(".")[0] != "click", path
                assert not str(node.module).startswith("typer._"), path
