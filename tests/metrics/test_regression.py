import numpy as np
import pytest

from designkit.errors import InputError
from designkit.metrics.regression import (
    average_ranks,
    bootstrap_interval,
    pearson,
    r_squared,
    spearman,
)


def test_pearson_by_hand():
    # Deviations (-1, 0, 1) and (-2, 1, 1): 3 / sqrt(2 * 6).
    assert pearson([1, 2, 3], [0, 3, 3]) == pytest.approx(3 / 12**0.5)


def test_spearman_by_hand_with_ties():
    # Ranks (1, 2.5, 2.5, 4) and (1, 2, 3, 4): 4.5 / sqrt(4.5 * 5).
    assert spearman([1, 5, 5, 9], [10, 20, 30, 40]) == pytest.approx(4.5 / 22.5**0.5)
    assert spearman([1, 2, 3], [1, 100, 101]) == pytest.approx(1)


def test_average_ranks_by_hand():
    ranks = average_ranks([[3.0, 1.0, 3.0, 2.0], [7.0, 7.0, 7.0, 7.0]])
    np.testing.assert_array_equal(ranks, [[3.5, 1, 3.5, 2], [2.5, 2.5, 2.5, 2.5]])


def test_r_squared_by_hand():
    assert r_squared([1, 2, 3], [1, 2, 4]) == pytest.approx(1 - 1 / 2)
    assert r_squared([1, 2, 3], [2, 2, 2]) == pytest.approx(0)
    assert r_squared([1, 2, 3], [3, 2, 1]) == pytest.approx(-3)


def test_correlations_agree_with_scipy():
    stats = pytest.importorskip("scipy.stats")
    generator = np.random.default_rng(1)
    x = generator.integers(6, size=200).astype(float)
    y = x + generator.integers(5, size=200)
    assert pearson(x, y) == pytest.approx(stats.pearsonr(x, y).statistic, abs=1e-12)
    assert spearman(x, y) == pytest.approx(stats.spearmanr(x, y).statistic, abs=1e-12)
    np.testing.assert_array_equal(average_ranks(x), stats.rankdata(x))


@pytest.mark.parametrize("metric", [pearson, spearman, r_squared])
def test_a_stack_of_rows_is_one_call(metric):
    x, y = np.random.default_rng(2).normal(size=(2, 3, 40))
    np.testing.assert_allclose(metric(x, y), [metric(a, b) for a, b in zip(x, y, strict=True)])


@pytest.mark.parametrize("metric", [pearson, spearman, r_squared])
def test_constant_truth_is_nan_without_a_warning(metric):
    assert np.isnan(metric([2, 2, 2], [1, 2, 3]))


@pytest.mark.parametrize(
    ("truth", "prediction", "message"),
    [([1, 2], [1, 2, 3], "shape"), ([1], [1], "two items"), ([1, np.nan], [1, 2], "finite")],
)
def test_what_cannot_be_compared_is_refused(truth, prediction, message):
    with pytest.raises(InputError, match=message):
        pearson(truth, prediction)


def test_the_bootstrap_interval_matches_fishers_for_normal_data():
    generator = np.random.default_rng(3)
    x = generator.normal(size=2000)
    y = 0.6 * x + 0.8 * generator.normal(size=2000)
    low, high = bootstrap_interval(pearson, x, y, resamples=2000, seed=4)
    centre = np.arctanh(pearson(x, y))
    expected = np.tanh(centre + np.array([-1.96, 1.96]) / np.sqrt(1997))
    np.testing.assert_allclose([low, high], expected, atol=0.006)


def test_the_bootstrap_interval_is_set_by_its_seed_alone():
    x, y = np.random.default_rng(5).normal(size=(2, 50))
    first = bootstrap_interval(spearman, x, y, seed=1)
    np.random.default_rng().random()
    assert bootstrap_interval(spearman, x, y, seed=1) == first
    assert bootstrap_interval(spearman, x, y, seed=2) != first


def test_a_bootstrap_without_values_is_nan():
    assert np.isnan(bootstrap_interval(pearson, [1, 1, 1], [1, 2, 3], resamples=9, seed=0)).all()
