"""Programs that are run for a batch: tables in and out, joined by id, and what may go wrong."""

from __future__ import annotations

import os
import shlex
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from designkit.errors import ConfigurationError, RewardError
from designkit.rewards import Scores, load_reward, score_all
from designkit.rewards.exec1 import Exec1
from tests.rewards.examples import Example, is_running, random_sequences

PYTHON = f"{shlex.quote(sys.executable)} -I -S"
AWK = r"""awk -F"\t" '{print $1"\t"length($2)}'"""
PRELUDE = """\
import os, signal, sys, time
open("runs", "a").write("x")

def value(sequence):
    return int.from_bytes(sequence.encode(), "big")

rows = [line.rstrip("\\n").split("\\t") for line in sys.stdin]
"""
SEQUENCES = ["A", "CG", "GGG", "TTT", "AC", "CA"]


def value(sequence: str) -> int:
    """What the programs here answer: different for different sequences of up to six letters."""
    return int.from_bytes(sequence.encode(), "big")


def examples(folder: Path) -> list[Example]:
    count = r"""awk -F"\t" '{print $1"\t"gsub(/G/, "", $2)}'"""
    sequences = random_sequences()
    return [Example(f"exec1:{count}{query}", sequences) for query in ("", "?max_batch=7")]


@pytest.fixture
def make(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Exec1]:
    """A reward of a program with this code; the folder is the test's own."""
    monkeypatch.chdir(tmp_path)

    def make_program(code: str, **parameters: object) -> Exec1:
        script = tmp_path / "program.py"
        script.write_text(PRELUDE + code)
        return Exec1(command=f"{PYTHON} {script}", **{"timeout": 20, **parameters})

    return make_program


def runs() -> int:
    """How often the program was started in this test."""
    return len(Path("runs").read_text())


def check(scores: Scores, sequences: list[str], failed: dict[str, str] | None = None) -> None:
    """All have their own value, but for those that failed, with these reasons."""
    for sequence, row, error in zip(sequences, scores.values, scores.errors, strict=True):
        if failed and sequence in failed:
            assert np.isnan(row).all()
            assert error is not None
            assert failed[sequence] in error
        else:
            assert (row[0], error) == (value(sequence), None)


def test_awk() -> None:
    made = load_reward(f"exec1:{AWK}")
    assert made.info.name == "awk"
    assert made.score(["ACGT", "", "GG"]).values.tolist() == [[4], [0], [2]]
    assert made.score([]).values.shape == (0, 1)


def test_a_question_mark_in_a_command() -> None:
    made = load_reward("""exec1:awk -F"\\t" '{print $1"\\t"($2=="A"?x=5:2)}'""")
    assert made.score(["A", "ACGT"]).values.tolist() == [[5], [2]]


def test_any_order_and_one_run(make: Callable[..., Exec1]) -> None:
    reward = make(
        """\
for key, sequence in reversed(rows):
    print(key, value(sequence), sep="\\t", end="\\r\\n")
"""
    )
    check(reward.score(SEQUENCES), SEQUENCES)
    assert runs() == 1


def test_max_batch(make: Callable[..., Exec1]) -> None:
    reward = make('print(*(f"{k}\\t{value(s)}" for k, s in rows), sep="\\n", end="")', max_batch=4)
    assert reward.info.max_batch == 4
    check(reward.score(SEQUENCES), SEQUENCES)
    assert runs() == 2


def test_header(make: Callable[..., Exec1]) -> None:
    reward = make(
        """\
assert rows[0] == ["id", "sequence"]
print("id\\taffinity")
for key, sequence in rows[1:]:
    print(key, value(sequence), sep="\\t")
""",
        header=True,
    )
    check(reward.score(SEQUENCES), SEQUENCES)


def test_several_outputs(make: Callable[..., Exec1]) -> None:
    reward = make(
        """\
for key, sequence in rows:
    cells = {"CG": ["1"], "AC": ["NA", "1"], "CA": ["3", ""]}.get(sequence, ["1.5", "-2e3"])
    print(key, *cells, sep="\\t")
""",
        outputs="a,b",
    )
    assert [output.name for output in reward.info.outputs] == ["a", "b"]
    scores = reward.score(["A", "CG", "AC", "CA"])
    nan = np.nan
    np.testing.assert_array_equal(scores.values[[0, 1, 3]], [[1.5, -2000], [nan, nan], [3, nan]])
    assert np.isnan(scores.values[2, 0])
    assert scores.errors == [
        None,
        "the program wrote 2 columns, not 3",
        "the program gave no score",
        None,
    ]


@pytest.mark.parametrize(
    ("cells", "reason"),
    [
        ("nan", "no score"),
        ("", "no score"),
        ("inf", "returned inf"),
        ("-1e999", "returned -inf"),
        ("1_000", "returned 1_000, not a number"),
        ("high", "returned high, not a number"),
        ("1\\t2", "3 columns, not 2"),
        ("1\\n%s\\t2", "answered twice"),
    ],
)
def test_cells_that_are_no_score(make: Callable[..., Exec1], cells: str, reason: str) -> None:
    reward = make(
        f"""\
for key, sequence in rows:
    print(key, ("{cells}".replace("%s", key)) if sequence == "CG" else value(sequence), sep="\\t")
"""
    )
    check(reward.score(SEQUENCES), SEQUENCES, {"CG": reason})
    check(score_all(reward, SEQUENCES), SEQUENCES, {"CG": reason})


def test_lines_that_are_no_answers(
    make: Callable[..., Exec1], caplog: pytest.LogCaptureFixture
) -> None:
    reward = make(
        """\
print("docking ...")
print("é", file=sys.stderr)
for key, sequence in rows:
    if sequence == "CG":
        continue
    print(f"{int(key) + 1000}\\t7\\n-1\\t7\\n{key}.0\\t7\\n x\\t7\\n\\n{'9' * 5000}\\t7")
    print(key, value(sequence), sep="\\t")
    print(key, value(sequence), sep="\\t")  # the same again
"""
    )
    for _ in range(2):  # the ids of the second run are not those of the first
        check(reward.score(SEQUENCES), SEQUENCES, {"CG": "wrote no line for it"})
    wrong = "no line id<TAB>value with an id of this run, ignored: docking ..."
    assert any(wrong in message for message in caplog.messages)
    assert "program: é" in caplog.messages
    assert len(caplog.messages) < 15


def test_ids_are_never_used_again(make: Callable[..., Exec1]) -> None:
    reward = make(
        """\
with open("ids", "a+") as note:
    note.seek(0)
    for earlier in note.read().split():
        print(earlier, 7, sep="\\t")
    for key, sequence in rows:
        print(key, value(sequence), sep="\\t")
        print(key, file=note)
""",
        max_batch=2,
    )
    check(reward.score(SEQUENCES), SEQUENCES)
    check(reward.score(SEQUENCES), SEQUENCES)


def test_a_failing_run_that_answered_everything_counts(make: Callable[..., Exec1]) -> None:
    reward = make('print(*(f"{k}\\t{value(s)}" for k, s in rows), sep="\\n"); sys.exit(2)')
    check(reward.score(SEQUENCES), SEQUENCES)
    assert runs() == 1


def test_a_truncated_number_does_not_count(make: Callable[..., Exec1]) -> None:
    reward = make(
        """\
print(rows[0][0], value(rows[0][1]), sep="\\t")
if len(rows) > 1:
    print(rows[1][0], 12, sep="\\t", end="", flush=True)  # of 123
    os._exit(1)
"""
    )
    check(reward.score(SEQUENCES), SEQUENCES)
    assert runs() == len(SEQUENCES)


@pytest.mark.parametrize("how", ["sys.exit('ValueError: bad X')", "os.kill(os.getpid(), 9)"])
def test_the_sequence_at_fault_is_found_by_halves(make: Callable[..., Exec1], how: str) -> None:
    reward = make(
        f"""\
if any(sequence.startswith("X") for key, sequence in rows):
    {how}
for key, sequence in rows:
    print(key, value(sequence), sep="\\t")
"""
    )
    sequences = [*(f"{number:03d}" for number in range(26)), "X", *SEQUENCES]
    reason = "(exit code 1): ValueError: bad X" if "exit" in how else "(exit code -9)"
    check(reward.score(sequences), sequences, {"X": f"the program failed {reason}"})
    assert runs() <= 2 * 6 + 1  # 33 sequences are halved at most six times


def test_a_stop_in_the_middle_costs_one_sequence(make: Callable[..., Exec1]) -> None:
    reward = make(
        """\
for key, sequence in rows:
    assert sequence[0] != "X", "bad sequence"
    print(key, value(sequence), sep="\\t")
"""
    )
    sequences = [*SEQUENCES, "X", *("A" + s for s in SEQUENCES)]
    check(reward.score(sequences), sequences, {"X": "AssertionError: bad sequence"})
    assert runs() <= 6


def test_a_program_that_always_fails_is_not_run_thousands_of_times(
    make: Callable[..., Exec1],
) -> None:
    reward = make("sys.exit('no licence')")
    with pytest.raises(RewardError, match=r"exit code 1.*nothing was ever answered: no licence"):
        reward.score([f"{number}" for number in range(1000)])
    assert runs() <= 12  # halved ten times


def test_a_program_that_fails_from_some_time_on(
    make: Callable[..., Exec1], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("designkit.rewards.exec1.FAILED_RUNS", 10)
    reward = make(
        """\
if os.path.exists("broken"):
    sys.exit(7)
for key, sequence in rows:
    print(key, value(sequence), sep="\\t")
"""
    )
    sequences = [f"{number}" for number in range(50)]
    check(reward.score(sequences), sequences)
    Path("broken").touch()
    check(reward.score(sequences), sequences, dict.fromkeys(sequences, "exit code 7"))
    assert runs() <= 1 + 10 + 6  # the halves that are left are tried once


def test_time_out_keeps_what_was_answered(make: Callable[..., Exec1]) -> None:
    reward = make(
        """\
for key, sequence in rows[:3]:
    print(key, value(sequence), sep="\\t", flush=True)
print(rows[3][0], 12, sep="\\t", end="", flush=True)
time.sleep(1000)
""",
        timeout=1,
    )
    late = dict.fromkeys(SEQUENCES[3:], "the program took more than 1 s")
    check(reward.score(SEQUENCES), SEQUENCES, late)
    assert runs() == 1


def test_input_that_nobody_reads() -> None:
    reward = Exec1(command="sh -c 'exec 0<&-; printf \"0\\t5\\n\"'")
    scores = reward.score(["A" * 1_000_000, "C"])
    assert scores.values[0, 0] == 5
    assert scores.errors == [None, "the program wrote no line for it"]


def test_what_the_program_leaves_behind_is_ended(tmp_path: Path) -> None:
    # The one in the background holds the output open: without an end to it there is no end.
    note = tmp_path / "child"
    reward = Exec1(command=f"sh -c 'sleep 1000 & echo $! > {note}; cat > /dev/null; echo \"0\t5\"'")
    begun = time.monotonic()
    assert reward.score(["A"]).values.tolist() == [[5]]
    assert time.monotonic() - begun < 20
    child = int(note.read_text())
    while is_running(child):
        assert time.monotonic() - begun < 20


def test_a_line_that_never_ends(
    make: Callable[..., Exec1], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("designkit.rewards.exec1.LONGEST_LINE", 2**20)
    reward = make('while True: sys.stdout.write("0" * 2**16)')
    assert reward.score(["A"]).errors == ["the program wrote a line of more than 1 MB"]


def test_standard_error_larger_than_a_pipe(make: Callable[..., Exec1]) -> None:
    reward = make(
        """\
sys.stderr.write("x" * 1_000_000)
print(*(f"{k}\\t{value(s)}" for k, s in rows), sep="\\n")
"""
    )
    check(reward.score(SEQUENCES), SEQUENCES)


def test_commands_and_parameters_are_checked(tmp_path: Path) -> None:
    with pytest.raises(RewardError, match="no program 'no_such_program'"):
        load_reward("exec1:no_such_program")
    with pytest.raises(RewardError, match="the command is missing: exec1:COMMAND"):
        load_reward("exec1:?timeout=3")
    for query in ("timeout=0", "max_batch=0", "workers=2"):
        with pytest.raises(ConfigurationError):
            load_reward(f"exec1:cat?{query}")


ADVERSARY = """\
import random
source = random.Random(repr([s for k, s in rows]))
source.shuffle(rows)
for key, sequence in rows:
    action, number = sequence[:1], value(sequence)
    good = f"{key}\\t{number}"
    if action == "K":
        sys.exit(1)
    print({"D": "", "U": good + "\\n" + good, "C": good + "\\n" + good + "9", "E": key + "\\tno",
           "G": "garbage\\t" + good + "\\n" + str(int(key) + 1000) + "\\t1\\n" + good,
           "T": key}.get(action, good), flush=True)
"""


@given(
    sequences=st.lists(
        st.tuples(st.sampled_from("NNNNUGCEDT"), st.text("ACGT", max_size=4)).map("".join),
        max_size=30,
    ),
    fatal=st.booleans(),
)
@settings(
    max_examples=15,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
def test_every_score_is_its_own(
    make: Callable[..., Exec1], sequences: list[str], fatal: bool
) -> None:
    reward = make(ADVERSARY)
    reward.score(["N"])
    sequences = sequences[::2] + ["K"] * fatal + sequences[1::2]
    reasons = {"D": "no line", "C": "answered twice", "E": "not a number", "T": "1 columns"}
    reasons["K"] = "exit code 1"
    failed = {s: reasons[s[0]] for s in sequences if s[0] in reasons}
    if fatal:  # then those it wrote no line for may also be alone when it fails
        failed = {s: "" if s[0] == "D" else reason for s, reason in failed.items()}
    check(reward.score(sequences), sequences, failed)


def test_the_environment_is_kept(
    make: Callable[..., Exec1], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MY_TOOL_HOME", "7")
    reward = make('print(rows[0][0], os.environ["MY_TOOL_HOME"], sep="\\t")')
    assert reward.score(["A"]).values.tolist() == [[7]]
    assert "DESIGNKIT_PROTOCOL" not in os.environ
