"""Tests whether one model ranks better than another or only had luck with the queries."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from paddlevideo.utils.errors import DataError


@dataclass(frozen=True)
class Difference:
    """Recall of ``first`` minus that of ``second``, in percent of the queries."""

    first: float
    second: float
    low: float
    high: float
    not_better: float  # fraction of the resampled tests in which first is not above second

    @property
    def value(self) -> float:
        """The difference in the test itself."""
        return self.first - self.second


def paired_difference(
    first: np.ndarray,
    second: np.ndarray,
    k: int = 10,
    samples: int = 10_000,
    level: float = 95.0,
    seed: int = 0,
) -> Difference:
    """Returns R@k of ``first`` minus R@k of ``second``, with a bootstrap interval over queries.

    Queries are sampled with replacement, the same ones for both sides, so that the difficulty of
    a query cancels out (Efron and Tibshirani 1993, chapter 13: percentiles). The interval
    accounts for other queries of the same kind, not for other seeds than those given.

    Args:
        first: (runs, queries) ranks from 1; a query counts with the fraction of runs that rank it
            among the first k.
        second: (runs, queries), the same queries; the number of runs may differ.
        k: the number of answers to consider.
        samples: the number of resampled tests.
        level: percentage of them within the interval.
        seed: seed of the sampling.

    Raises:
        DataError: the two sides differ in their number of queries, or have none.
    """
    sides = [np.atleast_2d(np.asarray(side)) <= k for side in (first, second)]
    if sides[0].shape[1] != sides[1].shape[1] or not sides[0].size or not sides[1].size:
        shapes = " and ".join(str(side.shape) for side in sides)
        raise DataError(f"ranks of the shapes {shapes} (runs, queries): the queries differ")
    means = [100 * side.mean(axis=0) for side in sides]
    gain = means[0] - means[1]
    rng = np.random.default_rng(seed)
    drawn = np.array([gain[rng.integers(len(gain), size=len(gain))].mean() for _ in range(samples)])
    tail = (100 - level) / 2
    low, high = np.percentile(drawn, [tail, 100 - tail])
    return Difference(
        float(means[0].mean()),
        float(means[1].mean()),
        float(low),
        float(high),
        float(np.mean(drawn <= 1e-9)),
    )
