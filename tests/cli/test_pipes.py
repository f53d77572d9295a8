"""The program among others in a shell: pipes, closed ends, full devices."""

from __future__ import annotations

import gzip
import os
import re
import signal
import subprocess
import time
from pathlib import Path

import pytest

from .conftest import Starter, end


def test_sample_score_head(shell) -> None:
    line = shell(
        "designkit sample tiny -q -n 3000 --batch-size 64 | designkit score - --reward gc | head -3"
    )
    assert line.returncode == 0, line.stderr
    header, first, _second = line.stdout.splitlines()
    columns = "id sequence model method seed reward gc reason"
    assert header.split("\t") == columns.split()
    assert first.startswith("design_1\t")
    assert line.stderr == ""  # nothing about the pipe


def test_tables_flow_through_several_scores(shell) -> None:
    line = shell(
        "designkit sample tiny -q -n 5 --seed 1 | designkit score - --reward gc"
        " | designkit score - --reward model:pred"
    )
    assert (line.returncode, line.stderr) == (0, "")
    header, *rows = line.stdout.splitlines()
    columns = "id sequence model method seed reward.input gc reward pred pred_std reason"
    assert header.split("\t") == columns.split()
    assert len(rows) == 5


def test_gzip_on_standard_input(run, models: Path) -> None:
    outcome = run("score", "-", "--reward", "gc", stdin=gzip.compress(b">a\nACGT\n>b\nGG\n"))
    assert (outcome.exit_code, outcome.stderr) == (0, "")
    assert [line.split("\t")[0] for line in outcome.stdout.splitlines()] == ["id", "a", "b"]


def test_a_failure_upstream_is_seen_downstream(shell) -> None:
    line = shell("designkit sample tinny | designkit score - --reward gc")
    assert line.returncode != 0
    assert sorted(line.stderr.splitlines()) == [
        "designkit: error: standard input: the input is empty; did the command before the pipe "
        "fail?",
        "designkit: error: unknown model 'tinny'; did you mean 'tiny'? ('designkit models list' "
        "shows all)",
    ]


def test_a_full_standard_output(shell) -> None:
    line = shell("designkit sample tiny -q > /dev/full")
    assert line.returncode == 2
    assert line.stderr == (
        "designkit: error: standard output: cannot be written: no space left on device\n"
    )
    line = shell("designkit models list > /dev/full")
    assert line.returncode == 2
    assert line.stderr == "designkit: error: output: cannot be written: no space left on device\n"


def test_closed_standard_streams(shell, fasta: Path) -> None:
    nothing = shell("designkit score - --reward gc <&-")
    assert nothing.returncode == 3
    assert len(nothing.stderr.splitlines()) == 1
    assert "standard input" in nothing.stderr
    nowhere = shell(f"designkit score {fasta} --reward gc >&-")
    assert nowhere.returncode == 2
    assert len(nowhere.stderr.splitlines()) == 1
    assert "standard output is closed" in nowhere.stderr


def test_control_c(start: Starter, models: Path, tmp_path: Path) -> None:
    """130, what is kept and how to go on, and the file is not there."""
    process = start("sample", "tiny", "-q", "-n", 100000, "-o", tmp_path / "a.csv")
    part = tmp_path / "a.csv.part"
    while process.poll() is None and not (part.exists() and part.stat().st_size > 500):
        time.sleep(0.01)
    code, said = end(process, signal.SIGINT)
    assert code == 130, said
    stopped, kept = said.splitlines()
    assert re.fullmatch(r"designkit: stopped: Ctrl-C: \d+ of 100000 designs done", stopped)
    assert kept.endswith(f" rows are kept in {part}, --resume continues from there")
    assert part.exists()
    assert not (tmp_path / "a.csv").exists()


@pytest.mark.parametrize("text", [b">a\nACGT\n>b\nGGCC\n", b"id,sequence\na,ACGT\nb,GGCC\n"])
def test_rows_arrive_as_they_are_made(start: Starter, models: Path, text: bytes) -> None:
    process = start("score", "-", "--reward", "gc", stdin=subprocess.PIPE)
    os.write(process.stdin.fileno(), text)
    deadline = time.monotonic() + 20
    os.set_blocking(process.stdout.fileno(), False)
    seen = b""
    while b"\na\t" not in seen and time.monotonic() < deadline:
        seen += process.stdout.read() or b""
        time.sleep(0.01)
    assert b"\na\tACGT\t0.5\t0.5" in seen  # although the input is still open
    process.stdin.close()
    process.stdin = None
    assert process.wait(timeout=60) == 0
