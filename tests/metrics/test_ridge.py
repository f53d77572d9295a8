import numpy as np
import pytest

from designkit.errors import InputError
from designkit.metrics.regression import r_squared
from designkit.metrics.ridge import PENALTY_GRID, RidgeKmer
from designkit.sequence_stats import kmer_counts


def test_the_solution_is_that_of_the_textbook_formula():
    generator = np.random.default_rng(1)
    tokens = [generator.integers(4, size=length) for length in [9] * 30 + [12] * 30]
    y = generator.normal(size=60)
    model = RidgeKmer(4, longest=2).fit(tokens, y, valid=(tokens, y))
    x = np.concatenate(
        [
            np.stack([np.concatenate([kmer_counts(t[None], k, 4)[0] for k in (1, 2)])])
            for t in tokens
        ]
    )
    x = (x - x.mean(0)) / x.std(0)
    weights = np.linalg.solve(x.T @ x + model.penalty * np.eye(20), x.T @ (y - y.mean()))
    np.testing.assert_allclose(model.predict(tokens), x @ weights + y.mean(), atol=1e-8)


def test_a_position_effect_is_learnt_at_one_length_and_kmers_at_any():
    generator = np.random.default_rng(2)
    tokens = generator.integers(4, size=(1200, 30))
    by_position = 2.0 * (tokens[:, 7] == 2) - (tokens[:, 20] == 0)
    model = RidgeKmer(4, longest=2).fit(tokens[:1000], by_position[:1000])
    assert model.length == 30
    assert r_squared(by_position[1000:], model.predict(tokens[1000:])) > 0.95
    by_words = kmer_counts(tokens, 2, 4)[:, 6].astype(float)
    mixed = [row[: 20 + i % 10] for i, row in enumerate(tokens)]
    by_words = np.array([kmer_counts(row[None], 2, 4)[0, 6] for row in mixed], dtype=float)
    model = RidgeKmer(4, longest=2).fit(mixed[:1000], by_words[:1000])
    assert model.length is None
    assert r_squared(by_words[1000:], model.predict(mixed[1000:])) > 0.95


def test_the_penalty_is_the_best_of_the_grid_on_the_validation_set():
    generator = np.random.default_rng(3)
    tokens = generator.integers(4, size=(300, 20))
    noise = generator.normal(size=300)
    model = RidgeKmer(4).fit(tokens[:150], noise[:150], valid=(tokens[150:], noise[150:]))
    assert model.penalty == max(PENALTY_GRID)  # nothing to learn: shrink to the mean
    signal = (tokens == 1).sum(1) + 0.0
    model = RidgeKmer(4).fit(tokens[:150], signal[:150], valid=(tokens[150:], signal[150:]))
    assert model.penalty < max(PENALTY_GRID)


def test_features_stay_within_their_bound():
    tokens = np.random.default_rng(4).integers(20, size=(50, 40))
    model = RidgeKmer(20, max_features=1000).fit(tokens, np.arange(50.0))
    assert (model.length, model.orders) == (40, (1,))  # 800 positions + 20; 400 more do not fit
    model = RidgeKmer(20, max_features=500).fit(tokens, np.arange(50.0))
    assert (model.length, model.orders) == (None, (1, 2))


def test_misuse_is_refused():
    tokens = np.zeros((4, 6), dtype=int)
    with pytest.raises(InputError, match="not been fitted"):
        RidgeKmer(4).predict(tokens)
    with pytest.raises(InputError, match="finite"):
        RidgeKmer(4).fit(tokens, [1, 2, 3, np.nan])
    with pytest.raises(InputError, match="labels of shape"):
        RidgeKmer(4).fit(tokens, [1, 2, 3])
    tokens = np.random.default_rng(5).integers(4, size=(40, 6))
    model = RidgeKmer(4, longest=2).fit(tokens, np.arange(40.0))
    with pytest.raises(InputError, match="length 6, got 5"):
        model.predict(tokens[:, :5])
