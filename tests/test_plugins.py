from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from designkit import plugins
from designkit.errors import PluginError, RewardError, UsageError

ROOM = {
    "__init__.py": "",
    "base.py": "class Base: pass\n",
    "_kernel.py": "class Kernel: pass\n",
    "best_of_n.py": "class BestOfN: pass\nclass Other: pass\n",
    "svdd.py": "class SVDD: pass\n",
    "two_roles.py": "class TwoRoles: pass\nclass TwoRolesSampler: pass\n",
    "loader.py": "def load(): pass\n",
    "explodes.py": "class Explodes: pass\nraise ValueError('lost\\nmy way')\n",
}


@pytest.fixture
def room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An installed outside package with a room of plugins, and one plugin that is an object."""
    package = tmp_path / "outside_room"
    package.mkdir()
    for name, text in ROOM.items():
        (package / name).write_text(text)
    (tmp_path / "outside_single.py").write_text("class Thing:\n    inner = 5\n")
    info = tmp_path / "outside-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: outside\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(
        "[test.samplers]\n"
        "room = outside_room\n"
        "single-thing = outside_single:Thing\n"
        "gone = outside_gone\n"
        "[test.rewards]\n"
        "room = outside_room\n"
        "svdd = outside_single:Thing\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    plugins._group.cache_clear()
    yield package
    plugins._group.cache_clear()
    for module in [name for name in sys.modules if name.startswith("outside_")]:
        del sys.modules[module]


def test_names_come_without_imports(room: Path) -> None:
    assert plugins.names("test.samplers") == [
        "best_of_n",
        "explodes",
        "single_thing",
        "svdd",
        "two_roles",
    ]
    assert not any(name.startswith("outside_room.") for name in sys.modules)


@pytest.mark.parametrize(
    ("name", "class_name"),
    [
        ("best_of_n", "BestOfN"),
        ("best-of-n", "BestOfN"),
        ("SVDD", "SVDD"),
        ("two_roles", "TwoRolesSampler"),
        ("single-thing", "Thing"),
    ],
)
def test_find(room: Path, name: str, class_name: str) -> None:
    assert plugins.find("test.samplers", name).__name__ == class_name


def test_find_imports_only_the_plugin_asked_for(room: Path) -> None:
    plugins.find("test.samplers", "svdd")
    assert "outside_room.svdd" in sys.modules
    assert "outside_room.best_of_n" not in sys.modules


def test_unknown_name_suggests_and_lists(room: Path) -> None:
    with pytest.raises(UsageError) as caught:
        plugins.find("test.samplers", "best_off_n")
    message = str(caught.value)
    assert "unknown sampler 'best_off_n'; did you mean 'best_of_n'?" in message
    assert "svdd" in message
    assert "outside_gone" in message  # a room that cannot be read is not silently missing


def test_unknown_reward_is_a_missing_artifact(room: Path) -> None:
    with pytest.raises(RewardError, match="unknown reward 'xyzzy'"):
        plugins.find("test.rewards", "xyzzy")


def test_a_name_offered_twice_is_refused(room: Path) -> None:
    with pytest.raises(UsageError, match=r"outside_room\.svdd:SVDD, outside_single:Thing"):
        plugins.find("test.rewards", "svdd")


def test_a_plugin_that_does_not_import(room: Path) -> None:
    with pytest.raises(PluginError, match="ValueError: lost my way") as caught:
        plugins.find("test.samplers", "explodes")
    assert isinstance(caught.value.__cause__, ValueError)
    assert "\n" not in str(caught.value)


def test_one_room_serves_two_groups(tmp_path: Path) -> None:
    source = tmp_path / "cnn.py"
    source.write_text("class CNNDenoiser: pass\nclass CNNPredictor: pass\n")
    assert plugins.plugin_attribute(source, "cnn", "denoiser") == "CNNDenoiser"
    assert plugins.plugin_attribute(source, "cnn", "predictor") == "CNNPredictor"
    assert plugins.plugin_attribute(source, "cnn", "process") is None


@pytest.mark.parametrize(
    ("group", "role"),
    [("designkit.processes", "process"), ("designkit.rewards", "reward"), ("a.values", "value")],
)
def test_role(group: str, role: str) -> None:
    assert plugins.role(group) == role


@pytest.mark.parametrize(
    "text",
    [
        "from __future__ import annotations\n"
        "from dataclasses import dataclass\n"
        "from typing import ClassVar\n"
        "@dataclass\n"
        "class Score:\n"
        "    kind: ClassVar[str] = 'x'\n"
        "    weight: float = 2.0\n"
        "value = Score().weight\n",
    ],
)
def test_file_with_postponed_dataclass(tmp_path: Path, text: str) -> None:
    path = tmp_path / "my reward.py"
    path.write_text(text)
    before = list(sys.path)
    assert plugins.load_object(f"{path}:value", "reward") == 2.0
    assert plugins.load_object(f"{path}:Score.weight", "reward") == 2.0
    assert sys.path == before
    assert [p.name for p in tmp_path.iterdir()] == ["my reward.py"]  # nothing written beside it


def test_a_file_is_loaded_once_for_each_content(tmp_path: Path) -> None:
    path = tmp_path / "counts.py"
    path.write_text("class A: pass\n")
    first = plugins.load_object(f"{path}:A")
    assert plugins.load_object(f"{path}:A") is first
    path.write_text("class A: new = True\n")
    assert plugins.load_object(f"{path}:A").new


@pytest.mark.parametrize(
    ("text", "reference", "message"),
    [
        ("x = 1\n", "r.py", "name the object, as in r.py:NAME"),
        ("gc_content = 1\n", "r.py:gc_contents", "did you mean 'gc_content'"),
        ("def f(:\n", "r.py:f", r"invalid syntax.* \(r.py, line 1\)"),
        ("\n\n1 / 0\n", "r.py:f", r"ZeroDivisionError: division by zero \(line 3\)"),
        ("import sys\nsys.exit(3)\n", "r.py:f", "SystemExit: 3"),
        ("import no_such_package\n", "r.py:f", "No module named 'no_such_package'"),
        ("", "absent.py:f", "absent.py:f': no such file or directory"),
        ("", "no_such_package.x:f", "No module named 'no_such_package'"),
    ],
)
def test_refused_references(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, reference: str, message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("r.py").write_text(text)
    modules = set(sys.modules)
    with pytest.raises(RewardError, match=message) as caught:
        plugins.load_object(reference, "reward")
    assert "\n" not in str(caught.value)
    broken = {name for name in set(sys.modules) - modules if name.startswith("designkit_plugin")}
    assert bool(broken) == (text == "gc_content = 1\n")  # code that failed leaves no module
    with pytest.raises(PluginError):
        plugins.load_object(reference, "sampler")
