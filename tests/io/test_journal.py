"""The journal: whole lines, alone, exactly."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from designkit.errors import OutputError
from designkit.io.journal import Journal, journal_of


def test_lines_come_back_with_all_their_bits(tmp_path: Path) -> None:
    target = str(tmp_path / "out.csv")
    values = [0.1 + 0.2, 1e-300, -math.inf, math.pi, 3]
    with Journal(target) as journal:
        assert journal.lines == []
        journal.append({"values": values, "text": "ä\n"})
        journal.append({"nan": math.nan})
    with Journal(target, resume=True) as journal:
        assert journal.lines[0] == {"values": values, "text": "ä\n"}
        assert math.isnan(journal.lines[1]["nan"])
        journal.append({"n": 3})
    with Journal(target, resume=True) as journal:
        assert len(journal.lines) == 3
        journal.remove()
    assert not journal_of(target).exists()


@pytest.mark.parametrize("torn", [b'{"n":', b'{"n":3}', b"\x00\x00\n", b"[1]\n"])
def test_a_torn_line_is_dropped(tmp_path: Path, torn: bytes) -> None:
    target = str(tmp_path / "out.csv")
    with Journal(target) as journal:
        journal.append({"n": 1})
        journal.append({"n": 2})
    with open(journal_of(target), "ab") as file:
        file.write(torn)
    with Journal(target, resume=True) as journal:
        assert [line["n"] for line in journal.lines] == [1, 2]
        journal.append({"n": 3})
    with Journal(target, resume=True) as journal:
        assert [line["n"] for line in journal.lines] == [1, 2, 3]


def test_a_journal_is_not_lost_by_mistake(tmp_path: Path) -> None:
    target = str(tmp_path / "out.csv")
    with Journal(target) as journal:
        journal.append({"n": 1})
        with pytest.raises(OutputError, match="another run is writing it"):
            Journal(target, resume=True).__enter__()
    with pytest.raises(OutputError, match="left by an interrupted run; --resume continues it"):
        Journal(target)
    with Journal(target, force=True) as journal:
        assert journal.lines == []
    with Journal(target):  # an empty one holds nothing
        pass
    with pytest.raises(OutputError, match="does not exist"):
        Journal(str(tmp_path / "none/out.csv"))
