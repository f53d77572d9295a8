import math

import numpy as np
import pytest

from designkit.errors import InputError
from designkit.metrics.markov import PSEUDOCOUNT_GRID, MarkovModel


def test_order_0_is_smoothed_composition_by_hand():
    model = MarkovModel(0, 2).fit(np.array([[0, 0, 1]]), pseudocount=1.0)
    # (2 + 1) / 5 and (1 + 1) / 5
    np.testing.assert_allclose(
        model.log_likelihood(np.array([[0, 1], [1, 1]])), np.log([6 / 25, 4 / 25])
    )


def test_order_1_by_hand_starts_with_order_0():
    model = MarkovModel(1, 2).fit(np.array([[0, 0, 1, 0]]), pseudocount=0.5)
    # p(0) = 3.5/5; after 0: one 0, one 1 -> 1/2 each; after 1: one 0 -> 1.5/2 and 0.5/2
    expected = np.log(3.5 / 5) + np.log(1 / 2) + np.log(0.5 / 2)
    assert model.log_likelihood(np.array([[0, 1, 1]]))[0] == pytest.approx(expected)


@pytest.mark.parametrize("order", [0, 1, 3])
def test_probabilities_of_all_sequences_of_a_length_sum_to_one(order):
    tokens = np.random.default_rng(1).integers(3, size=(20, 9))
    model = MarkovModel(order, 3).fit(tokens)
    everything = np.indices((3,) * 6).reshape(6, -1).T
    assert np.exp(model.log_likelihood(everything)).sum() == pytest.approx(1, abs=1e-12)
    shorter = np.array([[0], [1], [2]])
    assert np.exp(model.log_likelihood(shorter)).sum() == pytest.approx(1, abs=1e-12)


def test_bits_per_letter_find_the_entropy_rate_of_a_known_chain():
    generator = np.random.default_rng(2)
    chain = np.zeros((400, 100), dtype=np.int64)
    stay = generator.random(chain.shape) < 0.9
    chain[:, 0] = generator.integers(2, size=400)
    for i in range(1, 100):
        chain[:, i] = np.where(stay[:, i], chain[:, i - 1], 1 - chain[:, i - 1])
    rate = -(0.9 * math.log2(0.9) + 0.1 * math.log2(0.1))
    expected = (1 + 99 * rate) / 100
    fitted = MarkovModel(1, 2).fit(chain[:200])
    assert fitted.bits_per_letter(chain[200:]) == pytest.approx(expected, abs=0.015)
    assert MarkovModel(0, 2).fit(chain[:200]).bits_per_letter(chain[200:]) == pytest.approx(
        1, abs=0.005
    )


def test_rows_of_mixed_lengths_score_as_they_do_alone():
    tokens = np.random.default_rng(3).integers(4, size=(10, 12))
    model = MarkovModel(3, 4).fit(list(tokens))
    rows = [tokens[0], tokens[1, :2], tokens[2, :7]]
    alone = [model.log_likelihood(row[None])[0] for row in rows]
    np.testing.assert_allclose(model.log_likelihood(rows), alone)
    np.testing.assert_allclose(
        MarkovModel(3, 4).fit(tokens).log_likelihood(tokens), model.log_likelihood(tokens)
    )


def test_a_validation_set_chooses_the_likeliest_pseudocount():
    tokens = np.random.default_rng(4).integers(4, size=(30, 40))  # no order: heavy smoothing wins
    train, valid = tokens[:15], tokens[15:]
    tuned = MarkovModel(3, 4).fit(train, valid=valid)
    by_choice = {
        c: MarkovModel(3, 4).fit(train, pseudocount=c).bits_per_letter(valid)
        for c in PSEUDOCOUNT_GRID
    }
    assert tuned.pseudocount == min(by_choice, key=by_choice.__getitem__)
    assert tuned.bits_per_letter(valid) == pytest.approx(min(by_choice.values()))
    assert tuned.pseudocount > 0.5


def test_misuse_is_refused():
    with pytest.raises(InputError, match="fitted"):
        MarkovModel(0, 4).log_likelihood(np.zeros((1, 3), dtype=int))
    with pytest.raises(InputError, match="pseudocount"):
        MarkovModel(0, 4).fit(np.zeros((1, 3), dtype=int), pseudocount=0.0)
