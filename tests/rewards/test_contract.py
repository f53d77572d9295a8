"""What every registered reward keeps: shapes, order, reasons, refusals, relaxed equals hard."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from designkit import plugins
from designkit.alphabet import BUILTIN_ALPHABETS, Alphabet
from designkit.errors import RewardError
from designkit.rewards import Reward, load_reward, score_batches
from designkit.rewards._loader import GROUP
from tests.rewards.examples import linear_predictor

NAMES = plugins.names(GROUP)
LENGTH = 12


def references(name: str, folder: Path) -> list[str]:
    """References that make a reward; one that needs parameters is named here."""
    if name == "motif":
        return [f"motif?file={folder}", f"motif?file={folder}&strand=forward"]
    return {
        "gc": ["gc", "gc?low=0.4&high=0.6", "gc?high=0.3"],
        "model": ["model:mrl"],
    }.get(name, [name])


def load(ref: str) -> Reward:
    return load_reward(ref, load_model=lambda _: linear_predictor(lengths=(1, LENGTH)))


@pytest.fixture(params=NAMES)
def rewards(request: pytest.FixtureRequest, motif_file: Path) -> list[Reward]:
    return [load(ref) for ref in references(request.param, motif_file)]


def alphabet_of(reward: Reward) -> Alphabet:
    return BUILTIN_ALPHABETS[reward.info.alphabets[0] if reward.info.alphabets else "dna"]


def sequences_for(reward: Reward, count: int, length: int = LENGTH) -> list[str]:
    letters = alphabet_of(reward).letters
    source = random.Random(count)
    return ["".join(source.choices(letters, k=length)) for _ in range(count)]


def bound(reward: Reward) -> Reward:
    reward.bind(alphabet_of(reward))
    return reward


def test_built_ins_are_registered() -> None:
    assert {"gc", "model", "motif"} <= set(NAMES)


def test_info_is_complete(rewards: list[Reward]) -> None:
    for reward in rewards:
        info = reward.info
        assert info.name
        assert info.version
        assert set(info.alphabets) <= set(BUILTIN_ALPHABETS)
        assert len({output.name for output in info.outputs}) == len(info.outputs) >= 1


@pytest.mark.parametrize("count", [0, 1, 7])
def test_one_row_for_each_sequence(rewards: list[Reward], count: int) -> None:
    for reward in map(bound, rewards):
        scores = score_batches(reward.score, reward.info, sequences_for(reward, count))
        assert scores.values.shape == (count, len(reward.info.outputs))
        assert scores.values.dtype == np.float64
        assert np.isfinite(scores.values).all()
        assert scores.errors == [None] * count


def test_values_belong_to_their_sequences(rewards: list[Reward]) -> None:
    for reward in map(bound, rewards):
        if not reward.info.deterministic:
            continue
        sequences = sequences_for(reward, 20) + sequences_for(reward, 5, LENGTH - 2)
        together = reward.score(sequences).values
        assert len(np.unique(together[:, 0])) > 1, "the check below could not fail"
        order = random.Random(0).sample(range(len(sequences)), len(sequences))
        shuffled = reward.score([sequences[row] for row in order]).values
        np.testing.assert_allclose(shuffled, together[order], rtol=1e-6)
        alone = np.concatenate([reward.score([sequence]).values for sequence in sequences])
        np.testing.assert_allclose(alone, together, rtol=1e-6)


def test_values_lie_in_the_declared_range(rewards: list[Reward]) -> None:
    for reward in map(bound, rewards):
        values = reward.score(sequences_for(reward, 200)).values
        for column, output in zip(values.T, reward.info.outputs, strict=True):
            if output.range is not None:
                assert column.min() >= output.range[0] - 1e-9
                assert column.max() <= output.range[1] + 1e-9


@pytest.mark.parametrize("length", [0, 1])
def test_tiny_sequences_have_a_value_or_a_reason(rewards: list[Reward], length: int) -> None:
    for reward in map(bound, rewards):
        sequences = sequences_for(reward, 2, length)
        scores = score_batches(reward.score, reward.info, sequences)
        for value, error in zip(scores.values[:, 0], scores.errors, strict=True):
            assert np.isnan(value) == (error is not None)


def test_other_alphabets_are_refused(rewards: list[Reward]) -> None:
    for reward in rewards:
        for name in set(BUILTIN_ALPHABETS) - set(reward.info.alphabets):
            if reward.info.alphabets:
                with pytest.raises(RewardError, match=name):
                    reward.bind(BUILTIN_ALPHABETS[name])


def one_hots(reward: Reward, sequences: list[str], dtype: Any = torch.float32) -> torch.Tensor:
    alphabet = alphabet_of(reward)
    tokens = torch.from_numpy(alphabet.encode(sequences))
    return torch.nn.functional.one_hot(tokens, alphabet.size).to(dtype)


def test_relaxed_equals_hard_on_one_hots(rewards: list[Reward]) -> None:
    for reward in map(bound, rewards):
        sequences = sequences_for(reward, 50)
        if not reward.info.differentiable:
            with pytest.raises(RewardError, match="not differentiable"):
                reward.score_relaxed(one_hots(reward, sequences))
            continue
        hard = reward.score(sequences).values[:, 0]
        probs = one_hots(reward, sequences)
        for valid in (None, torch.ones(probs.shape[:2], dtype=torch.bool)):
            relaxed = reward.score_relaxed(probs, valid)
            assert relaxed.shape == (50,)
            np.testing.assert_allclose(relaxed.detach().numpy(), hard, rtol=1e-5, atol=1e-5)


def test_gradients_are_finite_differences(rewards: list[Reward]) -> None:
    for reward in map(bound, rewards):
        if not reward.info.differentiable or reward.info.name == "mrl":
            continue  # networks are float32; their gradients are checked in test_model
        probs = torch.softmax(
            torch.randn(3, LENGTH, 4, generator=torch.Generator().manual_seed(0)).double(), -1
        ).requires_grad_()
        assert torch.autograd.gradcheck(reward.score_relaxed, (probs,), eps=1e-6, atol=1e-6)
