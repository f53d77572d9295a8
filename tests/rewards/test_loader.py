"""References to rewards: every form, and one line for everything that can be wrong with one."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from designkit.errors import ConfigurationError, ModelError, RewardError
from designkit.rewards import load_reward
from designkit.rewards._loader import split_reference, written_reference
from designkit.rewards.gc import GC
from tests.rewards.examples import linear_predictor

TWO_WORKERS = {"workers": "2", "timeout": "5"}
PLUGIN = """\
from designkit.rewards import reward

@reward(alphabet="dna")
def count(sequences: list[str], letter: str = "A") -> list[float]:
    return [float(s.count(letter)) for s in sequences]

def plain(sequences):
    return [0.0 for s in sequences]
"""


@pytest.fixture
def plugin(tmp_path: Path) -> Path:
    path = tmp_path / "mine.py"
    path.write_text(PLUGIN)
    return path


def test_name_and_parameters() -> None:
    made = load_reward("gc?low=0.4&high=0.6")
    assert isinstance(made, GC)
    assert (made.settings.low, made.settings.high) == (0.4, 0.6)
    assert made.info.params == {"low": 0.4, "high": 0.6}
    assert load_reward("gc").info.params == {}


def test_version() -> None:
    assert load_reward("gc@1").info.version == "1"
    with pytest.raises(RewardError, match="'gc' is version 1 here, not 2"):
        load_reward("gc@2")


def test_file(plugin: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path_before = list(sys.path)
    made = load_reward(f"{plugin}:count?letter=C")
    assert made.score(["CCA"]).values.tolist() == [[2]]
    monkeypatch.chdir(plugin.parent)
    assert load_reward("./mine.py:count").score(["CCA"]).values.tolist() == [[1]]
    assert sys.path == path_before


def test_module() -> None:
    assert isinstance(load_reward("designkit.rewards.gc:GC?low=0.4"), GC)


def test_escapes(plugin: Path) -> None:
    assert load_reward(f"{plugin}:count?letter=%26").info.params == {"letter": "&"}
    assert load_reward(f"{plugin}:count?letter=+").info.params == {"letter": "+"}


def test_model() -> None:
    asked = []

    def load_model(name: str) -> Any:
        asked.append(name)
        return linear_predictor()

    made = load_reward("model:mrl@3#te", load_model=load_model)
    assert asked == ["mrl@3"]
    assert made.info.params == {"model": "mrl@3", "target": "te"}
    assert load_reward("model:./folder", load_model=load_model).info.name == "mrl"


def test_a_missing_model_stays_a_missing_model() -> None:
    def load_model(name: str) -> Any:
        raise ModelError(f"unknown model {name!r}")

    with pytest.raises(ModelError, match="unknown model 'x'"):
        load_reward("model:x", load_model=load_model)


@pytest.mark.parametrize(
    ("ref", "message"),
    [
        ("gcc", "unknown reward 'gcc'; did you mean 'gc'"),
        ("", "the name is missing"),
        ("?low=1", "the name is missing"),
        ("gc?low", r"written \?key=value&key=value"),
        ("gc?", r"written \?key=value&key=value"),
        ("gc?low=0.1&low=0.2", "'low' is given twice"),
        ("model:", "write model:NAME"),
        ("model:x#", "write model:NAME or model:NAME#output"),
        ("model:x", "no model registry here"),
        ("absent.py:f", "cannot load reward 'absent.py:f'"),
        ("no_such_package:f", "cannot load reward 'no_such_package:f'"),
        ("designkit.rewards.gc:CG", "has no 'CG'"),
        ("designkit.rewards.gc:GCSettings", "is not a reward"),
    ],
)
def test_references_that_lead_nowhere(ref: str, message: str) -> None:
    with pytest.raises(RewardError, match=message) as caught:
        load_reward(ref)
    assert caught.value.exit_code == 4
    assert "\n" not in str(caught.value)


def test_undecorated_function(plugin: Path) -> None:
    with pytest.raises(RewardError, match="not a reward: decorate the function with @reward"):
        load_reward(f"{plugin}:plain")


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("import not_installed_anywhere\n", r"not_installed_anywhere"),
        ("def f(:\n", "line 1"),
        ("raise RuntimeError('lost\\nmy way')\n", "lost my way"),
        ("import sys; sys.exit(3)\n", "SystemExit"),
    ],
)
def test_a_file_that_does_not_run_is_one_line(tmp_path: Path, code: str, message: str) -> None:
    path = tmp_path / "broken.py"
    path.write_text(code)
    with pytest.raises(RewardError, match=message) as caught:
        load_reward(f"{path}:f")
    assert caught.value.exit_code == 4
    assert "\n" not in str(caught.value)
    assert "broken.py" in str(caught.value)


def test_wrong_parameters_are_configuration_errors() -> None:
    with pytest.raises(ConfigurationError, match="unknown key 'lwo'; did you mean 'low'"):
        load_reward("gc?lwo=0.4")


def test_a_class_without_info(tmp_path: Path) -> None:
    path = tmp_path / "bare.py"
    path.write_text(
        "from designkit.rewards import Reward\n"
        "class Bare(Reward):\n    def score(self, sequences): ...\n"
        "class Abstract(Reward): ...\n"
    )
    with pytest.raises(RewardError, match="has no info"):
        load_reward(f"{path}:Bare")
    with pytest.raises(RewardError, match=r"cannot be made: TypeError.*score"):
        load_reward(f"{path}:Abstract")


@pytest.mark.parametrize(
    ("ref", "expected"),
    [
        ("gc?low=0.4&high=0.6", ("gc", {"low": "0.4", "high": "0.6"})),
        ("model:mrl@3#te", ("model:mrl@3#te", {})),
        ("model:mrl?weight=2", ("model:mrl", {"weight": "2"})),
        ("exec:./dock.py --fast", ("exec:./dock.py --fast", {})),
        ("exec:./dock.py --fast?workers=2&timeout=5", ("exec:./dock.py --fast", TWO_WORKERS)),
        ("exec1:awk '{print $1 ? $2 : 0}'", ("exec1:awk '{print $1 ? $2 : 0}'", {})),
        ("exec1:sh -c 'x?=1; y'", ("exec1:sh -c 'x?=1; y'", {})),
    ],
)
def test_references_are_taken_apart_and_put_together(ref: str, expected: object) -> None:
    assert split_reference(ref) == expected
    assert split_reference(written_reference(*split_reference(ref))) == expected


def test_escapes_survive() -> None:
    parts = ("gc", {"a": "1&2%26", "b": "x=y?z"})
    assert split_reference(written_reference(*parts)) == parts


def test_the_version_of_the_contract_is_checked(tmp_path: Path) -> None:
    path = tmp_path / "future.py"
    path.write_text(
        "from designkit.rewards import reward\n"
        "@reward(api=99)\ndef f(sequences): return [0.0] * len(sequences)\n"
    )
    with pytest.raises(RewardError, match=r"version 99 of the reward contract, .* has version 1"):
        load_reward(f"{path}:f")


def test_parameters_may_not_hide_what_a_run_says(tmp_path: Path) -> None:
    path = tmp_path / "clash.py"
    path.write_text(
        "from designkit.rewards import reward\n"
        "@reward\ndef f(sequences, weight: float = 1.0): return [weight] * len(sequences)\n"
    )
    with pytest.raises(RewardError, match=r"has a parameter 'weight', .* another name"):
        load_reward(f"{path}:f")
