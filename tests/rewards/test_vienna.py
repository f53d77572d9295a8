"""Processes that fold: the same values as without, quiet at the end, replaced when dead."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from designkit import alphabet
from designkit.errors import RewardError
from designkit.rewards import _vienna, load_reward, score_all
from designkit.rewards._vienna import FoldingReward, Workers, available_cores
from tests.rewards.examples import random_sequences
from tests.rewards.fragile_folding import FragileFolding

ROOT = Path(__file__).parents[2]
REFERENCES = [
    "mfe?temperature=25",
    "ensemble_energy",
    "accessibility?start=2&end=-3",
    "target_structure?structure=((((....((((....))))....))))",
]


@pytest.fixture
def workers(monkeypatch: pytest.MonkeyPatch) -> Iterator[Workers]:
    """Two processes, from the first sequence on."""
    found = Workers(size=2, patience=0)
    monkeypatch.setattr(_vienna, "WORKERS", found)
    yield found
    found.close()


def folding(ref: str) -> FoldingReward:
    reward = load_reward(ref)
    assert isinstance(reward, FoldingReward)
    return reward


def run_script(text: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", text], capture_output=True, text=True, timeout=60, cwd=ROOT
    )


def test_values_are_the_same_with_processes_and_without(workers: Workers) -> None:
    sequences = random_sequences(alphabet.RNA, count=37, length=28)
    for ref in REFERENCES:
        reward = folding(ref)
        expected = [reward.fold(sequence) for sequence in sequences]
        np.testing.assert_array_equal(reward.score(sequences).values, expected)
    assert len(workers._running) == 2


def test_order_and_refusals_are_kept(workers: Workers) -> None:
    sequences = [
        sequence[: 20 + k] for k, sequence in enumerate(random_sequences(alphabet.RNA, length=60))
    ]
    sequences[5] = ""
    scores = folding("mfe").score(sequences)
    alone = [folding("mfe").fold(s)[0] if s else np.nan for s in sequences]
    np.testing.assert_array_equal(scores.values[:, 0], alone)
    assert [row for row, error in enumerate(scores.errors) if error] == [5]


def test_none_is_started_for_little_work() -> None:
    sequences = random_sequences(alphabet.RNA, count=5)
    for workers in (Workers(size=2, patience=3600), Workers(size=1, patience=0)):
        assert workers.fold(folding("mfe"), sequences) == [
            folding("mfe").fold(s) for s in sequences
        ]
        assert not workers._running


def test_work_is_handed_over_when_enough_was_done_here(workers: Workers) -> None:
    workers._patience = 1e-9
    sequences = random_sequences(alphabet.RNA, count=9)
    assert workers.fold(folding("mfe"), sequences) == [folding("mfe").fold(s) for s in sequences]
    assert len(workers._running) == 2


def test_no_more_processes_than_sequences(workers: Workers) -> None:
    workers.fold(folding("mfe"), ["GGGGAAAACCCC"])
    assert len(workers._running) == 1


def test_closing_ends_them_and_they_come_back(workers: Workers) -> None:
    reward = folding("mfe")
    reward.score(["GGGGAAAACCCC"])
    process = workers._running[0].process
    reward.close()
    assert process.returncode == 0
    assert not workers._running
    assert reward.score(["GGGGAAAACCCC"]).values[0, 0] == -5.4


def test_a_sequence_that_kills_its_process_fails_alone(workers: Workers) -> None:
    sequences = ["ACGU", "AGGGGA", "A"]
    scores = score_all(FragileFolding(), sequences)
    np.testing.assert_array_equal(scores.values[:, 0], [4, np.nan, 1])
    assert scores.errors[1] == "RuntimeError: the process that folded this died (SIGKILL)"
    assert [error is None for error in scores.errors] == [True, False, True]


def test_a_process_killed_from_outside_is_replaced(workers: Workers) -> None:
    sequences = random_sequences(alphabet.RNA, count=12)
    reward = folding("mfe")
    expected = score_all(reward, sequences).values
    killed = workers._running[0].process.pid
    os.kill(killed, signal.SIGKILL)
    scores = score_all(reward, sequences)
    np.testing.assert_array_equal(scores.values, expected)
    assert scores.errors == [None] * 12
    assert killed not in [worker.process.pid for worker in workers._running]


def test_an_error_while_folding_is_told_as_it_is(workers: Workers) -> None:
    scores = score_all(FragileFolding(), ["ACGU", "ACCCCU"])
    assert scores.errors == [None, "RuntimeError: ValueError: four C"]


def test_a_process_that_cannot_start_stops_the_run(
    workers: Workers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with pytest.raises(
        RewardError, match=r"a process that folds RNA did not start \(exit code 1\)"
    ):
        folding("mfe").score(["GGGGAAAACCCC"])


def test_signals_to_the_program_are_not_for_them(workers: Workers) -> None:
    reward = folding("mfe")
    reward.score(["GGGGAAAACCCC"])
    process = workers._running[0].process
    assert os.getpgid(process.pid) != os.getpgrp()
    for number in (signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2, signal.SIGINT):
        process.send_signal(number)
    assert reward.score(["GGGGAAAACCCC"]).values[0, 0] == -5.4
    assert workers._running[0].process is process


def test_number_of_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "torch", raising=False)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 3, 4}, raising=False)
    monkeypatch.delenv("SLURM_CPUS_PER_TASK", raising=False)
    assert available_cores() == 3
    monkeypatch.setenv("SLURM_CPUS_PER_TASK", "7")
    assert available_cores() == 7


def test_no_more_processes_than_threads_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    monkeypatch.setenv("SLURM_CPUS_PER_TASK", "7")
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    assert available_cores() == 2


def test_a_script_needs_no_guard_and_ends_in_silence() -> None:
    done = run_script(
        "import sys\n"
        "from designkit.rewards import _vienna, load_reward\n"
        "_vienna.WORKERS = _vienna.Workers(size=2, patience=0)\n"
        "print(load_reward('mfe').score(['GGGGAAAACCCC', 'AAAA']).values.tolist())\n"
        "print({'torch', 'pandas', 'Bio'} & set(sys.modules))\n"
    )
    assert (done.stdout, done.stderr) == ("[[-5.4], [0.0]]\nset()\n", "")


def test_a_worker_imports_nothing_heavy() -> None:
    done = run_script(
        "import sys\n"
        "from designkit.rewards._vienna import serve\n"
        "import designkit.rewards.accessibility\n"
        "print({'torch', 'pandas', 'numpy', 'Bio'} & set(sys.modules))\n"
    )
    assert (done.stdout, done.stderr) == ("set()\n", "")


def test_a_forked_process_has_its_own() -> None:
    done = run_script(
        "import os, sys\n"
        "from designkit.rewards import _vienna, load_reward\n"
        "w = _vienna.WORKERS\n"
        "w._size, w._patience = 2, 0\n"
        "def pids(): return {x.process.pid for x in w._running}\n"
        "m = load_reward('mfe')\n"
        "m.score(['GGGGAAAACCCC', 'AAAA'])\n"
        "before = pids()\n"
        "if os.fork() == 0:\n"
        "    ok = m.score(['GGGGAAAACCCC', 'AAAA']).values[0, 0] == -5.4 and not before & pids()\n"
        "    w.close(); os._exit(0 if ok else 1)\n"
        "print(os.wait()[1], m.score(['GGGGAAAACCCC', 'AAAA']).values[0, 0], before == pids())\n"
    )
    assert (done.stdout, done.stderr) == ("0 -5.4 True\n", "")


def test_ctrl_c_ends_the_program_and_its_workers_in_silence(tmp_path: Path) -> None:
    path = tmp_path / "long.fa"
    sequences = random_sequences(alphabet.RNA, count=60, length=400)
    path.write_text("".join(f">s{k}\n{s}\n" for k, s in enumerate(sequences)))
    program = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "import sys\n"
            "from designkit.rewards import _vienna\n"
            "from designkit.cli.app import main\n"
            "_vienna.WORKERS._size, _vienna.WORKERS._patience = 2, 0\n"
            "sys.exit(main(sys.argv[1:]))",
            *("score", path, "--reward", "mfe", "-o", tmp_path / "out.csv"),
        ],
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    children = Path(f"/proc/{program.pid}/task/{program.pid}/children")
    deadline = time.monotonic() + 60
    while not (workers := children.read_text().split()) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert workers
    os.killpg(program.pid, signal.SIGINT)
    # Workers hold the same standard error: it ends when all of them have.
    _, message = program.communicate(timeout=60)
    assert program.returncode == 130
    assert "Traceback" not in message
    assert len(message.splitlines()) <= 1
