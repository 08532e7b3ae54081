"""Intervals and tests against known values, scipy's and their own definitions."""

import numpy as np
import pytest
from scipy import stats

from clme.study import statistics


def test_resampled_means_draw_cases_whole():
    values = np.array([[0.0, 10.0], [1.0, 11.0], [5.0, 15.0]])
    means = statistics.resampled_means(values, np.random.default_rng(0), resamples=50)
    assert means.shape == (50, 2)
    assert means[:, 1] == pytest.approx(means[:, 0] + 10)
    assert len(np.unique(means[:, 0])) > 5


def test_the_interval_is_the_percentile_bootstraps():
    values = np.random.default_rng(1).gamma(2, size=(60, 1))
    low, high = statistics.interval(statistics.resampled_means(values, np.random.default_rng(2)))
    found = stats.bootstrap(
        (values[:, 0],), np.mean, n_resamples=20000, method="percentile", rng=np.random.default_rng(3)
    ).confidence_interval
    assert (low[0], high[0]) == pytest.approx((found.low, found.high), rel=0.03)


def test_a_single_case_has_its_value_as_interval():
    means = statistics.resampled_means(np.array([[0.25, 1.0]]), np.random.default_rng(0))
    assert [bound.tolist() for bound in statistics.interval(means)] == [[0.25, 1.0], [0.25, 1.0]]


def test_binary_values_are_compared_by_mcnemars_test():
    differences = np.array([1.0] * 9 + [-1.0] * 2 + [0.0] * 30)
    assert statistics.paired_test(differences) == pytest.approx(stats.binomtest(9, 11).pvalue)


@pytest.mark.parametrize("count", [7, 11])
def test_few_graded_values_are_compared_by_the_exact_signed_rank_test(count):
    differences = np.random.default_rng(count).normal(0.4, size=count)
    expected = stats.wilcoxon(differences, method="exact").pvalue
    assert statistics.paired_test(differences) == pytest.approx(expected)


def test_ties_among_few_values_are_exact():
    # Ranks 1.5, 1.5, 3: of the 8 sign patterns, two are as far from 0 as all positive.
    assert statistics.paired_test(np.array([0.2, 0.2, 0.7])) == pytest.approx(2 / 8)


def test_many_graded_values_are_compared_by_the_signed_rank_test():
    differences = np.round(np.random.default_rng(5).normal(0.2, size=200), 1)
    expected = stats.wilcoxon(differences[differences != 0]).pvalue
    assert statistics.paired_test(differences) == pytest.approx(expected)


def test_equal_values_do_not_differ():
    assert statistics.paired_test(np.zeros(10)) == 1.0


def test_holm_is_holms():
    assert statistics.holm(np.array([0.01, 0.04, 0.03, 0.005])) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert statistics.holm(np.array([0.6, 0.9])).tolist() == [1.0, 1.0]
