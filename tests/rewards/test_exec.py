"""Real processes that do everything wrong that a process can; no score is ever another's."""

from __future__ import annotations

import logging
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from designkit.alphabet import DNA
from designkit.errors import ConfigurationError, RewardError
from designkit.rewards import Scores, load_reward, score_all
from designkit.rewards._loader import split_reference, written_reference
from designkit.rewards.exec import Exec
from tests.rewards.examples import Example, is_running, random_sequences

PYTHON = f"{shlex.quote(sys.executable)} -I -S"
PRELUDE = """\
import json, os, signal, sys, time

def requests():
    for line in sys.stdin:
        item = json.loads(line)
        yield item["id"], item["sequence"]

def value(sequence):
    return int.from_bytes(sequence.encode(), "big")

def write(text):
    sys.stdout.write(text + "\\n")
    sys.stdout.flush()

def answer(key, number):
    write(json.dumps({"id": key, "value": number}))

def once(name):
    try:
        os.close(os.open(name, os.O_CREAT | os.O_EXCL))
    except FileExistsError:
        return False
    return True

"""
HONEST = """\
for key, sequence in requests():
    answer(key, value(sequence))
"""
SEQUENCES = ["A", "CG", "GGG", "TTT", "AC", "CA"]


def value(sequence: str) -> int:
    """What the workers here answer: different for different sequences of up to six letters."""
    return int.from_bytes(sequence.encode(), "big")


def examples(folder: Path) -> list[Example]:
    script = folder / "honest.py"
    script.write_text(PRELUDE + HONEST)
    return [
        Example(f"exec:{PYTHON} {script}?{parameters}", random_sequences(length=6))
        for parameters in ("unit=bits", "workers=2&in_flight=1")
    ]


@pytest.fixture
def make(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Exec]]:
    """A reward of a worker with this code; the folder is the test's own."""
    monkeypatch.chdir(tmp_path)
    made: list[Exec] = []

    def make_worker(code: str, **parameters: object) -> Exec:
        script = tmp_path / f"worker{len(made)}.py"
        script.write_text(PRELUDE + code)
        defaults = {"name": "worker", "timeout": 20}
        made.append(Exec(command=f"{PYTHON} {script}", **{**defaults, **parameters}))
        return made[-1]

    yield make_worker
    for reward in made:
        processes = reward.pool.process_ids
        reward.close()
        assert not any(map(exists, processes))


def exists(process: int) -> bool:
    """Whether there is such a process, a zombie included."""
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    return True


def check(
    scores: Scores, sequences: list[str], failed: dict[str, str] | None = None, late: str = "never"
) -> None:
    """All have their own value, but for those that failed, with these reasons.

    On a busy machine any may be ``late``: with a short time-out that reason will do for all.
    """
    for sequence, row, error in zip(sequences, scores.values, scores.errors, strict=True):
        if failed and sequence in failed:
            assert np.isnan(row).all()
            assert error is not None
            assert failed[sequence] in error or late in error
        elif late in (error or ""):
            assert np.isnan(row).all()
        else:
            assert (row[0], error) == (value(sequence), None)


def test_one_process_for_all_batches(make: Callable[..., Exec]) -> None:
    reward = make(HONEST)
    assert reward.pool.process_ids == []  # not started before it is needed
    check(reward.score(SEQUENCES), SEQUENCES)
    started = reward.pool.process_ids
    check(reward.score(SEQUENCES[::-1]), SEQUENCES[::-1])
    assert reward.pool.process_ids == started
    assert len(started) == 1


def test_shell_loop_is_a_worker() -> None:
    loop = (
        r"while IFS= read -r line; do id=${line#*: }; id=${id%%,*}; "
        r"""s=${line##*: \"}; s=${s%\"*}; echo "{\"id\": $id, \"value\": ${#s}}"; done"""
    )
    reward = Exec(command=f"sh -c {shlex.quote(loop)}")
    assert reward.score(["ACGT", "", "GG"]).values.tolist() == [[4], [0], [2]]
    reward.close()


def test_several_outputs(make: Callable[..., Exec]) -> None:
    reward = make(
        """\
for key, sequence in requests():
    n = sequence.count("G")
    write(json.dumps({"id": key, "values": {"b": -n, "a": n, "more": "x"}} if n else
                     {"id": key, "values": {"a": 1}}))
""",
        outputs="a,b",
        unit="kcal/mol",
    )
    assert [(o.name, o.unit) for o in reward.info.outputs] == [("a", "kcal/mol"), ("b", "")]
    scores = reward.score(["GG", "A", "G"])
    np.testing.assert_array_equal(scores.values, [[2, -2], [1, np.nan], [1, -1]])
    assert scores.errors == [None, None, None]


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        ('"value": NaN', "no score"),
        ('"value": null', "no score"),
        ('"value": Infinity', "returned inf"),
        ('"value": -1e999', "returned -inf"),
        ('"value": 1' + "0" * 400, "not a number"),
        ('"value": "0.5"', "returned 0.5, not a number"),
        ('"value": [0.5]', "returned [0.5], not a number"),
        ('"value": true', "returned True, not a number"),
        ('"error": "too\\nlong \\u00e9 \\ud800"', "too long é ?"),
        ('"error": "x", "value": 1', "x"),
        ('"error": ""', "empty reason"),
        ('"values": {"other": 1}', "no value of 'worker'"),
        ('"values": 3', "not an object"),
        ('"score": 3', "no value of 'worker'"),
    ],
)
def test_answers_that_are_no_score(make: Callable[..., Exec], reply: str, reason: str) -> None:
    reward = make(
        f"""\
for key, sequence in requests():
    if sequence == "CG":
        write('{{"id": %d, ' % key + {reply!r} + "}}")
    else:
        answer(key, value(sequence))
"""
    )
    check(reward.score(SEQUENCES), SEQUENCES, {"CG": reason})
    check(score_all(reward, SEQUENCES), SEQUENCES, {"CG": reason})


def test_answers_out_of_order(make: Callable[..., Exec]) -> None:
    reward = make(
        """\
held = []
for key, sequence in requests():
    held.append((key, sequence))
    if len(held) == 3:
        for key, sequence in reversed(held):
            answer(key, value(sequence))
        held = []
"""
    )
    check(reward.score(SEQUENCES), SEQUENCES)


def test_lines_that_are_no_answers(
    make: Callable[..., Exec], caplog: pytest.LogCaptureFixture
) -> None:
    reward = make(
        """\
print("loading model ...")
for key, sequence in requests():
    for line in ("", "nonsense", "[1, 2]", "{", "3", '{"id": "%d", "value": 7}' % key,
                 '{"id": %d.0, "value": 7}' % key, '{"id": true, "value": 7}', '{"value": 7}',
                 '{"id": 123456, "value": 7}', '{"id": -1, "value": 7}', "[" * 100000,
                 '{"id": %s, "value": 7}' % ("9" * 5000)):
        write(line)
    sys.stdout.buffer.write(b"\\xff\\xfe{}\\n")
    answer(key, value(sequence))
"""
    )
    check(reward.score(SEQUENCES), SEQUENCES)
    assert "worker: not a JSON object, ignored: loading model ..." in caplog.messages
    assert "worker: not a JSON object, ignored: nonsense" in caplog.messages
    assert 5 < len(caplog.messages) <= 10  # and not one for each of the lines
    assert "no more of these" in caplog.messages[-1]


def test_equal_and_conflicting_duplicates(make: Callable[..., Exec]) -> None:
    reward = make(
        """\
for key, sequence in requests():
    number = value(sequence)
    replies = {"A": [number, number], "CG": [number, number + 1], "TTT": [None, number]}
    text = [json.dumps({"id": key, "value": n}) for n in replies.get(sequence, [number])]
    write("\\n".join(text))
"""
    )
    twice = "answered twice"
    check(reward.score(SEQUENCES), SEQUENCES, {"CG": twice, "TTT": twice})


def test_late_answers_do_not_land_on_new_items(make: Callable[..., Exec]) -> None:
    reward = make(
        """\
seen = []
for key, sequence in requests():
    for earlier in seen:
        answer(earlier, -1)
    answer(key, value(sequence))
    seen.append(key)
""",
        in_flight=1,
    )
    for sequence in SEQUENCES:  # one batch for each, so that earlier ids are over
        check(reward.score([sequence]), [sequence])


@pytest.mark.parametrize("workers", [1, 2])
def test_killed_in_the_middle(
    make: Callable[..., Exec], workers: int, caplog: pytest.LogCaptureFixture
) -> None:
    reward = make(
        """\
for key, sequence in requests():
    if sequence == "GGG" and once("killed"):
        os.kill(os.getpid(), signal.SIGKILL)
    answer(key, value(sequence))
""",
        workers=workers,
    )
    check(reward.score(SEQUENCES), SEQUENCES)
    assert "the worker died (exit code -9)" in caplog.text


def test_a_sequence_that_kills_fails_alone(make: Callable[..., Exec]) -> None:
    reward = make(
        """\
for key, sequence in requests():
    if sequence.startswith("X"):
        os._exit(3)
    answer(key, value(sequence))
"""
    )
    sequences = ["A" + s for s in SEQUENCES] + ["XA"] + SEQUENCES + ["XC"]
    reason = "the worker died (exit code 3)"
    check(reward.score(sequences), sequences, {"XA": reason, "XC": reason})


def test_killed_while_idle(make: Callable[..., Exec], caplog: pytest.LogCaptureFixture) -> None:
    reward = make(HONEST)
    check(reward.score(SEQUENCES), SEQUENCES)
    process = reward.pool.process_ids[0]
    os.kill(process, signal.SIGKILL)
    check(reward.score(SEQUENCES), SEQUENCES)
    assert reward.pool.process_ids != [process]
    assert not exists(process)


def test_a_sequence_that_hangs_fails_alone(make: Callable[..., Exec]) -> None:
    reward = make(
        """\
signal.signal(signal.SIGTERM, signal.SIG_DFL)
for key, sequence in requests():
    if sequence == "XA":
        time.sleep(1000)
    answer(key, value(sequence))
""",
        timeout=2,
    )
    sequences = [*SEQUENCES, "XA"]
    check(reward.score(sequences), sequences, {"XA": "no answer within 2 s"})


def test_half_is_answered_then_silence(make: Callable[..., Exec]) -> None:
    reward = make(
        """\
for number, (key, sequence) in enumerate(requests()):
    if number < 3:
        answer(key, value(sequence))
""",
        timeout=2,
    )
    check(reward.score(SEQUENCES), SEQUENCES)  # the second process answers the other half


def test_dropped_items_fail_and_the_others_do_not(make: Callable[..., Exec]) -> None:
    reward = make(
        """\
for key, sequence in requests():
    if not sequence.startswith("X"):
        answer(key, value(sequence))
""",
        timeout=0.5,
        in_flight=3,
    )
    sequences = [letter + s for s in SEQUENCES for letter in "XA"]
    late = "no answer within 0.5 s"
    scores = reward.score(sequences)
    check(scores, sequences, {s: late for s in sequences if s[0] == "X"}, late)
    assert scores.errors.count(None) > 0


def test_never_an_answer_is_an_error(make: Callable[..., Exec]) -> None:
    reward = make("for line in sys.stdin: pass", timeout=0.3)
    with pytest.raises(RewardError, match=r"no answer within 0.3 s \(a worker must flush"):
        reward.score(SEQUENCES)
    assert reward.pool.process_ids == []


@pytest.mark.parametrize("workers", [1, 2])
def test_a_worker_that_cannot_run(make: Callable[..., Exec], workers: int) -> None:
    reward = make("once(str(os.getpid())); raise SystemExit('no such weights')", workers=workers)
    for count in (1, len(SEQUENCES)):
        with pytest.raises(RewardError) as caught:
            reward.score(SEQUENCES[:count])
        assert caught.value.exit_code == 4
        assert str(caught.value) == (
            "reward 'worker': the worker died (exit code 1), and nothing was ever answered: "
            "no such weights"
        )
    assert len([name for name in os.listdir() if name.isdigit()]) <= 4 * workers


def test_a_script_without_an_interpreter(tmp_path: Path) -> None:
    script = tmp_path / "worker"
    script.write_text("no shebang")
    script.chmod(0o755)
    with pytest.raises(RewardError, match=r"cannot be started: Exec format error"):
        Exec(command=str(script)).score(["A"])


def test_a_worker_that_stops_for_good(make: Callable[..., Exec]) -> None:
    reward = make(
        """\
for key, sequence in requests():
    if os.path.exists("broken"):
        once(f"failed{os.getpid()}")
        sys.exit(7)
    answer(key, value(sequence))
"""
    )
    check(reward.score(SEQUENCES), SEQUENCES)
    Path("broken").touch()
    sequences = [f"{number}" for number in range(40)]
    failed = dict.fromkeys(sequences, "the worker died (exit code 7)")
    check(reward.score(sequences), sequences, failed)
    assert len(list(Path().glob("failed*"))) <= 3  # and not two for each sequence
    Path("broken").unlink()
    check(reward.score(SEQUENCES), SEQUENCES)


def test_output_closed_by_a_living_process(make: Callable[..., Exec]) -> None:
    reward = make(
        """\
for key, sequence in requests():
    if sequence == "GGG":
        os.close(1)
        time.sleep(1000)
    answer(key, value(sequence))
"""
    )
    check(reward.score(SEQUENCES), SEQUENCES, {"GGG": "the worker closed its output"})


def test_a_line_without_an_end_is_no_answer(make: Callable[..., Exec]) -> None:
    reward = make(
        """\
for key, sequence in requests():
    if sequence == "GGG":
        sys.stdout.write('{"id": %d, "value": 1}' % key)
        sys.stdout.flush()
        os._exit(0)
    answer(key, value(sequence))
"""
    )
    check(reward.score(SEQUENCES), SEQUENCES, {"GGG": "the worker died (exit code 0)"})


def test_a_line_that_never_ends(make: Callable[..., Exec], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("designkit.rewards._workers.LONGEST_LINE", 2**20)
    reward = make(
        """\
for key, sequence in requests():
    while sequence == "GGG":
        sys.stdout.write("0" * 2**16)
    answer(key, value(sequence))
"""
    )
    check(reward.score(SEQUENCES), SEQUENCES, {"GGG": "a line of more than 1 MB"})


def test_standard_error_goes_to_the_log(
    make: Callable[..., Exec], caplog: pytest.LogCaptureFixture
) -> None:
    reward = make(
        """\
print("loading é", file=sys.stderr)
for key, sequence in requests():
    sys.stderr.write("x" * 200_000 + "\\n10%\\r20%\\n")  # more than a pipe holds
    answer(key, value(sequence))
sys.stderr.write("bye")
"""
    )
    check(reward.score(SEQUENCES), SEQUENCES)
    reward.close()
    assert caplog.messages[0] == "worker: loading é"
    assert caplog.messages.count("worker: 20%") == len(SEQUENCES)
    assert caplog.messages[-1] == "worker: bye"
    assert {record.levelno for record in caplog.records} == {logging.WARNING}


def test_huge_lines_and_unicode(make: Callable[..., Exec]) -> None:
    reward = make(
        """\
for key, sequence in requests():
    write(json.dumps({"id": key, "note": "é" * len(sequence), "value": len(sequence)},
          ensure_ascii=False))
"""
    )
    sequences = ["A" * 1_000_000, "é😀", "C" * 300_000, "G"]
    scores = reward.score(sequences)
    assert scores.values[:, 0].tolist() == [1_000_000, 2, 300_000, 1]
    assert scores.errors == [None] * 4


def test_slow_start(make: Callable[..., Exec]) -> None:
    reward = make("time.sleep(1)\n" + HONEST, timeout=15)
    check(reward.score(SEQUENCES), SEQUENCES)


def test_neither_side_waits_for_the_other(make: Callable[..., Exec]) -> None:
    # It reads nothing before it has written more than a pipe holds, and reads with pauses.
    reward = make('write("x" * 500_000)\ntime.sleep(0.3)\n' + HONEST, in_flight=1000)
    sequences = [f"{number:06d}" for number in range(20_000)]
    check(reward.score(sequences), sequences)


def test_a_slow_worker_does_not_hold_everything(make: Callable[..., Exec]) -> None:
    reward = make(
        """\
slow = once("slow")
for key, sequence in requests():
    time.sleep(0.1 if slow else 0.002)
    write(json.dumps({"id": key, "value": os.getpid()}))
""",
        workers=2,
        in_flight=1000,
    )
    processes = reward.score([f"{number:03d}" for number in range(60)]).values[:, 0].tolist()
    counts = sorted(processes.count(process) for process in set(processes))
    assert len(counts) == 2
    assert counts[0] <= 20  # it has a quarter to begin with, and not half or all


def test_workers_are_only_started_for_work(make: Callable[..., Exec]) -> None:
    reward = make(HONEST, workers=8)
    check(reward.score(["A"]), ["A"])
    assert len(reward.pool.process_ids) == 1


def test_a_worker_knows_the_alphabet(make: Callable[..., Exec]) -> None:
    reward = make(
        """\
for key, sequence in requests():
    known = [os.environ.get(f"DESIGNKIT_{name}") for name in ("ALPHABET", "PROTOCOL")]
    answer(key, float(known == ["dna", "1"]))
""",
        alphabet="dna,rna",
    )
    reward.bind(DNA)
    assert reward.info.alphabets == ("dna", "rna")
    assert reward.score(["A"]).values.tolist() == [[1]]


@pytest.mark.parametrize("ignores", ["", "signal.signal(signal.SIGTERM, signal.SIG_IGN)"])
def test_close_ends_what_the_program_started(
    make: Callable[..., Exec], ignores: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("designkit.rewards._workers._POLITE", 0.3)
    monkeypatch.setattr("designkit.rewards._program._AFTER_SIGTERM", 0.3)
    reward = make(
        f"""\
{ignores}
child = os.fork()
if child == 0:
    os.close(0)
    while True:
        time.sleep(1)
for key, sequence in requests():
    answer(key, child)
{"while True: time.sleep(1)" if ignores else ""}
"""
    )
    child = int(reward.score(["A"]).values[0, 0])
    process = reward.pool.process_ids[0]
    assert exists(child)
    begun = time.monotonic()
    reward.close()
    assert not exists(process)
    while is_running(child):
        assert time.monotonic() - begun < 20
    reward.close()  # twice is once


RUN = """\
import sys
from designkit.rewards.exec import Exec
reward = Exec(command=sys.argv[1])
reward.score(["A"])
print(*reward.pool.process_ids, flush=True)
{then}
"""


@pytest.mark.parametrize(
    ("then", "number"),
    [
        ("", None),
        ("reward.score(['HANG'])", signal.SIGINT),
        ("reward.score(['HANG'])", signal.SIGTERM),
    ],
)
def test_nothing_outlives_the_interpreter(
    make: Callable[..., Exec], then: str, number: signal.Signals | None
) -> None:
    code = """\
for key, sequence in requests():
    if sequence == "HANG":
        time.sleep(1)
    answer(key, value(sequence))
"""
    command = make(code).settings.command
    process = subprocess.Popen(
        [sys.executable, "-c", RUN.format(then=then), command],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdout is not None
    worker = int(process.stdout.readline())
    if number is not None:
        time.sleep(0.2)
        process.send_signal(number)
    process.communicate(timeout=30)
    deadline = time.monotonic() + 20
    while is_running(worker):
        assert time.monotonic() < deadline
    if number != signal.SIGTERM:  # which ends Python at once; the worker sees its input end
        assert process.returncode in (0, 130, -signal.SIGINT)


def test_a_reward_nobody_closes(make: Callable[..., Exec]) -> None:
    script = make(HONEST).settings.command
    reward = Exec(command=script)
    reward.score(["A"])
    processes = reward.pool.process_ids
    del reward
    assert not any(map(exists, processes))


def test_name_and_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("dock.sh", "weights.pt", "my worker.py", "tool"):
        (tmp_path / name).write_text("#!/bin/sh\n")
        (tmp_path / name).chmod(0o755)
    made = load_reward("exec:python 'my worker.py' --w=weights.pt dock.sh absent?workers=2")
    assert isinstance(made, Exec)
    assert made.info.name == "my_worker"
    assert made.files == tuple(tmp_path / n for n in ("my worker.py", "weights.pt", "dock.sh"))
    assert (made.settings.workers, made.info.cost, made.info.deterministic) == (
        2,
        "expensive",
        True,
    )
    assert load_reward("exec:./tool").info.name == "tool"
    assert load_reward("exec:./tool?name=affinity&unit=nM").info.outputs[0].name == "affinity"
    assert not load_reward("exec:cat?deterministic=false").info.deterministic
    monkeypatch.setenv("HOME", str(tmp_path))
    assert load_reward("exec:~/dock.sh").files == (tmp_path / "dock.sh",)  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("ref", "message"),
    [
        ("exec:", "the command is missing: exec:COMMAND"),
        ("exec:no_such_program -x", "there is no program 'no_such_program'"),
        ("exec:./worker.py", "worker.py is not executable; chmod [+]x it, or .*exec:python"),
        ("exec:./folder", "./folder is a folder, not a program"),
        ("exec:python 'w.py", "no closing quotation"),
    ],
)
def test_commands_that_cannot_be(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ref: str, message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "worker.py").touch()
    (tmp_path / "folder").mkdir()
    with pytest.raises(RewardError, match=message) as caught:
        load_reward(ref)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("ref", "command", "parameters"),
    [
        ("exec:python w.py?workers=2&timeout=5", "python w.py", {"workers": "2", "timeout": "5"}),
        ("exec1:./f?unit=%20%27%26%3F%25", "./f", {"unit": " '&?%"}),
        ("exec:./f --x=?a=1?timeout=5", "./f --x=?a=1", {"timeout": "5"}),
        ("exec1:curl 'http://x/?a=1&b=2'", "curl 'http://x/?a=1&b=2'", {}),
        ("""exec1:awk '{print $1"\t"($2==""?a="1":b=2)}'""", None, {}),
        ("exec:./f a? b", "./f a? b", {}),
        ("exec:./f 100%?timeout=5", "./f 100%", {"timeout": "5"}),
    ],
)
def test_parameters_of_a_command(ref: str, command: str | None, parameters: dict[str, str]) -> None:
    source, found = split_reference(ref)
    assert source.partition(":")[2] == (command or ref.partition(":")[2])
    assert found == parameters
    assert split_reference(written_reference(source, found)) == (source, found)


@pytest.mark.parametrize(
    "query", ["workers=0", "timeout=0", "in_flight=0", "wrkers=2", "outputs=a,,b"]
)
def test_parameters_are_checked(query: str) -> None:
    with pytest.raises(ConfigurationError):
        load_reward(f"exec:cat?{query}")


# What the worker of the property does with a sequence is its first letter.
ADVERSARY = """\
import select
held, old = [], []
def release():
    while held:
        key, sequence = held.pop()
        answer(key, value(sequence))
buffer = b""
while True:
    if not select.select([0], [], [], 0.01)[0]:
        release()
        continue
    chunk = os.read(0, 65536)
    if not chunk:
        break
    *lines, buffer = (buffer + chunk).split(b"\\n")
    for line in lines:
        item = json.loads(line)
        key, sequence = item["id"], item["sequence"]
        old.append(key)
        action, number = sequence[:1], value(sequence)
        good = json.dumps({"id": key, "value": number})
        if action == "D":
            continue
        elif action == "H":
            held.append((key, sequence))
        elif action == "K":
            os._exit(1)
        elif action == "U":
            write(good + "\\n" + good)
        elif action == "C":
            write(good + "\\n" + json.dumps({"id": key, "value": number + 1}))
        elif action == "E":
            write(json.dumps({"id": key, "error": "no"}))
        elif action == "G":
            write("garbage " + good + "\\n" + good[:5] + "\\n" + good)
        elif action == "F":  # ids of earlier batches, and of none
            for wrong in [*[k for k in old if k < key - 100][-20:], key + 1000, -1]:
                answer(wrong, number)
            write(good)
        else:
            write(good)
        if len(held) > 3:
            release()
"""


@pytest.fixture(scope="module")
def adversaries(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Exec]]:
    script = tmp_path_factory.mktemp("adversary") / "adversary.py"
    script.write_text(PRELUDE + ADVERSARY)
    command = f"{PYTHON} {script}"
    rewards = [
        Exec(command=command, timeout=timeout, workers=workers, in_flight=in_flight)
        for workers, in_flight, timeout in ((1, 1, 20), (1, 8, 20), (3, 4, 20), (2, 8, 0.5))
    ]
    for reward in rewards:
        reward.score(["N"])
    yield rewards
    for reward in rewards:
        reward.close()


ACTIONS = st.sampled_from("NNNNNHHHUGECF")
TAILS = st.text("ACGT", max_size=4)


def check_adversary(reward: Exec, sequences: list[str], late: str = "never") -> None:
    scores = reward.score(sequences)
    assert scores.values.shape == (len(sequences), 1)
    reasons = {"E": "no", "C": "answered twice", "D": "no answer within", "K": "the worker died"}
    check(scores, sequences, {s: reasons[s[0]] for s in sequences if s[0] in reasons}, late)


@given(
    which=st.integers(0, 2),
    sequences=st.lists(st.tuples(ACTIONS, TAILS).map("".join), max_size=30),
    fatal=st.lists(TAILS.map("K".__add__), max_size=1),
    place=st.integers(0, 30),
)
@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_every_score_is_its_own(
    adversaries: list[Exec], which: int, sequences: list[str], fatal: list[str], place: int
) -> None:
    check_adversary(adversaries[which], sequences[:place] + fatal + sequences[place:])


@given(sequences=st.lists(st.tuples(ACTIONS, TAILS).map("".join), max_size=30))
@settings(max_examples=3, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_every_score_is_its_own_when_some_are_dropped(
    adversaries: list[Exec], sequences: list[str]
) -> None:
    check_adversary(adversaries[3], [*sequences, "DA", *sequences], "no answer within")
