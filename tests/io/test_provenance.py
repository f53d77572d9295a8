from __future__ import annotations

import dataclasses
import json
import os
from pathlib import Path

import numpy as np
import pytest

from designkit.errors import InputError, OutputError
from designkit.io.provenance import sha256_file, write_json_atomic, write_meta


@dataclasses.dataclass
class Counters:
    calls: int


def test_known_hash(tmp_path):
    (tmp_path / "abc").write_bytes(b"abc")
    assert sha256_file(tmp_path / "abc") == (
        "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    )
    with pytest.raises(InputError, match="none: cannot be read: No such file"):
        sha256_file(tmp_path / "none")


def test_values_become_plain(tmp_path):
    fields = {
        "path": Path("a/b"),
        "nan": float("nan"),
        "inf": float("-inf"),
        "array": np.array([1.5, np.nan]),
        "scalar": np.int64(3),
        "set": {"b", "a"},
        "record": Counters(2),
        "text": "µ\ud800",
    }
    path = write_meta(str(tmp_path / "out.csv"), fields)
    assert path == tmp_path / "out.csv.meta.json"
    assert json.loads(path.read_text()) == {
        "path": "a/b",
        "nan": None,
        "inf": "-inf",
        "array": [1.5, None],
        "scalar": 3,
        "set": ["a", "b"],
        "record": {"calls": 2},
        "text": "µ\ud800",
    }


@pytest.mark.parametrize("target", ["-", "/dev/null"])
def test_streams_have_no_meta_file(target, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert write_meta(target, {}) is None
    assert os.listdir(tmp_path) == []
    assert not os.path.exists("/dev/null.meta.json")


def test_failure_keeps_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "a.json"
    write_json_atomic(path, {"old": 1})

    def fail(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OutputError) as caught:
        write_json_atomic(path, {"new": 1})
    assert str(caught.value) == f"{path}: cannot be written: no space left on device"
    assert json.loads(path.read_text()) == {"old": 1}
    assert os.listdir(tmp_path) == ["a.json"]


def test_missing_folder(tmp_path):
    with pytest.raises(OutputError, match="/no does not exist; create it first"):
        write_json_atomic(tmp_path / "no" / "a.json", {})


def test_umask_is_kept(tmp_path):
    write_json_atomic(tmp_path / "a.json", {})
    (tmp_path / "b").touch()
    assert (tmp_path / "a.json").stat().st_mode == (tmp_path / "b").stat().st_mode
