"""Numbers and positions of a report's charts: queries by rank, and recall at every rank.

The templates draw a chart of 360 x 250 units, which the page scales.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

MARKED = (1, 5, 10)  # the ranks of R@1, R@5, R@10
POINTS = 80  # of a curve
LEFT, RIGHT, TOP, BOTTOM = 34, 348, 10, 212  # the plot of the recall
WIDTH, THICKEST, LOWEST = 360, 24, 244  # of the histogram, its bars, and where the last one ends
CHARACTER, COUNTS = 7.6, 46  # widths of a character and of the count behind a bar


@dataclass(frozen=True)
class Ranked:
    """The ranks of one direction of retrieval."""

    name: str  # of the direction, for people
    style: str  # class of its marks on the page
    ranks: np.ndarray  # queries, int64
    #: By k, recall at k of random scores in percent, as far as the metric gives it.
    chance: Mapping[int, float]
    #: Whether every query has one right answer: chance is proportional to k then.
    single: bool = True

    @property
    def largest(self) -> int:
        """The largest rank, or the number of candidates where that is known."""
        return max([int(self.ranks.max()), *(k for k, _ in self.chance_points())])

    def chance_points(self) -> list[tuple[int, float]]:
        """Ranks and recalls in percent, ascending; empty where chance is not known."""
        first = self.chance.get(1, 0.0)
        if not self.single or first <= 0:
            return sorted(self.chance.items())
        candidates = max(round(100 / first), 1)
        return [(int(k), 100 * k / candidates) for k in spread_ranks(candidates)]


@dataclass(frozen=True)
class Bin:
    """Queries whose rank is one of ``first`` .. ``last``."""

    first: int
    last: int
    count: int

    @property
    def name(self) -> str:
        """``1`` or ``2-5``."""
        return f"{self.first}" if self.first == self.last else f"{self.first}–{self.last}"


def rank_bins(ranks: np.ndarray, largest: int) -> list[Bin]:
    """Counts of ``ranks`` (queries,) in 1, 2-5, 6-10, 11-20, 21-50, ... as far as ``largest``."""
    ends = [1, 5, 10]
    while ends[-1] < largest:
        first_digit = str(ends[-1])[0]
        ends.append(ends[-1] * 5 // 2 if first_digit == "2" else ends[-1] * 2)
    return [
        Bin(before + 1, end, int(np.count_nonzero((ranks > before) & (ranks <= end))))
        for before, end in pairwise([0, *ends])
    ]


def recall_at(ranks: np.ndarray, places: np.ndarray) -> np.ndarray:
    """Percent of ``ranks`` (queries,) that are at most each of ``places`` (k,)."""
    return 100 * np.searchsorted(np.sort(ranks), places, side="right") / len(ranks)


def spread_ranks(largest: int) -> np.ndarray:
    """About ``POINTS`` ranks from 1 to ``largest``, evenly on a logarithmic axis."""
    return np.unique(np.geomspace(1, largest, POINTS).round().astype(np.int64))


@dataclass(frozen=True)
class Bar:
    """A bar of a histogram."""

    name: str
    count: int
    top: float
    base: float  # line of the texts beside it
    height: float
    length: float


@dataclass(frozen=True)
class Curve:
    """What the charts show of one direction; ``recall`` and ``chance`` are points of polylines."""

    name: str
    style: str
    bars: Sequence[Bar]
    start: float  # of the bars
    bins_in_words: str
    recall: str
    chance: str
    marks: Sequence[tuple[float, float, str]]  # x, y, what it says


@dataclass(frozen=True)
class RankCharts:
    """A histogram for each curve, and the recall of all; ``rows``, ``columns``: of its grid."""

    curves: Sequence[Curve]
    recall_in_words: str
    rows: Sequence[tuple[float, str]]
    columns: Sequence[tuple[float, str]]


def rank_charts(directions: Sequence[Ranked]) -> RankCharts:
    """The charts of at least one direction, with equal axes."""
    last_bin = max(int(each.ranks.max()) for each in directions)
    largest = max(*MARKED, *(each.largest for each in directions))
    recalls = [recall_at(each.ranks, np.array(MARKED)).tolist() for each in directions]
    words = [
        f"{each.name}: "
        + ", ".join(f"{value:.1f} % at {k}" for k, value in zip(MARKED, recall, strict=True))
        for each, recall in zip(directions, recalls, strict=True)
    ]
    powers = [10**power for power in range(int(math.log10(largest)) + 1)]
    return RankCharts(
        [_curve(each, last_bin, largest) for each in directions],
        "Percent of queries whose right answer is among the first k. " + ". ".join(words) + ".",
        [(_y(percent), str(percent)) for percent in (0, 25, 50, 75, 100)],
        [(_x(power, largest), f"{power:,}") for power in powers],
    )


def _curve(ranked: Ranked, last_bin: int, largest: int) -> Curve:
    bins = rank_bins(ranked.ranks, last_bin)
    start = 10 + CHARACTER * max(len(each.name) for each in bins)
    places = np.union1d(spread_ranks(largest), MARKED)
    marks = zip(MARKED, recall_at(ranked.ranks, np.array(MARKED)).tolist(), strict=True)
    return Curve(
        ranked.name,
        ranked.style,
        _bars(bins, start),
        start,
        "Number of queries by rank of the right answer. "
        + ", ".join(f"{each.name}: {each.count}" for each in bins)
        + ".",
        _points(
            zip(places.tolist(), recall_at(ranked.ranks, places).tolist(), strict=True), largest
        ),
        _points(ranked.chance_points(), largest),
        [(_x(k, largest), _y(value), f"{ranked.name}: R@{k} {value:.1f} %") for k, value in marks],
    )


def _bars(bins: Sequence[Bin], start: float) -> list[Bar]:
    highest, step = max(1, *(each.count for each in bins)), (LOWEST - TOP) / len(bins)
    height = min(THICKEST, round(0.64 * step, 1))
    bars = []
    for row, each in enumerate(bins):
        middle = TOP + step * (row + 0.5)
        length = max((WIDTH - start - COUNTS) * each.count / highest, 1.5)
        top, base = round(middle - height / 2, 1), round(middle + 4.5, 1)
        bars.append(Bar(each.name, each.count, top, base, height, round(length, 1)))
    return bars


def _x(rank: float, largest: int) -> float:
    return round(LEFT + (RIGHT - LEFT) * math.log(rank) / math.log(largest), 1)


def _y(percent: float) -> float:
    return round(BOTTOM - (BOTTOM - TOP) * percent / 100, 1)


def _points(pairs: Iterable[tuple[float, float]], largest: int) -> str:
    return " ".join(f"{_x(rank, largest)},{_y(percent)}" for rank, percent in pairs)
