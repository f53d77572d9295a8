from __future__ import annotations

import io
import sys

import pytest


@pytest.fixture
def put(tmp_path, monkeypatch):
    """Write a file in the current folder and return its name."""
    monkeypatch.chdir(tmp_path)

    def write(name: str, content: str | bytes) -> str:
        data = content.encode() if isinstance(content, str) else content
        (tmp_path / name).write_bytes(data)
        return name

    return write


@pytest.fixture
def standard_input(monkeypatch):
    def put(content: str | bytes) -> str:
        data = content.encode() if isinstance(content, str) else content
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))
        return "-"

    return put
