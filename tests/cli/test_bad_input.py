"""Whatever is wrong ends in one line that names it, the right exit code, and no output file."""

from __future__ import annotations

import contextlib
import gzip
import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

GOOD = "ACGTACGTACGTACGTACGT"


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, models: Path) -> Path:
    """Each test works in a folder of its own, where the tiny models are known."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def refuse(run, folder: Path):
    """Run a command that must fail: one line on standard error, nothing under the final name."""

    def check(line: str, code: int, *words: str, stdin: str | bytes = "", errors: int = 1) -> str:
        outcome = run(*line.split(), stdin=stdin)
        said = outcome.stderr.splitlines()
        assert outcome.exit_code == code, outcome.stderr
        assert len(said) == errors, said
        assert all(text.startswith("designkit: error: ") for text in said)
        for word in words:
            assert word in outcome.stderr
        assert outcome.stdout == ""
        assert not (folder / "out.csv").exists()
        assert not (folder / "out.csv.part").exists()
        return outcome.stderr

    return check


LETTERS = [
    ("low.fa", ">a\nACGT\n>b\nACgT\n", "dna", ("low.fa: record b", "position 3", "--uppercase")),
    ("u.fa", ">a\nACGU\n", "dna", ("u.fa: record a", "position 4", "'U'", "--convert-t-u")),
    ("t.fa", ">a\nACGT\n", "rna", ("t.fa: record a", "position 4", "'T'", "--convert-t-u")),
    ("stop.fa", ">a\nMK*\n", "protein", ("stop.fa: record a", "position 3", "stop codon")),
    ("gap.csv", "id,sequence\nx,AC-T\n", "dna", ("gap.csv: record x (line 2)", "position 3")),
    ("n.tsv", "id\tsequence\nx\tACN\n", "dna", ("n.tsv: record x", "--on-invalid skip")),
]


@pytest.mark.parametrize(("name", "text", "alphabet", "words"), LETTERS, ids=lambda v: str(v)[:8])
def test_letters(refuse, name: str, text: str, alphabet: str, words: tuple[str, ...]) -> None:
    Path(name).write_text(text)
    reward = "./plain.py:plain"
    Path("plain.py").write_text(
        "from designkit.rewards import reward\n"
        "@reward\ndef plain(sequences):\n    return [1.0] * len(sequences)\n"
    )
    refuse(f"score {name} --alphabet {alphabet} --reward {reward} -o out.csv", 3, *words)


FILES = [
    ("empty.fa", b"", "", ("empty.fa: the input is empty",)),
    ("blank.fa", b"\n\n", "", ("blank.fa: the input is empty",)),
    ("header.csv", b"id,sequence\n", "", ("header.csv", "no usable sequence")),
    ("name.fa", b">only a name\n", "", ("name.fa: record only",)),
    ("ragged.csv", b"id,sequence,x\na,ACGT,1\nb,ACGT\n", "", ("ragged.csv", "line 3")),
    ("seq.csv", b"id,seq\na,ACGT\n", "", ("no column 'sequence'", "did you mean 'seq'?")),
    ("other.csv", b"id,sequence\na,ACGT\n", "--column seqence", ("did you mean 'sequence'?",)),
    ("cut.fa.gz", gzip.compress(b">a\nACGT\n" * 999)[:-20], "", ("cut.fa.gz", "truncated")),
    ("text.fa.gz", b">a\nACGT\n", "", ("text.fa.gz", "not gzip")),
    ("latin.csv", b"id,sequence,x\na,ACGT,\xe9\n", "", ("latin.csv", "UTF-8")),
    ("zip.csv", b"PK\x03\x04abc", "", ("zip.csv", "zip archive")),
]


@pytest.mark.parametrize(("name", "content", "more", "words"), FILES, ids=lambda v: str(v)[:10])
def test_files(refuse, name: str, content: bytes, more: str, words: tuple[str, ...]) -> None:
    Path(name).write_bytes(content)
    refuse(f"score {name} --reward gc -o out.csv {more}", 3, *words)


def test_missing_file_and_silent_pipe(refuse) -> None:
    refuse("score absent.fa --reward gc -o out.csv", 3, "absent.fa: no such file")
    refuse("score . --reward gc -o out.csv", 3, ".: ", "folder")
    refuse("score - --reward gc -o out.csv", 3, "standard input", "empty")


BAD_RECORDS = ">a\nACGT\n>b\nACXT\n>c\nAC\n"


def test_bad_records_can_be_skipped(run) -> None:
    Path("some.fa").write_text(BAD_RECORDS)
    outcome = run("score", "some.fa", "--reward", "gc", "--on-invalid", "skip", "-o", "out.csv")
    assert outcome.exit_code == 5
    assert "skipped: some.fa: record b" in outcome.stderr
    assert "3 records read = 2 written + 1 skipped" in outcome.stderr
    assert [line.split(",")[0] for line in Path("out.csv").read_text().split()] == ["id", "a", "c"]


def test_a_late_bad_record_leaves_no_file(run) -> None:
    rows = [f">s{n}\n{GOOD}\n" for n in range(1200)]
    Path("late.fa").write_text("".join([*rows, ">bad\nACXT\n"]))
    outcome = run("score", "late.fa", "--reward", "gc", "-o", "out.csv")
    assert outcome.exit_code == 3
    error, note = outcome.stderr.splitlines()[:2]
    assert error.startswith("designkit: error: late.fa: record bad (line 2401)")
    assert "rows are kept in out.csv.part" in note
    assert "resume" not in note  # score cannot
    assert not Path("out.csv").exists()
    Path("late.fa").write_text("".join(rows))
    assert run("score", "late.fa", "--reward", "gc", "-o", "out.csv").exit_code == 0
    assert len(Path("out.csv").read_text().split()) == 1201


USAGE = [
    ("sample", ("no model", "designkit sample MODEL")),
    ("sample tiny --methid svdd", ("--methid",)),
    ("sample tiny -n none", ("--num", "integer")),
    ("sample tiny -n 0", ("--num", "1")),
    ("sample tiny --method svd --reward gc", ("'svd'", "did you mean 'svdd'?")),
    ("sample tiny --method svdd", ("svdd needs a reward", "--reward")),
    ("sample tiny --method best_of_n", ("best_of_n needs a reward",)),
    ("sample tiny --alpha 1", ("--alpha: method ancestral has no alpha",)),
    ("sample tiny --set stepz=3", ("--set stepz=3", "did you mean 'method.steps'?")),
    ("sample tiny --set nm=3", ("--set nm=3", "did you mean 'num'?")),
    ("sample tiny --set metod.name=svdd", ("--set metod.name=svdd", "did you mean 'method'?")),
    ("sample tiny --set steps=many", ("--set steps=many", "whole number")),
    ("sample tiny --set steps=0", ("--set steps=0",)),
    ("sample tiny --set steps", ("KEY=VALUE",)),
    ("sample tiny --set steps=21", ("steps 21", "20 letters to be found", "decoding=grid")),
    ("sample tiny --length 21", ("--length 21", "tiny", "20 letters")),
    ("sample vari --length 11", ("--length 11", "12 to 20 letters")),
    ("sample vari --set steps=13", ("steps 13", "12 letters to be found")),
    ("sample vari --length 12 --set steps=13", ("steps 13", "12 letters to be found")),
    ("sample tiny --device cuda", ("--device cuda", "0 such devices")),
    ("sample tiny --device gpu", ("--device gpu", "choose auto, cpu")),
    ("sample tiny --max-time soon", ("--max-time soon", "90s")),
    (
        "sample --preset yeast-promoter",
        ("--preset yeast-promoter: a preset of designkit pretrain, not of sample",),
    ),
    ("sample tiny --preset absent", ("unknown preset 'absent'",)),
    ("sample tiny --config absent.yaml", ("absent.yaml",)),
    ("sample tiny --reward gc?lo=0.1", ("gc", "'lo'", "did you mean 'low'?")),
    ("sample tiny --seed 1 --resume", ("--resume needs an output file",)),
    ("sample tiny --append --force -o out.csv", ("choose one",)),
    ("score good.fa", ("nothing to score with", "--reward")),
    ("score good.fa --reward gc --on-invalid best", ("--on-invalid", "'skip'")),
    ("score good.fa --reward gc --alphabet dn", ("unknown alphabet 'dn'",)),
    ("score good.fa --reward gc --reward gc?low=0.1&labl=a", ("'labl'",)),
    ("score good.fa --reward gc?role=judge", ("gc?role=judge", "'objective'")),
    ("score good.fa --reward gc?weight=heavy", ("--reward gc?weight=heavy", "a number")),
    ("score good.fa --reward gc?role=filter", ("filter 'gc' needs at_least", "at_most")),
    ("score good.fa --reward gc?at_least=0.4", ("'gc'", "constraint and filter")),
    (
        "sample tiny -n 2 --method svdd --reward gc --set value.name=monte_carlo "
        "--set value.complet=3",
        (
            "--set value.complet=3: unknown key 'method.value.complet'; did you mean "
            "'method.value.completions'?",
        ),
    ),
    (
        "sample tiny -n 2 --method svdd --reward gc --set value.completions=3 "
        "--set value.name=monte_carl",
        ("--set value.name=monte_carl: ", "did you mean 'monte_carlo'?"),
    ),
    ("score good.fa --reward gc?role=monitor", ("no reward to optimise", "monitor")),
    ("score good.fa --reward gc?transform=sigmod(low=0,high=1)", ("sigmod", "sigmoid")),
    ("score good.fa --reward gc?transform=sigmoid(low=0)", ("high", "missing")),
    ("score good.fa --reward gc?transform=sigmoid(low=1,high=0)", ("low=1 must be below",)),
    ("score good.fa --reward gc?transform=sigmoid(1)", ("NAME(key=value,...)",)),
    ("score good.fa --reward gc?transform=reverse_sigmoid(low=0,high=1)", ("falls", "sigmoid")),
    ("score good.fa --reward gc?transform=zscore", ("reference=FILE", "--model")),
    ("score good.fa --reward gc?output=at", ("no output 'at'", "it has gc")),
    ("score good.fa --reward gc --aggregation mean", ("--aggregation", "'sum'")),
    ("score good.fa --reward gc?weight=nan", ("gc?weight=nan", "finite")),
    ("score good.fa --reward gc?transform=step(low=nan)", ("step(low=nan)", "finite")),
    ("score good.fa --reward gc?transform=linear(scale=inf)", ("finite",)),
    ("score good.fa --reward gc?transform=clip(low=0,low=1)", ("given twice",)),
    (
        "score good.fa --reward gc?role=filter&at_least=0.9&at_most=0.1",
        ("at_least=0.9 is above at_most=0.1",),
    ),
    ("sample tiny --reward gc?transform=rank", ("gc: compares", "one by one", "quantile")),
    ("sample tiny --reward gc --aggregation pareto", ("one by one", "designkit score")),
]


@pytest.mark.parametrize(("line", "words"), USAGE, ids=lambda v: v if isinstance(v, str) else "")
def test_usage(run, fasta: Path, line: str, words: tuple[str, ...]) -> None:
    outcome = run(*line.split())
    assert outcome.exit_code == 2, outcome.stderr
    said = [text for text in outcome.stderr.splitlines() if not text.startswith("designkit: see")]
    assert len(said) == 1, said
    assert said[0].startswith("designkit: error: ")
    assert all(word in said[0] for word in words), said[0]
    assert outcome.stdout == ""


def test_all_problems_are_listed_at_once(refuse) -> None:
    Path("run.yaml").write_text("num: 3\nbatch_size: none\nmethod:\n  name: svdd\n  candidats: 3\n")
    refuse(
        "sample tiny --config run.yaml --set precision=fp64 -o out.csv",
        2,
        "run.yaml:2: batch_size: must be a whole number",
        "run.yaml:5: ",
        "did you mean 'method.candidates'?",
        "--set precision=fp64: must be 'auto', 'fp32' or 'bf16'",
        errors=3,
    )


ARTIFACTS = [
    ("sample tinny -o out.csv", ("unknown model 'tinny'", "did you mean 'tiny'?", "models list")),
    ("sample tiny@7 -o out.csv", ("'tiny@7'", "there is tiny@1")),
    ("sample ./absent -o out.csv", ("no model folder", "absent")),
    ("sample ./ -o out.csv", ("no model in '.': the folder has no model.json",)),
    ("sample pred -o out.csv", ("pred", "a prior is needed")),
    (
        "sample tiny --reward model:tiny -o out.csv",
        ("tiny", "not a predictor", "likelihood?model=tiny"),
    ),
    ("sample tiny --reward model:prad -o out.csv", ("unknown model 'prad'", "'pred'")),
    ("sample tiny --reward model:pred#actvity -o out.csv", ("did you mean 'activity'?",)),
    ("sample tiny --reward gcc -o out.csv", ("unknown reward 'gcc'", "did you mean 'gc'?")),
    ("sample prot --reward gc -o out.csv", ("'gc'", "protein")),
    ("sample prot --reward model:pred -o out.csv", ("'pred'", "dna", "protein")),
    ("sample tiny --reward broken.py:f -o out.csv", ("broken.py", "line 2")),
    ("sample tiny --reward good.py:g -o out.csv", ("good.py", "'g'")),
    ("sample tiny --reward absent.py:f -o out.csv", ("absent.py",)),
    ("sample tiny --reward no.such.module:f -o out.csv", ("no.such.module",)),
    ("score good.fa --model pred -o out.csv", ("pred", "a prior is needed")),
    ("score prot.fa --alphabet protein --reward gc -o out.csv", ("'gc'", "protein")),
]


@pytest.mark.parametrize(
    ("line", "words"), ARTIFACTS, ids=lambda v: v if isinstance(v, str) else ""
)
def test_models_and_rewards(refuse, fasta: Path, line: str, words: tuple[str, ...]) -> None:
    Path("broken.py").write_text("import os\ndef f(:\n")
    Path("good.py").write_text("def f(sequences):\n    return [0.0] * len(sequences)\n")
    Path("prot.fa").write_text(">a\nMKV\n")
    refuse(line, 4, *words)


def _flip_a_byte(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-5] ^= 1
    path.write_bytes(data)


def _other_schema(path: Path) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), "schema_version": 99}))


def _other_network(path: Path) -> None:
    card = json.loads(path.read_text())
    card["architecture"]["channels"] = 4
    path.write_text(json.dumps(card))


DAMAGE = {
    "flipped": ("model.safetensors", _flip_a_byte, "is damaged or was changed"),
    "gone": ("model.safetensors", Path.unlink, "No such file"),
    "truncated": ("model.safetensors", lambda p: p.write_bytes(p.read_bytes()[:99]), "damaged"),
    "no-card": ("model.json", Path.unlink, "No such file"),
    "torn-card": ("model.json", lambda p: p.write_text('{"name": "ti'), "not valid JSON"),
    "list-card": ("model.json", lambda p: p.write_text("[]"), "not a model card"),
    "schema": ("model.json", _other_schema, "schema version 99"),
    "network": ("model.json", _other_network, "do not fit the card"),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_damaged_models(refuse, own_models: Path, damage: str) -> None:
    name, change, words = DAMAGE[damage]
    path = own_models / "tiny" / "1" / name
    change(path)
    place = str(path.parent) if damage == "network" else str(path)
    refuse("sample tiny -o out.csv", 4, place, words)
    change_also = own_models / "pred" / "1" / name
    change(change_also)
    place = str(change_also.parent) if damage == "network" else str(change_also)
    refuse("sample vari --length 20 --reward model:pred -o out.csv", 4, place, words)


OUTPUTS = [
    ("absent/out.csv", 2, "absent does not exist; create it first"),
    ("good.fa/out.csv", 2, "good.fa"),
    ("dir.csv", 2, "dir.csv: is a folder"),
    ("/tmp", 2, "/tmp: is a folder; name a file in it"),
    ("out.xyz", 2, "--format"),
    ("out", 2, "--format"),
    ("kept.csv", 2, "kept.csv: exists already; --force"),
    ("/proc/out.csv", 2, "/proc/out.csv"),
]


@pytest.mark.parametrize("line", ["sample tiny -q -n 2", "score good.fa --reward gc"])
@pytest.mark.parametrize(("target", "code", "words"), OUTPUTS, ids=lambda v: str(v)[:14])
def test_outputs(refuse, fasta: Path, line: str, target: str, code: int, words: str) -> None:
    Path("kept.csv").write_text("precious\n")
    Path("dir.csv").mkdir()
    refuse(f"{line} -o {target}", code, words)
    assert Path("kept.csv").read_text() == "precious\n"
    assert sorted(p.name for p in Path().iterdir()) == ["dir.csv", "good.fa", "kept.csv"]


@pytest.mark.parametrize("line", ["sample tiny -q -n 2", "score good.fa --reward gc"])
def test_force_replaces_and_append_adds(run, fasta: Path, line: str) -> None:
    Path("kept.csv").write_text("precious\n")
    assert run(*line.split(), "-o", "kept.csv", "--force").exit_code == 0
    once = Path("kept.csv").read_text().splitlines()
    assert once[0].startswith("id,sequence")
    assert run(*line.split(), "-o", "kept.csv", "--append").exit_code == 0
    twice = Path("kept.csv").read_text().splitlines()
    assert twice[: len(once)] == once
    assert len(twice) == 2 * len(once) - 1


@contextlib.contextmanager
def mounted(folder: Path, *options: str) -> Iterator[Path]:
    """A small file system of its own, where this is permitted."""
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", ",".join(options), "tmpfs", str(folder)]
    if os.geteuid() != 0 or subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("mounting is not permitted here")
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def test_a_read_only_disk(refuse, folder: Path, fasta: Path) -> None:
    with mounted(folder / "disk", "size=64k,ro"):
        refuse("score good.fa --reward gc -o disk/out.csv", 2, "disk is not writable")


def test_a_full_disk(run, folder: Path) -> None:
    Path("many.fa").write_text("".join(f">s{n}\n{GOOD * 5}\n" for n in range(3000)))
    with mounted(folder / "disk", "size=128k"):
        outcome = run("score", "many.fa", "--reward", "gc", "-o", "disk/out.csv")
        assert outcome.exit_code == 2
        said = outcome.stderr.splitlines()
        assert "disk/out.csv: cannot be written: no space left on device" in said[0]
        assert "rows are kept in disk/out.csv.part" in said[0]
        assert len(said) == 1
        assert not Path("disk/out.csv").exists()
        *_, last = Path("disk/out.csv.part").read_text().splitlines(keepends=True)
        assert last.endswith("\n")  # no torn row


def test_a_full_device(refuse, fasta: Path) -> None:
    refuse("score good.fa --reward gc --format csv -o /dev/full", 2, "/dev/full", "no space left")
    refuse("sample tiny -q -o /dev/full", 2, "/dev/full: cannot be written", "no space left")


PRETRAIN = [
    ("--name a/b", 2, ("model name 'a/b'",)),
    ("--name a --set updates=3", 2, ("--set updates=3", "unknown key 'updates'")),
    ("--name a --set architecture.name=cn", 2, ("'cn'", "did you mean 'cnn'?")),
    ("--name a --set process.name=maskd", 2, ("'maskd'", "did you mean 'masked'?")),
    ("--name a --set process=unifrm", 2, ("'unifrm'", "did you mean 'uniform'?")),
    (
        "--name a --set process=uniform --set architecture.name=cnn"
        " --set architecture.time_conditioned=false",
        2,
        ("--set architecture.time_conditioned=false", "uniform noise needs a denoiser that knows"),
    ),
    ("--name a --set members=2", 2, ("members", "not for a prior")),
    ("--name a --set kind=predictor", 2, ("data.labels", "--label")),
    ("--name a --set split.by=clusters", 2, ("--set split.by=clusters", "group:COLUMN")),
    ("--name a --set split.valid=0.6 --set split.test=0.5", 2, ("leave nothing to train",)),
    ("--name a --device cuda", 2, ("--device cuda",)),
    ("--name a --alphabet dan", 2, ("unknown alphabet 'dan'",)),
    ("--name a --column seq", 3, ("data.csv: no column 'seq'", "did you mean 'sequence'?")),
    ("--name a --label z", 3, ("data.csv: no column 'z'",)),
    ("--name a --label word", 3, ("data.csv: record seq_1: column 'word' holds 'w0', not a num",)),
    ("--name a --label big", 3, ("record seq_2: column 'big' holds 'inf', not a number",)),
    ("--name a --split-group famly", 3, ("data.csv: no column 'famly'", "'family'")),
    ("--name a --set split.by=column:word", 3, ("'word'", "train, valid or test")),
    ("--name a --split-group one", 3, ("the split by group:one leaves no valid",)),
    ("--name a --set data.where.word=[x]", 3, ("data.csv: no rows left",)),
    ("--name a --alphabet protein --column word", 3, ("data.csv: record seq_1", "'w'")),
    ("--name a --run-dir data.csv", 2, ("data.csv",)),
    ("--name a --run-dir data.csv/b", 2, ("data.csv/b",)),
]


@pytest.mark.parametrize(
    ("more", "code", "words"), PRETRAIN, ids=lambda v: v if isinstance(v, str) else ""
)
def test_pretrain(refuse, home: Path, more: str, code: int, words: tuple[str, ...]) -> None:
    import random

    draw = random.Random(0)
    lines = ["sequence,word,big,family,one"]
    for n in range(60):
        sequence = "".join(draw.choice("ACGT") for _ in range(20))
        lines.append(f"{sequence},w{n},{'inf' if n == 1 else n},f{n % 20},same")
    Path("data.csv").write_text("\n".join(lines) + "\n")
    refuse(f"pretrain --quiet --data data.csv {more}", code, *words)
    assert not (home / "models").exists()


def test_pretrain_lists_all_problems(refuse) -> None:
    refuse(
        "pretrain --data d.csv --name a --set mebers=3 --set optimizer.updats=3 "
        "--set architecture.name=cnn --set architecture.chanels=3 --set process.name=masked "
        "--set process.schedule=cos",
        2,
        "did you mean 'members'?",
        "did you mean 'optimizer.updates'?",
        "did you mean 'architecture.channels'?",
        "--set process.schedule=cos",
        errors=4,
    )


def test_verify_names_the_damaged_models(run, own_models: Path) -> None:
    _flip_a_byte(own_models / "vari" / "1" / "model.safetensors")
    (own_models / "prot" / "1" / "README.md").write_text("other\n")
    outcome = run("models", "verify")
    assert outcome.exit_code == 4
    said = dict(line.split(": ", 1) for line in outcome.stdout.splitlines())
    assert said["tiny@1"] == said["pred@1"] == "ok"
    assert "vari/1/model.safetensors" in said["vari@1"]
    assert "prot/1/README.md" in said["prot@1"]
    assert outcome.stderr == "designkit: error: 2 damaged: prot@1, vari@1\n"
    assert run("models", "verify", "tiny").exit_code == 0
    (own_models / "pred" / "1" / "model.json").write_text("{")
    listed = run("models", "list")  # one unreadable card does not hide the others
    assert listed.exit_code == 0
    assert [row.split()[0] for row in listed.stdout.splitlines()] == [
        "NAME",
        "prot",
        "tiny",
        "vari",
    ]
    verified = run("models", "verify")
    said = dict(line.split(": ", 1) for line in verified.stdout.splitlines())
    assert "pred/1/model.json: not valid JSON" in said["pred@1"]
    assert verified.stderr == "designkit: error: 3 damaged: pred@1, prot@1, vari@1\n"
