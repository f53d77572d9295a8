from __future__ import annotations

import errno
import gzip
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from designkit.errors import OutputError, UsageError
from designkit.io.designs import DesignWriter, is_complete
from designkit.io.sequences import read_sequences, read_table

FRAME = pd.DataFrame(
    {
        "id": ["a", "b c", "d"],
        "sequence": ["ACGT", "GG", "TTT"],
        "reward": [0.123456789, np.nan, 1e-9],
        "round": [1.0, np.nan, 12345678.0],
        "seed": [7, 8, 9],
        "note": ["x, y", 'say "50%"', None],
    }
)
EXPECTED = {
    "fasta": (
        ">a reward=0.123457 round=1 seed=7 note=x,%20y\nACGT\n"
        '>b%20c seed=8 note=say%20"50%25"\nGG\n'
        ">d reward=1e-09 round=12345678 seed=9\nTTT\n"
    ),
    "csv": (
        'id,sequence,reward,round,seed,note\na,ACGT,0.123457,1,7,"x, y"\n'
        'b c,GG,,,8,"say ""50%"""\nd,TTT,1e-09,12345678,9,\n'
    ),
    "tsv": (
        "id\tsequence\treward\tround\tseed\tnote\na\tACGT\t0.123457\t1\t7\tx, y\n"
        'b c\tGG\t\t\t8\t"say ""50%"""\nd\tTTT\t1e-09\t12345678\t9\t\n'
    ),
    "jsonl": (
        '{"id": "a", "sequence": "ACGT", "reward": 0.123457, "round": 1, "seed": 7, '
        '"note": "x, y"}\n'
        '{"id": "b c", "sequence": "GG", "reward": null, "round": null, "seed": 8, '
        '"note": "say \\"50%\\""}\n'
        '{"id": "d", "sequence": "TTT", "reward": 1e-09, "round": 12345678, "seed": 9, '
        '"note": null}\n'
    ),
}
KINDS = list(EXPECTED)


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def content(path) -> str:
    data = path.read_bytes()
    return (gzip.decompress(data) if path.name.endswith("gz") else data).decode()


def numbered(start: int, stop: int) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "id": [f"s{i}" for i in range(start, stop)],
            "sequence": ["ACGT"] * (stop - start),
            "note": [f'"{i}",\nline' for i in range(start, stop)],
        }
    )


def write_all(target, *frames, stop=None, **options) -> DesignWriter:
    with DesignWriter(target, **options) as writer:
        for frame in frames:
            writer.write(frame)
        if stop is not None:
            raise stop
    return writer


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_formats(folder, kind, suffix):
    with DesignWriter(f"out.{kind}{suffix}") as writer:
        writer.write(FRAME[:2])
        writer.write(FRAME[2:])
        assert not (folder / f"out.{kind}{suffix}").exists()
    assert content(folder / f"out.{kind}{suffix}") == EXPECTED[kind]
    assert os.listdir(folder) == [f"out.{kind}{suffix}"]
    assert writer.rows_written == 3


@pytest.mark.parametrize("kind", KINDS)
def test_round_trip(kind):
    with DesignWriter(f"out.{kind}") as writer:
        writer.write(FRAME)
    frame = read_table(f"out.{kind}")
    assert frame["id"].tolist() == ["a", "b c", "d"]
    assert frame["note"].tolist()[:2] == ["x, y", 'say "50%"']
    assert frame["reward"].tolist() == pytest.approx([0.123457, np.nan, 1e-9], nan_ok=True)
    assert frame["seed"].tolist() == [7, 8, 9]


texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=8)


@pytest.mark.parametrize("kind", KINDS)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(data=st.data())
def test_any_text_survives(kind, data):
    names = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1)
    column = data.draw(names.filter(lambda name: name not in ("id", "sequence", "description")))
    count = data.draw(st.integers(1, 5))
    frame = pd.DataFrame(
        {
            "id": data.draw(st.lists(texts.filter(bool), min_size=count, max_size=count)),
            "sequence": data.draw(
                st.lists(st.text("ACGT", min_size=1), min_size=count, max_size=count)
            ),
            column: data.draw(st.lists(texts, min_size=count, max_size=count)),
        }
    )
    with DesignWriter(f"any.{kind}", force=True) as writer:
        writer.write(frame)
    (back,) = read_sequences(f"any.{kind}")
    assert back["id"].tolist() == frame["id"].tolist()
    assert back["sequence"].tolist() == frame["sequence"].tolist()
    values = back[column].tolist() if column in back else [None] * count
    assert [value or "" for value in values] == frame[column].tolist()


def test_columns_are_chosen_and_ordered(folder):
    with DesignWriter("out.csv", columns=["sequence", "gc", "id"]) as writer:
        writer.write(FRAME[:1])
    assert content(folder / "out.csv") == "sequence,gc,id\nACGT,,a\n"


def test_header_is_written_without_rows(folder):
    with DesignWriter("out.csv", columns=["id", "sequence"]):
        pass
    assert content(folder / "out.csv") == "id,sequence\n"


def test_late_column_is_refused():
    with pytest.raises(OutputError) as caught:
        write_all("out.csv", FRAME[["id", "sequence"]], FRAME)
    assert str(caught.value) == (
        "out.csv: column 'reward' appears after the header was written; "
        "write to another file, or as JSON lines"
    )


def test_infinities_and_structures_in_json(folder):
    with DesignWriter("out.jsonl") as writer:
        writer.write(pd.DataFrame({"id": ["a"], "x": [np.inf], "y": [True], "z": [[1, 2]]}))
    assert content(folder / "out.jsonl") == '{"id": "a", "x": "inf", "y": true, "z": [1, 2]}\n'


# ---------------------------------------------------------------- refusals


def refusal(*arguments, **options) -> str:
    with pytest.raises(UsageError) as caught:
        DesignWriter(*arguments, **options).__enter__()
    assert caught.value.exit_code == 2
    return str(caught.value)


def test_refusals(folder):
    (folder / "old.csv").write_text("id,sequence\n")
    (folder / "folder.csv").mkdir()
    (folder / "half.csv.part").write_text("id,sequence\na,ACGT\n")
    assert refusal("old.csv") == (
        "old.csv: exists already; --force replaces it, --append adds to it"
    )
    assert refusal("half.csv") == (
        "half.csv.part: left by an interrupted run; --resume continues it, --force starts again"
    )
    assert refusal("old.csv", resume=True) == "old.csv: already complete; nothing to resume"
    assert refusal("folder.csv") == "folder.csv: is a folder; name a file in it"
    assert refusal("no/out.csv").endswith("/no does not exist; create it first")
    assert refusal("out.csv", force=True, append=True) == (
        "--force replaces an output, --append adds to it; choose one"
    )
    assert refusal("out.txt") == (
        "out.txt: the name does not tell the format; end it in .fasta, .csv, .tsv or .jsonl "
        "(.gz may follow), or pass --format"
    )
    assert refusal("out.csv", format="xlsx") == (
        "--format xlsx: unknown format; choose from fasta, csv, tsv, jsonl"
    )
    assert refusal("-", resume=True) == "--resume needs an output file; - is a stream"
    assert sorted(os.listdir(folder)) == ["folder.csv", "half.csv.part", "old.csv"]


@pytest.mark.skipif(os.geteuid() != 0, reason="changes the user for a moment")
def test_folder_without_permission(folder):
    os.seteuid(65534)
    try:
        message = refusal("/out.csv")
    finally:
        os.seteuid(0)
    assert message == "/out.csv: the folder / is not writable"


def test_one_writer_for_one_file():
    with DesignWriter("out.csv", force=True) as first:
        first.write(FRAME)
        assert refusal("out.csv", force=True) == "out.csv: another run is writing it"


def test_existing_output_stays_until_the_end(folder):
    (folder / "out.csv").write_text("old")
    with DesignWriter("out.csv", force=True) as writer:
        writer.write(FRAME)
        assert (folder / "out.csv").read_text() == "old"
    assert content(folder / "out.csv") == EXPECTED["csv"]


def test_symbolic_link_keeps_pointing(folder):
    (folder / "real.csv").write_text("old")
    (folder / "out.csv").symlink_to("real.csv")
    with DesignWriter("out.csv", force=True) as writer:
        writer.write(FRAME)
    assert (folder / "out.csv").is_symlink()
    assert content(folder / "real.csv") == EXPECTED["csv"]


# ---------------------------------------------------------------- interruptions


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("suffix", ["", ".gz"])
@pytest.mark.parametrize("cut", [1, 5, 12, 20])
def test_torn_last_row_is_written_again(folder, kind, suffix, cut):
    name = f"out.{kind}{suffix}"
    with DesignWriter("whole." + name) as writer:
        writer.write(numbered(0, 6))
    with pytest.raises(KeyboardInterrupt):
        write_all(name, *(numbered(i, i + 1) for i in range(4)), stop=KeyboardInterrupt())
    part = folder / (name + ".part")
    part.write_bytes(part.read_bytes()[:-cut])
    with DesignWriter(name, resume=True) as writer:
        assert writer.rows_resumed == 3
        writer.write(numbered(writer.rows_resumed, 6))
    assert content(folder / name) == content(folder / ("whole." + name))
    assert not part.exists()


def test_interruption_says_what_is_kept(folder):
    with pytest.raises(KeyboardInterrupt) as caught:
        write_all("out.csv", FRAME, stop=KeyboardInterrupt())
    assert caught.value.__notes__ == [
        "3 rows are kept in out.csv.part, --resume continues from there"
    ]
    assert content(folder / "out.csv.part") == EXPECTED["csv"]


def test_interruption_before_the_first_row_leaves_nothing(folder):
    with pytest.raises(KeyboardInterrupt):
        write_all("out.csv", columns=["id"], stop=KeyboardInterrupt())
    assert os.listdir(folder) == []


def test_resume_with_nothing_to_resume_starts(folder):
    with DesignWriter("out.csv", resume=True) as writer:
        assert writer.rows_resumed == 0
        writer.write(FRAME)
    assert content(folder / "out.csv") == EXPECTED["csv"]


def test_completeness(folder):
    assert not is_complete("out.csv")
    assert not is_complete("-")
    with pytest.raises(KeyboardInterrupt):
        write_all("out.csv", FRAME, stop=KeyboardInterrupt())
    assert not is_complete("out.csv")
    write_all("out.csv", FRAME, resume=True)
    assert is_complete("out.csv")


def test_resume_with_other_columns_is_refused(folder):
    (folder / "out.csv.part").write_text("id,sequence\na,ACGT\n")
    assert refusal("out.csv", resume=True, columns=["id", "gc"]) == (
        "out.csv: has no column 'gc' (columns: id, sequence); write to another file"
    )
    assert (folder / "out.csv.part").read_text() == "id,sequence\na,ACGT\n"


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_append_then_resume_of_append(folder, kind, suffix):
    name = f"out.{kind}{suffix}"
    with DesignWriter(name) as writer:
        writer.write(numbered(0, 2))
    before = (folder / name).read_bytes()
    with pytest.raises(KeyboardInterrupt):
        write_all(name, numbered(2, 3), append=True, stop=KeyboardInterrupt())
    assert (folder / name).read_bytes() == before
    with DesignWriter(name, append=True, resume=True) as writer:
        assert writer.rows_resumed == 1
        writer.write(numbered(3, 5))
    assert read_table(name)["id"].tolist() == ["s0", "s1", "s2", "s3", "s4"]


def test_append_to_a_file_without_last_line_end(folder):
    (folder / "out.csv").write_text("sequence,id\nACGT,x")
    with DesignWriter("out.csv", append=True) as writer:
        writer.write(FRAME[["id", "sequence"]][:1])
    assert content(folder / "out.csv") == "sequence,id\nACGT,x\nACGT,a\n"


@pytest.mark.parametrize("suffix", ["", ".gz"])
@pytest.mark.parametrize("other", KINDS)
@pytest.mark.parametrize("kind", KINDS)
def test_a_file_is_continued_in_its_own_format_only(folder, kind, other, suffix):
    name = f"out.{kind}{suffix}"
    write_all(name, numbered(0, 2))
    (folder / f"part.{kind}{suffix}.part").write_bytes((folder / name).read_bytes())
    before = (folder / name).read_bytes()
    if kind == other:
        write_all(name, numbered(2, 3), append=True, format=other)
        assert len(read_table(name)) == 3
        return
    expected = f"{name}: is {kind}; cannot continue it as {other}"
    assert refusal(name, append=True, format=other).endswith(expected)
    assert (folder / name).read_bytes() == before
    assert not (folder / f"{name}.part").exists()
    refused = refusal(f"part.{kind}{suffix}", resume=True, format=other)
    assert refused.endswith(f"part.{kind}{suffix}.part: is {kind}; cannot continue it as {other}")


def test_what_a_file_holds_counts_and_not_its_name(folder):
    write_all("out.csv", numbered(0, 2), format="tsv")
    write_all("out.csv", numbered(2, 3), append=True, format="tsv")
    assert len(read_table("out.csv", input_format="tsv")) == 3
    assert "is tsv; cannot continue it as csv" in refusal("out.csv", append=True)
    (folder / "one.csv").write_text("sequence\nACGT\n")  # one column: csv and tsv alike
    assert "is csv or tsv" in refusal("one.csv", append=True, format="fasta")
    write_all("one.csv", numbered(0, 1)[["sequence"]], append=True)
    (folder / "empty.fa").touch()
    write_all("empty.fa", numbered(0, 1)[["sequence"]], append=True, format="csv")
    assert (folder / "empty.fa").read_text() == "sequence\nACGT\n"


# ---------------------------------------------------------------- disks and pipes


@pytest.mark.parametrize("kind", KINDS)
def test_full_disk_leaves_whole_rows(folder, monkeypatch, kind):
    real_write, calls = os.write, []

    def write(descriptor, data):
        if len(calls) == 2:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        calls.append(1)
        return real_write(descriptor, bytes(data)[: 10 if len(calls) == 2 else None])

    monkeypatch.setattr(os, "write", write)
    with pytest.raises(OutputError) as caught:
        write_all(f"out.{kind}", numbered(0, 2), numbered(2, 4))
    monkeypatch.undo()
    os.chdir(folder)
    assert str(caught.value) == (
        f"out.{kind}: cannot be written: no space left on device; "
        f"2 rows are kept in out.{kind}.part, --resume continues from there"
    )
    assert len(read_table(f"out.{kind}.part", input_format=kind)) == 2
    with DesignWriter(f"out.{kind}", resume=True) as writer:
        writer.write(numbered(writer.rows_resumed, 4))
    assert read_table(f"out.{kind}")["id"].tolist() == ["s0", "s1", "s2", "s3"]


@pytest.mark.skipif(os.geteuid() != 0, reason="mounts a small file system")
def test_full_file_system(folder):
    disk = folder / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(disk)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("mounting is not allowed here")
    try:
        with pytest.raises(OutputError, match=r"no space left on device; \d+ rows are kept"):
            write_all("disk/out.csv", *[numbered(0, 300)] * 20)
        assert len(read_table("disk/out.csv.part", input_format="csv")) % 300 == 0
    finally:
        subprocess.run(["umount", str(disk)], check=True)


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="Linux only")
def test_devices_are_written_to_and_not_replaced():
    with pytest.raises(OutputError) as caught:
        write_all("/dev/full", FRAME)
    assert str(caught.value) == "/dev/full: cannot be written: no space left on device"
    with DesignWriter("/dev/null") as writer:
        writer.write(FRAME)
    assert not os.path.isfile("/dev/null")


def test_standard_output_is_flushed(capfdbinary):
    with DesignWriter("-", format="tsv") as writer:
        writer.write(FRAME[:1])
        first = capfdbinary.readouterr().out
        writer.write(FRAME[1:])
    assert (first + capfdbinary.readouterr().out).decode() == EXPECTED["tsv"]
    assert first.count(b"\n") == 2


def test_closed_pipe_is_passed_on():
    script = (
        "import pandas as pd, sys, os\n"
        "from designkit.io.designs import DesignWriter, is_complete\n"
        "frame = pd.DataFrame({'id': ['a'] * 1000, 'sequence': ['ACGT'] * 1000})\n"
        "try:\n"
        "    with DesignWriter('-') as writer:\n"
        "        while True: writer.write(frame)\n"
        "except BrokenPipeError:\n"
        "    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)\n"
        "    sys.exit(42)\n"
    )
    root = str(Path(__file__).parents[2])
    with subprocess.Popen(
        [sys.executable, "-c", script],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": root},
    ) as process:
        assert process.stdout.readline() == b">a\n"
        process.stdout.close()
        assert process.wait(timeout=60) == 42
        assert process.stderr.read() == b""
