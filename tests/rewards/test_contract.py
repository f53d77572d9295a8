"""What every built-in reward keeps: shapes, order, reasons, refusals, relaxed equals hard."""

from __future__ import annotations

import random
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
import torch

from designkit import plugins
from designkit.alphabet import BUILTIN_ALPHABETS
from designkit.errors import RewardError
from designkit.rewards import Reward, load_reward, score_all
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


def load(example: Example) -> Reward:
    reward = load_reward(example.ref, load_model=example.load_model)
    reward.bind(example.alphabet)
    return reward


@pytest.mark.parametrize(
    "path", [p for p in BUILTINS.glob("*.py") if p.stem not in ("base",) and p.stem[0] != "_"]
)
def test_every_built_in_is_registered_and_has_tests(path: Path) -> None:
    assert path.stem in plugins.names(GROUP)
    assert path.stem in NAMES, f"no tests/rewards/test_{path.stem}.py"


def test_examples_can_fail(examples: list[Example]) -> None:
    for example in examples:
        assert len(set(example.sequences)) == len(example.sequences) >= 20, example.ref
        first = load(example).score(example.sequences).values[:, 0]
        assert np.isfinite(first).all(), example.ref
        assert len(np.unique(first)) > 1, example.ref


def test_info_is_complete(examples: list[Example]) -> None:
    for example in examples:
        reward = load(example)
        template, info = type(reward).template, reward.info
        assert template is not None
        assert template.citation or template.name in ("predictor", "exec", "exec1")
        assert template.outputs[0].unit or template.outputs[0].range or not template.alphabets
        assert (type(reward).__doc__ or "").strip()
        assert info.name
        assert info.version
        assert set(info.alphabets) <= set(BUILTIN_ALPHABETS)
        assert len({output.name for output in info.outputs}) == len(info.outputs) >= 1


@pytest.mark.parametrize("count", [0, 1, 7])
def test_one_row_for_each_sequence(examples: list[Example], count: int) -> None:
    for example in examples:
        reward = load(example)
        scores = score_all(reward, example.sequences[:count])
        assert scores.values.shape == (count, len(reward.info.outputs))
        assert scores.values.dtype == np.float64
        assert len(scores.errors) == count
        if not reward.info.coupled:
            assert np.isfinite(scores.values[:, 0]).all()


def test_values_belong_to_their_sequences(examples: list[Example]) -> None:
    for example in examples:
        reward = load(example)
        if not reward.info.deterministic:
            continue
        together = reward.score(example.sequences).values
        order = random.Random(0).sample(range(len(example.sequences)), len(example.sequences))
        shuffled = reward.score([example.sequences[row] for row in order]).values
        np.testing.assert_allclose(shuffled, together[order], rtol=1e-6)
        if not reward.info.coupled:
            alone = [reward.score([sequence]).values for sequence in example.sequences]
            np.testing.assert_allclose(np.concatenate(alone), together, rtol=1e-6)


def test_values_lie_in_the_declared_range(examples: list[Example]) -> None:
    for example in examples:
        reward = load(example)
        values = reward.score(example.sequences).values
        for column, output in zip(values.T, reward.info.outputs, strict=True):
            if output.range is not None:
                assert np.nanmin(column) >= output.range[0] - 1e-9
                assert np.nanmax(column) <= output.range[1] + 1e-9


@pytest.mark.parametrize("length", [0, 1])
def test_tiny_sequences_have_a_value_or_a_reason(examples: list[Example], length: int) -> None:
    for example in examples:
        scores = score_all(load(example), [example.sequences[0][:length]])
        for value, error in zip(scores.values[:, 0], scores.errors, strict=True):
            assert np.isnan(value) == (error is not None)


def test_other_alphabets_are_refused(examples: list[Example]) -> None:
    for example in examples:
        reward = load(example)
        for name in set(BUILTIN_ALPHABETS) - set(reward.info.alphabets):
            if reward.info.alphabets:
                with pytest.raises(RewardError, match=name):
                    reward.bind(BUILTIN_ALPHABETS[name])


def one_hots(example: Example, sequences: list[str]) -> torch.Tensor:
    tokens = torch.from_numpy(example.alphabet.encode(sequences))
    return torch.nn.functional.one_hot(tokens, example.alphabet.size).float()


def test_relaxed_equals_hard_on_one_hots(examples: list[Example]) -> None:
    for example in examples:
        reward = load(example)
        length = len(example.sequences[0])
        sequences = [s for s in example.sequences if len(s) == length]
        probs = one_hots(example, sequences)
        if not reward.info.differentiable:
            with pytest.raises(RewardError, match="not differentiable"):
                reward.score_relaxed(probs)
            continue
        hard = reward.score(sequences).values[:, 0]
        for valid in (None, torch.ones(probs.shape[:2], dtype=torch.bool)):
            relaxed = reward.score_relaxed(probs, valid)
            assert relaxed.shape == (len(sequences),)
            np.testing.assert_allclose(relaxed.detach().numpy(), hard, rtol=1e-5, atol=1e-5)


def test_gradients_are_finite_differences(examples: list[Example]) -> None:
    for example in examples:
        reward = load(example)
        if not (reward.info.differentiable and example.smooth):
            continue
        shape = (3, len(example.sequences[0]), example.alphabet.size)
        logits = torch.randn(*shape, generator=torch.Generator().manual_seed(0)).double()
        probs = torch.softmax(logits, -1).requires_grad_()
        assert torch.autograd.gradcheck(reward.score_relaxed, (probs,), eps=1e-6, atol=1e-6)
