"""Negatives of adversarial training: what they are, their ceilings, their one-sided error."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch

from designkit.alphabet import DNA
from designkit.models.base import LengthLaw, Predictor
from designkit.randomness import noise_for
from designkit.recipes._negatives import Negatives
from designkit.recipes._training_data import TrainingData
from designkit.recipes.pretrain_settings import AdversarialSettings
from designkit.sequence_stats import kmer_counts

COUNT, LENGTH, DRAWN = 100, 40, 4000


def training_data(lengths: torch.Tensor | None = None) -> TrainingData:
    generator = np.random.default_rng(0)
    lengths = torch.full((COUNT,), LENGTH) if lengths is None else lengths
    tokens = torch.from_numpy(generator.integers(4, size=(COUNT, LENGTH)))
    tokens *= torch.arange(LENGTH) < lengths[:, None]
    labels = np.stack([np.arange(COUNT), -np.arange(COUNT)], axis=1).astype(float)
    frame = pd.DataFrame({"split": ["train"] * COUNT})
    return TrainingData(frame, tokens, lengths, labels, np.ones(COUNT), {}, {}, {})


def negatives(data: TrainingData, **settings: float) -> Negatives:
    outputs = [{"name": "up", "direction": "maximize"}, {"name": "down", "direction": "minimize"}]
    predictor = Predictor(
        members=[],
        alphabet=DNA,
        outputs=outputs,
        mean=torch.zeros(2),
        scale=torch.ones(2),
        length_law=LengthLaw.fit(data.lengths.tolist()),
    )
    labels = torch.tensor(data.labels).float()
    return Negatives(data, labels, predictor, AdversarialSettings(**settings))


def period(row: list[int]) -> int:
    return next(p for p in range(1, len(row) + 1) if row[p:] == row[:-p])


def test_kinds_and_shares() -> None:
    data = training_data()
    chosen = torch.arange(DRAWN) % COUNT
    tokens, lengths, ceiling = negatives(data).draw(chosen, noise_for(1, DRAWN))
    assert set(lengths.tolist()) == {LENGTH}
    # Less is better in the second output, whose labels are the first's times -1: equal ceilings.
    assert ceiling.unique(dim=0).tolist() == [[49.5, 49.5], pytest.approx([89.1, 89.1])]
    shuffled = ceiling[:, 0] > 50
    rows, parents = tokens.tolist(), data.tokens[chosen]
    periods = torch.tensor([period(row) for row in rows])
    repeats = periods <= 6
    kept = (tokens == parents)[~repeats & ~shuffled]
    assert repeats.float().mean().item() == pytest.approx(0.5, abs=0.03)
    assert shuffled.float().mean().item() == pytest.approx(0.25, abs=0.03)
    assert set(periods[repeats].tolist()) == set(range(1, 7))
    # What is left is truncated: a quarter to three quarters of its parent at one of its ends.
    from_left = kept.long().cumprod(1).sum(1)
    from_right = kept.flip(1).long().cumprod(1).sum(1)
    assert torch.maximum(from_left, from_right).min() >= LENGTH // 4
    assert (from_left > from_right).float().mean().item() == pytest.approx(0.5, abs=0.06)
    # Shuffled copies have the dinucleotides of one of the ten best.
    best = {tuple(row) for row in kmer_counts(data.tokens[-10:].numpy(), 2, 4).tolist()}
    assert {tuple(row) for row in kmer_counts(tokens[shuffled].numpy(), 2, 4).tolist()} == best


def test_truncated_for_real_where_lengths_vary() -> None:
    data = training_data(10 + torch.arange(COUNT) % 31)
    chosen = torch.arange(DRAWN) % COUNT
    tokens, lengths, ceiling = negatives(data).draw(chosen, noise_for(1, DRAWN))
    parents, plain = data.tokens[chosen], ceiling[:, 0] < 50
    is_cut = plain & (lengths < data.lengths[chosen])
    assert 0.05 < is_cut.float().mean().item() < 0.125
    assert lengths.min() >= 10
    for row in is_cut.nonzero()[:50, 0].tolist():
        written, parent = tokens[row, : lengths[row]], parents[row, : data.lengths[chosen][row]]
        ends = (parent[: len(written)], parent[-len(written) :])
        assert any(torch.equal(written, end) for end in ends)
    assert not tokens[torch.arange(LENGTH) >= lengths[:, None]].any()  # padding


def test_a_negative_depends_on_its_example_alone() -> None:
    drawn = negatives(training_data())
    chosen = torch.arange(64)
    together = drawn.draw(chosen, noise_for(1, 64).at(5))
    alone = drawn.draw(chosen[20:21], noise_for(1, 1, start=20).at(5))
    later = drawn.draw(chosen, noise_for(1, 64).at(6))
    assert all(torch.equal(a[20:21], b) for a, b in zip(together, alone, strict=True))
    assert not torch.equal(together[0], later[0])


def test_error_is_one_sided_in_the_better_direction() -> None:
    drawn = negatives(training_data(), weight=2)
    ceiling = torch.tensor([[1.0, 1.0]] * 4)
    predicted = torch.tensor([[0.0, 0.0], [4.0, 0.0], [0.0, 4.0], [0.0, -3.0]])
    # The second output is minimised: -3 is 2 better than its ceiling of -1, 4 is bad anyway.
    assert drawn.excess(predicted, ceiling).tolist() == [0.0, 9.0, 0.0, 4.0]


def test_noise_of_the_examples_is_left_as_it_is() -> None:
    noise = noise_for(3, 16)
    extended = negatives(training_data(), share=0.25).extended(noise)
    assert torch.equal(extended.uniform("x")[:16], noise.uniform("x"))
    assert extended.item.tolist() == [*range(16), *range(4)]
    assert not torch.equal(extended.uniform("x")[16:], noise.uniform("x")[:4])
