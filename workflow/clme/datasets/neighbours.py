"""Exact nearest neighbours by cosine similarity (Section III-C, Step 2)."""

import numpy as np

BLOCK = 256
"""Queries at a time: beside 318,336 others, two matrices of 330 MB."""


def nearest(queries: np.ndarray, others: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the `count` nearest of `others` to each query, the nearest first; ties go to the lower index.

    Args:
        queries: unit vectors [n, d].
        others: unit vectors [m, d], m at least `count`; compared in blocks of queries, so that memory is
            bounded by block x m.
        count: neighbours wanted.

    Returns:
        Indices and similarities, each [n, count].
    """
    indices = np.empty((len(queries), count), dtype=np.int64)
    similarities = np.empty((len(queries), count), dtype=np.float64)
    for start in range(0, len(queries), BLOCK):
        scores = queries[start : start + BLOCK] @ others.T
        # The count-th largest bounds the candidates; only those are sorted.
        bound = np.partition(scores, -count, axis=1)[:, -count]
        for row, (line, lowest) in enumerate(zip(scores, bound, strict=True), start):
            candidates = np.flatnonzero(line >= lowest)
            best = candidates[np.argsort(-line[candidates], kind="stable")][:count]
            indices[row], similarities[row] = best, line[best]
    return indices, similarities
