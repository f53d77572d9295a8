"""Models are saved whole or not at all, found by name, version or folder, and checked when read."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
import torch

from designkit.alphabet import DNA
from designkit.errors import ModelError, OutputError, UsageError
from designkit.registry import Registry, StoredModel
from designkit.registry.store import PACKAGED_ROOT

CARD: dict[str, Any] = {"kind": "predictor", "alphabet": DNA.to_dict(), "parent": None}
WEIGHTS = {"a": torch.arange(6.0).reshape(2, 3), "b": torch.tensor([1], dtype=torch.int64)}


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    return Registry(tmp_path / "home", [])


def save(registry: Registry, name: str = "mrl", **more: Any) -> StoredModel:
    return registry.save(name, CARD | more, WEIGHTS, "# mrl\n")


def test_saved_model_reads_back(registry: Registry) -> None:
    stored = registry.find(save(registry).ref)
    assert (stored.name, stored.version, stored.packaged) == ("mrl", 1, False)
    assert stored.card["kind"] == "predictor"
    assert (stored.path / "README.md").read_text() == "# mrl\n"
    read = stored.weights()
    assert set(read) == set(WEIGHTS)
    assert all(torch.equal(read[key], WEIGHTS[key]) for key in WEIGHTS)
    assert read["b"].dtype == torch.int64


def test_hashes_are_those_of_the_files(registry: Registry) -> None:
    stored = save(registry)
    for filename in ("model.safetensors", "README.md"):
        found = hashlib.sha256((stored.path / filename).read_bytes()).hexdigest()
        assert stored.card["files"][filename] == found
    assert stored.sha256 == stored.card["files"]["model.safetensors"]
    assert {file.name for file in stored.path.iterdir()} == {
        "model.json",
        "model.safetensors",
        "README.md",
    }


def test_tied_and_strided_weights_are_stored(registry: Registry) -> None:
    tensor = torch.arange(6.0).reshape(2, 3)
    stored = registry.save("tied", CARD, {"x": tensor, "y": tensor, "z": tensor.T}, "")
    assert torch.equal(stored.weights()["z"], tensor.T)
    assert torch.equal(stored.weights()["y"], tensor)


def test_versions_count_up_and_the_newest_is_meant(registry: Registry) -> None:
    for _ in range(11):
        save(registry)
    assert registry.find("mrl").version == 11  # numbers, not text: 9 < 11
    assert registry.find("mrl@2").version == 2


def test_read_only_roots_are_searched_and_versions_go_on_from_theirs(tmp_path: Path) -> None:
    save(Registry(tmp_path / "shared", []))
    registry = Registry(tmp_path / "home", [tmp_path / "shared"])
    assert registry.find("mrl").path.is_relative_to(tmp_path / "shared")
    assert save(registry).version == 2
    assert not (tmp_path / "shared/models/mrl/2").exists()
    assert [stored.ref for stored in registry.list()] == ["mrl@1", "mrl@2"]


def test_home_counts_before_roots(tmp_path: Path) -> None:
    save(Registry(tmp_path / "shared", []), method="shared")
    save(Registry(tmp_path / "home", []), method="home")
    registry = Registry(tmp_path / "home", [tmp_path / "shared"])
    assert registry.find("mrl@1").card["method"] == "home"


def test_environment_names_home_and_roots(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DESIGNKIT_HOME", str(tmp_path / "h"))
    monkeypatch.setenv(
        "DESIGNKIT_PATH", os.pathsep.join([str(tmp_path / "a"), str(tmp_path / "b")])
    )
    registry = Registry()
    assert registry.home == tmp_path / "h"
    assert registry.roots == (tmp_path / "a", tmp_path / "b", PACKAGED_ROOT)


def test_folder_reference(registry: Registry, tmp_path: Path, monkeypatch: Any) -> None:
    stored = save(registry)
    (tmp_path / "copy").mkdir()
    for file in stored.path.iterdir():
        (tmp_path / "copy" / file.name).write_bytes(file.read_bytes())
    monkeypatch.chdir(tmp_path)
    found = registry.find("./copy")
    assert (found.name, found.sha256) == ("mrl", stored.sha256)
    assert registry.find(str(stored.path)).ref == "mrl@1"
    with pytest.raises(ModelError, match=r"write \./copy"):
        registry.find("copy")
    with pytest.raises(ModelError, match="no model folder"):
        registry.find("./absent")


@pytest.mark.parametrize(
    ("ref", "message"),
    [
        ("mlr", r"unknown model 'mlr'; did you mean 'mrl'\?.*models list"),
        ("mrl@3", r"no model 'mrl@3' \(there is mrl@1, mrl@2\)"),
        ("mrl@", r"no model 'mrl@'"),
        ("mrl@latest", r"no model 'mrl@latest'"),
        ("", "unknown model ''"),
        (".lock", "unknown model"),
    ],
)
def test_unknown_references(registry: Registry, ref: str, message: str) -> None:
    save(registry)
    save(registry)
    with pytest.raises(ModelError, match=message) as caught:
        registry.find(ref)
    assert caught.value.exit_code == 4


def test_changed_weights_are_refused(registry: Registry) -> None:
    stored = save(registry)
    path = stored.path / "model.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(bytes(content))
    with pytest.raises(ModelError, match=r"model\.safetensors: the file is damaged"):
        stored.weights()
    with pytest.raises(ModelError, match=r"model\.safetensors"):
        registry.verify(stored)


def test_verify_reads_every_file(registry: Registry) -> None:
    stored = save(registry)
    registry.verify(stored)
    (stored.path / "README.md").write_text("other")
    with pytest.raises(ModelError, match=r"README\.md"):
        registry.verify(stored)
    (stored.path / "README.md").unlink()
    with pytest.raises(ModelError, match=r"README\.md: No such file"):
        registry.verify(stored)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"schema_version": 2}, "schema version 2"),
        ({"kind": "oracle"}, "kind is 'oracle'"),
        ({"alphabet": None}, "'alphabet' is missing"),
        ({"files": {}}, "hash of model.safetensors is missing"),
        ({"files": {"model.safetensors": "", "../x": ""}}, "outside"),
        ({"name": "other"}, "card of other@1, not of mrl@1"),
    ],
)
def test_unusable_cards(
    registry: Registry,
    change: dict[str, Any],
    message: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    stored = save(registry)
    save(registry, "sound")
    (stored.path / "model.json").write_text(json.dumps(stored.card | change))
    with pytest.raises(ModelError, match=message):
        registry.find("mrl")
    with caplog.at_level(logging.WARNING):
        assert [model.name for model in registry.list()] == ["sound"]
    assert "model.json" in caplog.text


def test_a_card_that_is_not_json(registry: Registry) -> None:
    stored = save(registry)
    (stored.path / "model.json").write_text('{"name":')
    with pytest.raises(ModelError, match="not valid JSON"):
        registry.find("mrl")
    (stored.path / "model.json").unlink()
    with pytest.raises(ModelError, match=r"model\.json: No such file"):
        registry.find("mrl")


@pytest.mark.parametrize("name", ["", "a/b", "a@1", ".hidden", "../up", "a b", "-x"])
def test_names_that_cannot_be(registry: Registry, name: str) -> None:
    with pytest.raises(UsageError, match="model name"):
        save(registry, name)
    assert not registry.home.exists()


def test_a_failed_save_leaves_nothing(registry: Registry, monkeypatch: Any) -> None:
    save(registry)

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OutputError, match="No space left"):
        save(registry)
    monkeypatch.undo()
    folder = registry.home / "models" / "mrl"
    assert {path.name for path in folder.iterdir()} - {".lock"} == {"1"}
    assert save(registry).version == 2


def test_leavings_of_a_killed_save_are_removed(registry: Registry) -> None:
    abandoned = registry.home / "models" / "mrl" / ".part-1"
    abandoned.mkdir(parents=True)
    (abandoned / "model.safetensors").write_bytes(b"half")
    with pytest.raises(ModelError, match="unknown model"):
        registry.find("mrl")
    assert registry.list() == []
    assert save(registry).version == 1
    assert not abandoned.exists()


def test_a_home_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="DESIGNKIT_HOME"):
        save(Registry(tmp_path / "file", []))


def test_an_incomplete_card_is_refused_before_writing(registry: Registry) -> None:
    with pytest.raises(ModelError, match="kind is None"):
        registry.save("x", {"alphabet": {}}, WEIGHTS, "")
    assert not registry.home.exists()


def test_concurrent_saves_get_versions_of_their_own(registry: Registry) -> None:
    refs: list[str] = []
    threads = [threading.Thread(target=lambda: refs.append(save(registry).ref)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(refs) == sorted(f"mrl@{version}" for version in range(1, 9))
    for stored in registry.list():
        registry.verify(stored)


def test_listing_imports_no_torch(registry: Registry) -> None:
    save(registry)
    code = (
        "import sys; from pathlib import Path; from designkit.registry import Registry; "
        f"assert [m.ref for m in Registry(Path({str(registry.home)!r}), []).list()] == ['mrl@1']; "
        "assert not {'torch', 'numpy', 'safetensors'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
