"""Scores on disk: found again, told apart, shared by processes, refused where damaged."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from designkit.alphabet import DNA, RNA, Alphabet
from designkit.errors import ArtifactError
from designkit.rewards import RewardEngine, ScoreCache, WeightedReward, load_reward
from designkit.rewards._identity import identity, sources

PLUGIN = """
from pathlib import Path
from designkit.rewards import reward

@reward(version="1")
def slow(sequences: list[str], letter: str = "A", table: Path | None = None):
    with open({log!r}, "a") as log:
        log.writelines(s + "\\n" for s in sequences)
    return [float("nan") if s == "TTT" else s.count(letter) / 3 for s in sequences]
"""


@pytest.fixture
def plugin(tmp_path: Path) -> Path:
    path = tmp_path / "slow.py"
    path.write_text(PLUGIN.format(log=str(tmp_path / "log")))
    return path


def sent(folder: Path) -> list[str]:
    log = folder / "log"
    return log.read_text().split() if log.exists() else []


def engine(ref: str, folder: Path) -> RewardEngine:
    cache = ScoreCache(folder / "scores.sqlite")
    return RewardEngine([WeightedReward(load_reward(ref))], alphabet=DNA, cache=cache)


def test_a_second_run_asks_for_nothing_it_has(plugin: Path, tmp_path: Path) -> None:
    ref = f"{plugin}:slow"
    first = engine(ref, tmp_path)
    values = first.score(["AAC", "CCC", "AAA"]).reward
    assert first.rows_scored == 3
    second = engine(ref, tmp_path)
    np.testing.assert_array_equal(
        second.score(["AAA", "CAT", "AAC"]).reward[[2, 0]], values[[0, 2]]
    )
    assert second.rows_scored == 1
    usage = second.usage()[0]
    assert (usage["from_cache"], usage["from_memory"], usage["rows"]) == (2, 0, 1)
    assert sent(tmp_path) == ["AAC", "CCC", "AAA", "CAT"]


def test_failures_are_tried_again(plugin: Path, tmp_path: Path) -> None:
    for _ in range(2):
        assert np.isnan(engine(f"{plugin}:slow", tmp_path).score(["TTT"]).reward[0])
    assert sent(tmp_path) == ["TTT", "TTT"]


def test_rewards_are_told_apart_by_what_they_are(plugin: Path, tmp_path: Path) -> None:
    table = tmp_path / "table.txt"
    table.write_text("1")
    refs = [f"{plugin}:slow", f"{plugin}:slow?letter=C", f"{plugin}:slow?table={table}"]
    keys = [identity(load_reward(ref), DNA)[0] for ref in refs]
    table.write_text("22")
    keys.append(identity(load_reward(refs[2]), DNA)[0])
    plugin.write_text(plugin.read_text() + "\n# changed\n")
    keys.append(identity(load_reward(refs[0]), DNA)[0])
    plugin.write_text(plugin.read_text().replace('version="1"', 'version="2"'))
    keys.append(identity(load_reward(refs[0]), DNA)[0])
    assert len(set(keys)) == 6
    assert set(sources(load_reward(refs[2]))) == {str(plugin), str(table)}
    moved = tmp_path / "moved.txt"
    moved.write_text("22")
    there = load_reward(f"{plugin}:slow?table={moved}")
    assert identity(there, DNA)[0] == identity(load_reward(refs[2]), DNA)[0]


def test_rewards_are_told_apart_by_letters_classes_folders_and_places_of_files(
    tmp_path: Path,
) -> None:
    path = tmp_path / "many.py"
    path.write_text(
        "from pathlib import Path\nfrom designkit.rewards import reward\n"
        "@reward(name='same')\ndef one(s, a: Path, b: Path): return [1.0] * len(s)\n"
        "@reward(name='same')\ndef two(s, a: Path, b: Path): return [2.0] * len(s)\n"
        "def make():\n"
        "    @reward\n    def inner(s, a: Path, b: Path): return [0.0] * len(s)\n"
        "    return inner\n"
        "three, four = make(), make()\n"
    )
    for name in ("x", "y"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "inside").write_text(name)
        (tmp_path / f"{name}.txt").write_text(name)

    def key(what: str, first: str, second: str, alphabet: Alphabet = DNA) -> str:
        ref = f"{path}:{what}?a={tmp_path / first}&b={tmp_path / second}"
        return identity(load_reward(ref), alphabet)[0]

    keys = {
        key("one", "x.txt", "y.txt"),
        key("one", "y.txt", "x.txt"),
        key("one", "x", "y.txt"),
        key("one", "y", "y.txt"),
        key("two", "x.txt", "y.txt"),
        key("one", "x.txt", "y.txt", RNA),
        key("three", "x.txt", "y.txt"),
        key("four", "x.txt", "y.txt"),
    }
    assert len(keys) == 8


def test_how_fast_a_reward_scores_is_not_what_it_is() -> None:
    one, other, third = (
        identity(load_reward(f"exec:cat?{query}"), DNA)[0]
        for query in ("workers=1", "workers=2&timeout=7", "unit=m")
    )
    assert one == other != third


def test_only_steady_rewards_are_kept(tmp_path: Path) -> None:
    path = tmp_path / "noisy.py"
    path.write_text(
        "from designkit.rewards import reward\n"
        "@reward(deterministic=False)\ndef noisy(sequences): return [1.0 for _ in sequences]\n"
        "@reward(coupled=True)\ndef crowd(sequences): return [len(sequences)] * len(sequences)\n"
    )
    for name in ("noisy", "crowd"):
        for _ in range(2):
            one = engine(f"{path}:{name}", tmp_path)
            one.score(["A", "C"])
            assert one.calls == 1


WRITER = """
import random, sys, time
from pathlib import Path
from designkit.rewards import ScoreCache
path, number, seconds = Path(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])
table = ScoreCache(path).table("reward", "described", 2)
source, mine, end = random.Random(number), {}, time.monotonic() + seconds
while time.monotonic() < end:
    keys = ["".join(source.choices("ACGT", k=7)) for _ in range(200)]
    found = table.find(keys)
    for key, values in found.items():
        assert values == (len(key.replace("A", "")), 0.5), key
    table.add({key: (len(key.replace("A", "")), 0.5) for key in keys if key not in found})
    mine |= dict.fromkeys(keys)
print("\\n".join(mine))
"""


def share(path: Path, seconds: float) -> None:
    """Two processes read and write at the same time; what each wrote is there, once, and right."""
    jobs = [
        subprocess.Popen(
            [sys.executable, "-c", WRITER, str(path), str(n), str(seconds)], stdout=subprocess.PIPE
        )
        for n in range(2)
    ]
    written = [set(job.communicate(timeout=seconds + 60)[0].decode().split()) for job in jobs]
    assert [job.returncode for job in jobs] == [0, 0]
    rows = sqlite3.connect(path).execute("SELECT sequence FROM scores").fetchall()
    found = [key for (key,) in rows]
    assert len(found) == len(set(found))
    assert set(found) == written[0] | written[1]
    assert len(written[0] & written[1]) > 50, "the two never met"


def test_two_processes_lose_and_duplicate_nothing(tmp_path: Path) -> None:
    share(tmp_path / "shared.sqlite", seconds=2)


@pytest.mark.slow
@pytest.mark.timeout(200)
def test_two_processes_for_a_minute(tmp_path: Path) -> None:
    share(tmp_path / "shared.sqlite", seconds=60)


def test_more_keys_than_sqlite_takes_at_once(tmp_path: Path) -> None:
    table = ScoreCache(tmp_path / "x.sqlite").table("r", "r", 1)
    table.add({str(n): (float(n),) for n in range(0, 5000, 2)})
    found = table.find([str(n) for n in range(5000)])
    assert found == {str(n): (float(n),) for n in range(0, 5000, 2)}


def test_what_is_no_cache_is_refused(tmp_path: Path) -> None:
    text = tmp_path / "text"
    text.write_text("not a database, but long enough to be read as one" * 30)
    other = tmp_path / "other.sqlite"
    with sqlite3.connect(other) as connection:
        connection.execute("CREATE TABLE mine (x)")
    connection.close()
    newer = tmp_path / "newer.sqlite"
    with sqlite3.connect(newer) as connection:
        connection.execute("PRAGMA user_version = 7")
    connection.close()
    for path, message in (
        (text, "not a database"),
        (other, "something else"),
        (newer, "version 7"),
        (tmp_path / "absent" / "x.sqlite", "unable to open"),
    ):
        with pytest.raises(ArtifactError, match=message) as caught:
            ScoreCache(path)
        assert str(path) in str(caught.value)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_read_only_folder(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(ArtifactError, match="unable to open"):
        ScoreCache(tmp_path / "x.sqlite")


def test_a_damaged_row(tmp_path: Path) -> None:
    cache = ScoreCache(tmp_path / "x.sqlite")
    table = cache.table("r", "r", 1)
    table.add({"A": (1.0,)})
    with sqlite3.connect(tmp_path / "x.sqlite") as connection:
        connection.execute("UPDATE scores SET outputs = x'00'")
    connection.close()
    with pytest.raises(ArtifactError, match=r"x\.sqlite: unpack requires"):
        table.find(["A"])
    cache.close()


def test_what_another_job_wrote_stays(tmp_path: Path) -> None:
    first, second = (ScoreCache(tmp_path / "x.sqlite").table("r", "r", 1) for _ in range(2))
    first.add({"A": (1.0,)})
    second.add({"A": (2.0,), "C": (3.0,)})
    assert first.find(["A", "C"]) == {"A": (1.0,), "C": (3.0,)}
