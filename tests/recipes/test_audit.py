"""The audit of a reward: a lazy one is flagged with the share worked by hand, a strict one not."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest

from designkit.errors import InputError, UsageError
from designkit.recipes.audit import run_audit

LENGTH, NATURAL = 40, 200
REWARDS = '''
import math
from designkit.rewards import reward

@reward(alphabet="dna")
def thymine(sequences):
    """How many T."""
    return [float(s.count("T")) for s in sequences]

@reward(alphabet="dna", direction="minimize")
def few_thymines(sequences):
    """How many letters are not T: less is better."""
    return [float(len(s) - s.count("T")) for s in sequences]

@reward(alphabet="dna")
def motif(sequences):
    """A motif of eight letters, which no repeat of four holds, and whatever surrounds it."""
    return [10.0 * ("TGACGTCA" in s) + s.count("G") / len(s) for s in sequences]

@reward(alphabet="dna")
def no_adenine(sequences):
    """No score for what starts with A."""
    return [math.nan if s.startswith("A") else float(s.count("T")) for s in sequences]

@reward(alphabet="dna")
def never(sequences):
    """No score at all."""
    return [math.nan for s in sequences]
'''


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Rewards, and natural sequences with 0 to 19 T each and the motif in one of ten."""
    monkeypatch.chdir(tmp_path)
    Path("mine.py").write_text(REWARDS)
    draw = random.Random(0)
    lines = []
    for n in range(NATURAL):
        letters = ["T"] * (n % 20) + draw.choices("ACG", k=LENGTH - n % 20)
        draw.shuffle(letters)
        if n % 10 == 0:
            letters[16:24] = "TGACGTCA"
        lines.append("".join(letters))
    Path("natural.csv").write_text("sequence\n" + "\n".join(lines) + "\n")
    return tmp_path


def audit(name: str, **changes: Any) -> int:
    options: dict[str, Any] = {
        "natural": "natural.csv",
        "prior": None,
        "alphabet": None,
        "length": None,
        "num": NATURAL,
        "seed": 1,
        "device": "cpu",
        "threads": 1,
        "as_json": True,
        "quiet": True,
    }
    return run_audit(f"mine.py:{name}", **{**options, **changes})


@pytest.mark.parametrize("name", ["thymine", "few_thymines"])
def test_a_lazy_reward_is_flagged(capsys: pytest.CaptureFixture[str], name: str) -> None:
    assert audit(name) == 5
    found = json.loads(capsys.readouterr().out)
    natural = Path("natural.csv").read_text().split()[1:]
    counts = sorted(sequence.count("T") for sequence in natural)
    assert counts[-3:] == [19, 19, 19]  # hence the 99th percentile of 200
    assert found["threshold"] == (19 if name == "thymine" else LENGTH - 19)
    # Of length 40, more than 19 T: half of the letters. Of 4 homopolymers 1; of 12 repeats of two
    # letters the 6 with T; of 60 of three those with two T (3 places, 3 letters); of 240 of four
    # those with three T (12), and with two (6 places, 9 pairs) but TATA and the like (6).
    by_hand = {"homopolymers": (4, 1), "repeats": (312, 6 + 9 + 12 + 48)}
    for kind, (count, above) in by_hand.items():
        assert found["classes"][kind]["share"]["count"] == count
        assert found["classes"][kind]["share"]["above"] == above
    truncated = found["classes"]["truncated"]["share"]
    # A quarter are filled with T, two of three of these with at least 20; others have 19 at most.
    assert truncated["count"] == 96
    assert 16 <= truncated["above"] <= 24
    total = found["degenerate"]
    assert total["above"] == 1 + 75 + truncated["above"]
    assert total["share"] == total["above"] / 412
    assert found["verdict"] == "can be fooled"
    assert "the best scored is poly-T" in found["sentence"]
    assert found["worst"] == ["T" * LENGTH, 40.0 if name == "thymine" else 0.0]
    assert found["classes"]["natural"]["share"]["share"] <= 0.01


def test_a_reward_that_needs_a_motif_passes(capsys: pytest.CaptureFixture[str]) -> None:
    assert audit("motif", as_json=False, quiet=False) == 0
    out, err = capsys.readouterr()
    lines = out.splitlines()
    assert lines[0].split()[:4] == ["CLASS", "N", "MEDIAN", "BEST"]
    classes = ["natural", "homopolymers", "repeats", "truncated", "shuffled", "shuffled", "random"]
    assert [line.split()[0] for line in lines[1:8]] == classes
    assert lines[2].split()[1:] == ["4", "0", "1", "0.0", "%", "0.0", "to", "49.0", "%", "0"]
    assert lines[-1].startswith("passes: ")
    assert "seed 1" in err
    assert "passes" not in err


def test_scores_that_are_missing_are_counted(capsys: pytest.CaptureFixture[str]) -> None:
    audit("no_adenine")
    found = json.loads(capsys.readouterr().out)["classes"]
    assert found["homopolymers"]["without_score"] == 1
    assert found["repeats"]["without_score"] == 312 // 4
    assert found["repeats"]["share"]["count"] == 312 * 3 // 4
    with pytest.raises(InputError, match="none has one"):
        audit("never")


def test_same_seed_same_audit(capsys: pytest.CaptureFixture[str]) -> None:
    printed = []
    for seed in (1, 1, 2):
        audit("thymine", seed=seed, num=50)
        printed.append(json.loads(capsys.readouterr().out))
    assert printed[0] == printed[1]
    assert printed[0]["classes"]["random"] != printed[2]["classes"]["random"]
    assert printed[0]["classes"]["natural"]["share"]["count"] == 50


def test_what_cannot_be_audited() -> None:
    with pytest.raises(UsageError, match="add --natural FILE or --prior"):
        audit("thymine", natural=None)
    with pytest.raises(UsageError, match="at least 1"):
        audit("thymine", num=0)
    Path("two.yaml").write_text("rewards: ['mine.py:thymine', 'mine.py:motif']\n")
    with pytest.raises(UsageError, match="one reward, this has 2"):
        run_audit(
            "two.yaml",
            natural="natural.csv",
            prior=None,
            alphabet=None,
            length=None,
            num=10,
            seed=1,
            device="cpu",
            threads=1,
            as_json=False,
            quiet=True,
        )
