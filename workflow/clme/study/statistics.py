"""Intervals and tests over cases. A case is one request with all its prompts, and is always drawn whole."""

from itertools import product

import numpy as np
from scipy.stats import binomtest, rankdata, wilcoxon

RESAMPLES = 2000
COVERED = (2.5, 97.5)
_EXACT = 12


def resampled_means(
    values: np.ndarray, random: np.random.Generator, resamples: int = RESAMPLES
) -> np.ndarray:
    """Return means over cases drawn with replacement; all columns of a draw are of the same cases.

    Args:
        values: [cases, columns].
        random: where the draws come from.
        resamples: number of draws.

    Returns:
        [resamples, columns].
    """
    count = len(values)
    means = np.empty((resamples, values.shape[1]))
    for number in range(resamples):
        weights = np.bincount(random.integers(count, size=count), minlength=count)
        means[number] = weights @ values / count
    return means


def interval(means: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the bounds of the 95% percentile interval of each column of `resampled_means`."""
    low, high = np.percentile(means, COVERED, axis=0)
    return low, high


def paired_test(differences: np.ndarray) -> float:
    """Return the two-sided p-value of paired differences being centred at 0.

    Where the compared values are 0 or 1 this is McNemar's exact test; else Wilcoxon's signed-rank test,
    without the pairs that don't differ: exact, also with ties, for few pairs, and asymptotic for more.

    Args:
        differences: [cases].
    """
    apart = differences[differences != 0]
    if not len(apart):
        return 1.0
    if np.isin(apart, (-1, 1)).all():
        return float(binomtest(int((apart > 0).sum()), len(apart)).pvalue)
    if len(apart) <= _EXACT:
        ranks = rankdata(np.abs(apart))
        signs = np.array(list(product((-1, 1), repeat=len(apart))))
        return float((np.abs(signs @ ranks) >= np.abs(np.sign(apart) @ ranks)).mean())
    return float(wilcoxon(apart, method="asymptotic").pvalue)  # type: ignore[call-overload]


def holm(p: np.ndarray) -> np.ndarray:
    """Return p-values adjusted for their number (Holm, 1979: controls the family-wise error rate)."""
    order = np.argsort(p, kind="stable")
    scaled = p[order] * np.arange(len(p), 0, -1)
    adjusted = np.empty(len(p))
    adjusted[order] = np.minimum(np.maximum.accumulate(scaled), 1.0)
    return adjusted
