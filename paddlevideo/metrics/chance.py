"""Exact expectations for random answers."""

from __future__ import annotations

import numpy as np


def miss_probabilities(positives: np.ndarray, candidates: int) -> np.ndarray:
    """Returns, at index k, the probability that k random answers contain no positive.

    k of N candidates miss all n positives with probability C(N - n, k) / C(N, k).
    Queries with the same number of positives are computed once.

    Args:
        positives: (queries,) the number of positives of each query, at most ``candidates``.
        candidates: N.

    Returns:
        (candidates + 1,) float64, the mean over the queries.
    """
    counts, queries = np.unique(positives, return_counts=True)
    drawn = np.arange(candidates)[:, None]
    odds = np.clip(candidates - counts - drawn, 0, None) / (candidates - drawn)
    return np.concatenate([[1.0], np.cumprod(odds, axis=0) @ (queries / queries.sum())])


def mean_rank(positives: np.ndarray, candidates: int) -> float:
    """Returns the mean expected rank of the best of n positives: 1 + (N - n) / (n + 1)."""
    counts, queries = np.unique(positives, return_counts=True)
    return float((1 + (candidates - counts) / (counts + 1)) @ (queries / queries.sum()))
