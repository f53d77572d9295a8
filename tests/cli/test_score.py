"""``designkit score``: tables in and out, missing scores, likelihood."""

from __future__ import annotations

import gzip
import json
import shutil
from io import StringIO
from pathlib import Path

import pandas as pd
import pytest

GOLDEN = Path(__file__).parents[1] / "golden"


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, models: Path) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_table_to_standard_output_is_tsv(run, fasta: Path) -> None:
    outcome = run("score", "good.fa", "--reward", "gc", "--reward", "gc?low=0.4&high=0.6")
    assert (outcome.exit_code, outcome.stderr) == (0, "")
    assert outcome.stdout == (GOLDEN / "score_gc.tsv").read_text()


@pytest.mark.parametrize("target", ["x.csv", "x.tsv", "x.fa", "x.jsonl", "x.csv.gz", "x.fa.gz"])
def test_every_format_reads_back(run, fasta: Path, target: str) -> None:
    outcome = run("score", "good.fa", "--reward", "gc", "-o", target)
    assert (outcome.exit_code, outcome.stdout) == (0, "")
    assert "4 records read = 4 written + 0 skipped + 0 dropped; 0 without score" in outcome.stderr
    data = Path(target).read_bytes()
    text = (gzip.decompress(data) if target.endswith(".gz") else data).decode()
    first = text.splitlines()[0]
    assert {
        "csv": first == "id,sequence,note,reward,gc,reason",
        "tsv": first == "id\tsequence\tnote\treward\tgc\treason",
        "fa": first == ">s1 note=n1 reward=0.5 gc=0.5",
        "jsonl": first.startswith('{"id": "s1", "sequence": "ACGTACGTACGTACGTACGT"'),
    }[target.split(".")[1]]
    # What one command writes, every command reads.
    again = run("score", target, "--reward", "gc")
    table = pd.read_csv(StringIO(again.stdout), sep="\t")
    assert table["gc"].tolist() == table["reward.x"].tolist() == [0.5, 1, 0, 0.3]
    assert table["note"].tolist() == ["n1", "n2", "n3", "n4"]
    meta = json.loads(Path(f"{target}.meta.json").read_text())
    assert meta["status"] == "complete"
    assert meta["rows"] == {
        "read": 4,
        "written": 4,
        "skipped": 0,
        "dropped": 0,
        "without_score": 0,
        "outside_bounds": 0,
    }
    assert [one["name"] for one in meta["rewards"]] == ["gc"]


def test_format_option_beats_the_name(run, fasta: Path) -> None:
    assert run("score", "good.fa", "--reward", "gc", "--format", "fasta").stdout.startswith(">s1")
    run("score", "good.fa", "--reward", "gc", "--format", "tsv", "-o", "x.dat")
    assert Path("x.dat").read_text().startswith("id\tsequence\t")


def test_rescoring_replaces_its_own_columns_and_keeps_the_others(run) -> None:
    Path("t.csv").write_text("gc,name,reward,sequence,extra\n9,007,5,GGCC,NA\n9,008,6,AATT,\n")
    once = run("score", "t.csv", "--reward", "gc", "--format", "csv").stdout
    assert once.splitlines() == [
        "id,sequence,name,reward.t,extra,reward,gc,reason",
        "seq_1,GGCC,007,5,NA,1,1,",
        "seq_2,AATT,008,6,,0,0,",
    ]
    # A table that was scored before under the same name has that column already.
    Path("again.csv").write_text(once)
    Path("t.csv").write_text(once)
    twice = run("score", "t.csv", "--reward", "gc", "--format", "csv")
    assert twice.exit_code == 0, twice.stderr
    # What was kept under that name stays, and the later reward goes beside it.
    assert twice.stdout.splitlines()[:2] == [
        "id,sequence,name,reward.t,extra,reward.t_2,reward,gc,reason",
        "seq_1,GGCC,007,5,NA,1,1,1,",
    ]
    Path("t.csv").write_text(twice.stdout)
    thrice = run("score", "t.csv", "--reward", "gc", "--format", "csv").stdout
    assert thrice.splitlines()[0].startswith(
        "id,sequence,name,reward.t,extra,reward.t_2,reward.t_3"
    )
    other = run("score", "again.csv", "--reward", "gc", "--format", "csv").stdout
    assert other.splitlines()[0] == "id,sequence,name,reward.t,extra,reward.again,reward,gc,reason"


def test_a_predictor_brings_its_own_alphabet(
    run, home: Path, model_root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The alphabet of a model need not be one that has a name here."""
    own = home / "models" / "pred"
    shutil.copytree(model_root / "models" / "pred", own)
    card = json.loads((own / "1" / "model.json").read_text())
    card["alphabet"] = {**card["alphabet"], "name": "tok"}
    (own / "1" / "model.json").write_text(json.dumps(card))
    Path("x.fa").write_text(">a\n" + "ACGTT" * 4 + "\n")
    outcome = run("score", "x.fa", "--reward", "model:pred")
    assert outcome.exit_code == 0, outcome.stderr
    monkeypatch.setenv("DESIGNKIT_HOME", "elsewhere")  # the same weights under a known name
    assert outcome.stdout == run("score", "x.fa", "--reward", "model:pred").stdout
    monkeypatch.setenv("DESIGNKIT_HOME", str(home))
    Path("bad.fa").write_text(">a\n" + "ACGTN" * 4 + "\n")
    refused = run("score", "bad.fa", "--reward", "model:pred")
    assert refused.exit_code == 3
    assert "tok" in refused.stderr


def test_t_and_u_only_when_asked(run) -> None:
    Path("u.fa").write_text(">a\nACGU\n")
    line = ["score", "u.fa", "--reward", "gc", "--format", "fasta"]
    assert run(*line, "--alphabet", "dna").exit_code == 3
    assert run(*line, "--alphabet", "dna", "--convert-t-u").stdout.splitlines()[1] == "ACGT"
    assert run(*line, "--alphabet", "rna").stdout.splitlines()[1] == "ACGU"
    Path("low.fa").write_text(">a\nacGT\n")
    outcome = run("score", "low.fa", "--reward", "gc", "--uppercase")
    assert outcome.stdout.splitlines()[1].split("\t")[1] == "ACGT"


def test_a_missing_score_is_kept_with_its_reason(run, fasta: Path, plugin) -> None:
    ref = plugin("return [float('nan') if s[0] == 'A' else 1.5 for s in sequences]")
    outcome = run("score", "good.fa", "--reward", ref, "--reward", "gc", "-o", "x.csv")
    assert outcome.exit_code == 5
    assert "4 records read = 4 written + 0 skipped + 0 dropped; 2 without score" in outcome.stderr
    table = pd.read_csv("x.csv", keep_default_na=False)
    assert table["mine"].tolist() == ["", "1.5", "", "1.5"]
    assert table["gc"].tolist() == [0.5, 1, 0, 0.3]  # one reward's failure is not the other's
    assert table["reward"].tolist() == ["", "2.5", "", "1.8"]
    reason = "mine: the reward gave no score"
    assert table["reason"].tolist() == [reason, "", reason, ""]


def test_a_reward_that_raises_fails_only_the_items_at_fault(run, fasta: Path, plugin) -> None:
    body = "assert not any('GATTACA' in s for s in sequences), 'no cats'\n    "
    ref = plugin(body + "return [float(len(s)) for s in sequences]")
    outcome = run("score", "good.fa", "--reward", ref)
    assert outcome.exit_code == 5
    table = pd.read_csv(StringIO(outcome.stdout), sep="\t", keep_default_na=False)
    assert table["mine"].tolist() == ["20", "20", "20", ""]
    assert "no cats" in table["reason"][3]
    assert "Traceback" not in outcome.stderr


def test_a_reward_that_breaks_its_contract_stops_the_run(run, fasta: Path, plugin) -> None:
    outcome = run("score", "good.fa", "--reward", plugin("return [1.0]"), "-o", "x.csv")
    assert outcome.exit_code == 4
    assert len(outcome.stderr.splitlines()) == 1
    assert "mine" in outcome.stderr
    assert not Path("x.csv").exists()


def test_likelihood_and_lengths_the_models_do_not_know(run) -> None:
    lengths = (20, 12, 11, 21, 15)
    Path("l.fa").write_text("".join(f">l{n}\n{('ACGTT' * 5)[:n]}\n" for n in lengths))
    outcome = run("score", "l.fa", "--model", "vari", "--reward", "model:pred")
    assert outcome.exit_code == 5
    table = pd.read_csv(StringIO(outcome.stdout), sep="\t", keep_default_na=False).set_index("id")
    likely = table["log_likelihood"]
    assert (likely[["l20", "l12", "l15"]].astype(float) < 0).all()
    assert (table["log_likelihood_se"][["l20", "l12", "l15"]].astype(float) >= 0).all()
    assert likely[["l11", "l21"]].tolist() == ["", ""]
    assert "vari: length 11, the prior writes 12 to 20" in table["reason"]["l11"]
    assert "length 12; 'pred' was trained on 20" in table["reason"]["l12"]
    assert table["pred"]["l20"] != ""
    # The same figures alone and among others: nothing depends on the batch.
    Path("one.fa").write_text(">l15\n" + ("ACGTT" * 3) + "\n")
    alone = pd.read_csv(StringIO(run("score", "one.fa", "--model", "vari").stdout), sep="\t")
    assert alone["log_likelihood"][0] == pytest.approx(float(likely["l15"]), rel=1e-6)


def test_columns_scored_before_are_kept_beside_a_likelihood(run, fasta: Path) -> None:
    run("score", "good.fa", "--reward", "gc", "-o", "x.csv", "-q")
    outcome = run("score", "x.csv", "--model", "tiny", "--format", "csv")
    assert outcome.stdout.splitlines()[0] == (
        "id,sequence,note,reward,gc,log_likelihood,log_likelihood_se,reason"
    )
