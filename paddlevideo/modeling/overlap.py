"""The mean of predictions where windows overlap, in memory that does not grow with the video.

A seconds of a window, C classes.
"""

from __future__ import annotations

import numpy as np


class OverlapMean:
    """Averages the rows of windows that come in the order of their starts.

    Seconds before the start of the newest window are final and can be taken.
    """

    def __init__(self) -> None:
        self.first = 0  # the second of row 0
        self._sum: np.ndarray | None = None
        self._count = np.zeros(0)

    def add(self, start: int, rows: np.ndarray) -> np.ndarray:
        """Adds a window that starts at second ``start``, (A, C).

        Returns the means (n, C) of the seconds before it that were not returned yet. Windows must
        follow one another without a gap.
        """
        if self._sum is None:
            self._sum = np.zeros((0, rows.shape[1]))
        final = self._take(start - self.first)
        missing = len(rows) - len(self._count)
        if missing > 0:
            self._sum = np.concatenate([self._sum, np.zeros((missing, rows.shape[1]))])
            self._count = np.concatenate([self._count, np.zeros(missing)])
        self._sum[: len(rows)] += rows
        self._count[: len(rows)] += 1
        return final

    def rest(self) -> np.ndarray:
        """Returns the means (n, C) of all seconds that were not returned yet."""
        return self._take(len(self._count))

    def _take(self, seconds: int) -> np.ndarray:
        assert 0 <= seconds <= len(self._count), "windows in order, without gaps"
        assert self._sum is not None, "add a window first"
        taken = self._sum[:seconds] / self._count[:seconds, None]
        self._sum, self._count = self._sum[seconds:].copy(), self._count[seconds:].copy()
        self.first += seconds
        return taken
