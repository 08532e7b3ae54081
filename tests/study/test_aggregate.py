import numpy as np
import pytest

from clme.randomness import generator
from clme.study.statistics import interval, resampled_means


def test_the_interval_covers_the_mean_as_often_as_it_says():
    """200 samples of 40 cases of a skewed population; the percentile bootstrap covers a little less."""
    random = np.random.default_rng(0)
    covered = []
    for number in range(200):
        values = (random.random((40, 1)) < 0.3).astype(float)
        low, high = interval(resampled_means(values, generator(number, "coverage"), resamples=200))
        covered.append(low[0] <= 0.3 <= high[0])
    assert 0.88 <= np.mean(covered) <= 0.99


def test_the_interval_narrows_with_the_root_of_the_cases():
    def width(count):
        values = np.random.default_rng(1).random((count, 1))
        low, high = interval(resampled_means(values, generator(0, "width")))
        return high[0] - low[0]

    assert width(100) / width(1600) == pytest.approx(4, rel=0.25)


def test_equal_values_have_no_width():
    low, high = interval(resampled_means(np.full((10, 2), 0.5), generator(0, "x")))
    assert np.array_equal(low, high)
    assert low.tolist() == [0.5, 0.5]
