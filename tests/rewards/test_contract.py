"""What every built-in reward keeps: all that ``designkit rewards check`` checks."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

import numpy as np
import pytest

from designkit import plugins
from designkit.alphabet import BUILTIN_ALPHABETS
from designkit.rewards import check_reward, load_reward
from designkit.rewards._loader import GROUP
from tests.rewards.examples import Example

# An entry point of another package may be installed beside the built-ins.
NAMES = [n for n in plugins.names(GROUP) if (Path(__file__).parent / f"test_{n}.py").exists()]
BUILTINS = Path(plugins.__file__).parent / "rewards"


@pytest.fixture(params=NAMES)
def examples(request: pytest.FixtureRequest, tmp_path: Path) -> list[Example]:
    found = import_module(f"tests.rewards.test_{request.param}").examples(tmp_path)
    assert found
    return found


@pytest.mark.parametrize(
    "path", [p for p in BUILTINS.glob("*.py") if p.stem not in ("base",) and p.stem[0] != "_"]
)
def test_every_built_in_is_registered_and_has_tests(path: Path) -> None:
    assert path.stem in plugins.names(GROUP)
    assert path.stem in NAMES, f"no tests/rewards/test_{path.stem}.py"


def test_every_check_is_passed(examples: list[Example]) -> None:
    for example in examples:
        reward = load_reward(example.ref, load_model=example.load_model)
        try:
            findings = check_reward(reward, example.alphabet, example.sequences)
        finally:
            reward.close()
        left_out = set() if example.smooth else {"gradient"}
        failed = [f"{f.check}: {f.detail}" for f in findings if f.outcome == "failed"]
        assert not [line for line in failed if line.partition(":")[0] not in left_out], example.ref
        assert len(findings) > 10


def test_examples_can_fail(examples: list[Example]) -> None:
    for example in examples:
        assert len(set(example.sequences)) == len(example.sequences) >= 20, example.ref
        reward = load_reward(example.ref, load_model=example.load_model)
        reward.bind(example.alphabet)
        first = reward.score(example.sequences).values[:, 0]
        reward.close()
        assert np.isfinite(first).all(), example.ref
        assert len(np.unique(first)) > 1, example.ref


def test_info_is_complete(examples: list[Example]) -> None:
    for example in examples:
        reward = load_reward(example.ref, load_model=example.load_model)
        template, info = type(reward).template, reward.info
        reward.close()
        assert template is not None
        assert template.citation or template.name in ("predictor", "exec", "exec1")
        assert template.outputs[0].unit or template.outputs[0].range or not template.alphabets
        assert (type(reward).__doc__ or "").strip()
        assert info.name
        assert info.version
        assert set(info.alphabets) <= set(BUILTIN_ALPHABETS)
        assert len({output.name for output in info.outputs}) == len(info.outputs) >= 1
