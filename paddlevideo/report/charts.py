"""Computes the charts of a report: queries by rank, and recall at every rank.

The templates draw them in a box of 360 x 250 units, which the page scales.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from paddlevideo.metrics.chance import miss_probabilities

MARKED = np.array([1, 5, 10])  # the ranks of R@1, R@5, R@10
POINTS = 80  # per curve
LEFT, RIGHT, TOP, BOTTOM = 34, 348, 10, 212  # of the recall plot
WIDTH, THICKEST, LOWEST = 360, 24, 244  # of the histogram, its thickest bar, its lower end
CHARACTER, COUNTS = 7.6, 46  # width of a character, and of the count after a bar


@dataclass(frozen=True)
class Ranked:
    """The ranks of one direction of retrieval.

    ``style``: CSS class of its marks. ``candidates``: the number of answers that were ranked; None
    if unknown, in which case chance is unknown too.
    """

    name: str  # of the direction, as shown
    style: str
    ranks: np.ndarray  # queries, int64
    positives: np.ndarray  # queries, int64: the number of correct answers of each
    candidates: int | None

    def chance_points(self) -> list[tuple[int, float]]:
        """Returns ranks and the recall of random scores in percent; [] if chance is unknown."""
        if self.candidates is None:
            return []
        k = spread_ranks(self.candidates)
        missed = miss_probabilities(np.minimum(self.positives, self.candidates), self.candidates)
        return list(zip(k.tolist(), (100 * (1 - missed[k])).tolist(), strict=True))


def rank_bins(ranks: np.ndarray, largest: int) -> dict[str, int]:
    """Counts ``ranks`` (queries,) in the bins 1, 2-5, 6-10, 11-20, ... up to ``largest``."""
    ends = [1, 5, 10]
    while ends[-1] < largest:
        ends.append(ends[-1] * 5 // 2 if str(ends[-1])[0] == "2" else ends[-1] * 2)
    return {
        f"{last}" if last == before + 1 else f"{before + 1}–{last}": int(
            np.count_nonzero((ranks > before) & (ranks <= last))
        )
        for before, last in pairwise([0, *ends])
    }


def recall_at(ranks: np.ndarray, k: np.ndarray) -> np.ndarray:
    """Returns the percentage of ``ranks`` (queries,) that are at most each of ``k`` (n,)."""
    return 100 * np.searchsorted(np.sort(ranks), k, side="right") / len(ranks)


def spread_ranks(largest: int) -> np.ndarray:
    """Returns about ``POINTS`` ranks from 1 to ``largest``, evenly spaced on a log axis."""
    return np.unique(np.geomspace(1, largest, POINTS).round().astype(np.int64))


def rank_charts(directions: Sequence[Ranked]) -> dict[str, Any]:
    """Returns the data for the macro ``charts``, for at least one direction, with equal axes."""
    last_bin = max(int(each.ranks.max()) for each in directions)
    largest = max(int(MARKED.max()), last_bin, *(each.candidates or 0 for each in directions))
    curves = [
        {
            "name": each.name,
            "style": each.style,
            **_histogram(rank_bins(each.ranks, last_bin)),
            **_recall(each, largest),
        }
        for each in directions
    ]
    words = [
        f"{each.name}: "
        + ", ".join(f"{recall:.1f} % at {k}" for k, recall in _pairs(each.ranks, MARKED))
        for each in directions
    ]
    powers = [10**power for power in range(int(math.log10(largest)) + 1)]
    return {
        "curves": curves,
        "words": f"Percentage of queries with a correct answer in the top k. {'. '.join(words)}.",
        "rows": [(_y(percent), percent) for percent in (0, 25, 50, 75, 100)],
        "columns": [(_x(power, largest), f"{power:,}") for power in powers],
    }


def _histogram(bins: Mapping[str, int]) -> dict[str, Any]:
    """Returns bars from top to bottom: name, count, upper edge, baseline of text, length."""
    start = 10 + CHARACTER * max(map(len, bins))
    step, scale = (LOWEST - TOP) / len(bins), (WIDTH - start - COUNTS) / max(1, *bins.values())
    height = min(THICKEST, round(0.64 * step, 1))
    middles = [TOP + step * (row + 0.5) for row in range(len(bins))]
    bars = [
        (name, number, round(y - height / 2, 1), round(y + 4.5, 1), round(max(scale * number, 1.5)))
        for y, (name, number) in zip(middles, bins.items(), strict=True)
    ]
    words = ", ".join(f"{name}: {number}" for name, number in bins.items())
    return {
        "start": round(start),
        "height": height,
        "bars": bars,
        "bins": f"Number of queries by rank of the correct answer. {words}.",
    }


def _recall(ranked: Ranked, largest: int) -> dict[str, Any]:
    """Returns the points of the curve and of chance, and marks: x, y, tooltip."""
    return {
        "recall": _points(_pairs(ranked.ranks, np.union1d(spread_ranks(largest), MARKED)), largest),
        "chance": _points(ranked.chance_points(), largest),
        "marks": [
            (_x(k, largest), _y(recall), f"{ranked.name}: R@{k} {recall:.1f} %")
            for k, recall in _pairs(ranked.ranks, MARKED)
        ],
    }


def _pairs(ranks: np.ndarray, k: np.ndarray) -> list[tuple[int, float]]:
    return list(zip(k.tolist(), recall_at(ranks, k).tolist(), strict=True))


def _points(pairs: Iterable[tuple[int, float]], largest: int) -> str:
    return " ".join(f"{_x(rank, largest)},{_y(percent)}" for rank, percent in pairs)


def _x(rank: int, largest: int) -> float:
    return round(LEFT + (RIGHT - LEFT) * math.log(rank) / math.log(largest), 1)


def _y(percent: float) -> float:
    return round(BOTTOM - (BOTTOM - TOP) * percent / 100, 1)
