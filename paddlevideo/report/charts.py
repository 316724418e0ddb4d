"""Charts of ranks as inline SVG: how many queries have which rank, and recall at every rank."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from paddlevideo.metrics.chance import miss_probabilities
from paddlevideo.report.markup import Markup, element, join

MARKED = (1, 5, 10)  # the ranks of R@1, R@5, R@10
MARKS = {"forward": "●", "backward": "■"}  # of a curve, by its style
POINTS = 80  # of a curve
MARK = 7  # side of a mark
WIDTH = 360  # of a chart, in its own units; the page scales it
ROW, BAR, NAMES, COUNTS = 26, 16, 78, 48  # of the histogram
HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 250, 34, 348, 10, 212  # of the recall curve


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


@dataclass(frozen=True)
class Curve:
    """Ranks of one direction of retrieval, for :func:`recall_chart`."""

    name: str  # for people
    style: str  # class of the line, one of MARKS
    ranks: np.ndarray  # queries, int64
    own: np.ndarray  # queries, int64: right answers of each
    candidates: int | None  # how many answers there are; None where chance is not known


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


def chance_recall(own: np.ndarray, candidates: int, places: np.ndarray) -> np.ndarray:
    """Percent (k,) that random scores reach on average at each of ``places`` (k,).

    Args:
        own: (queries,) right answers of each query.
        candidates: N, all answers.
        places: ranks from 1, at most N.
    """
    return 100 * (1 - miss_probabilities(np.minimum(own, candidates), candidates)[places])


def _chart(identity: str, title: str, description: str, height: int, *parts: str) -> Markup:
    """An SVG that a screen reader reads as its title and description."""
    return element(
        "svg",
        element("title", title, id=f"{identity}-title"),
        element("desc", description, id=f"{identity}-description"),
        *parts,
        role="img",
        viewBox=f"0 0 {WIDTH} {height}",
        aria_labelledby=f"{identity}-title {identity}-description",
    )


def histogram(name: str, style: str, ranks: np.ndarray, largest: int) -> Markup:
    """A bar for each of the :func:`rank_bins` of ``ranks`` (queries,).

    ``name`` is the direction for people; ``style`` the class of the bars, unique on the page.
    """
    bins = rank_bins(ranks, largest)
    highest = max(1, *(each.count for each in bins))
    rows = [_bar(each, number, highest, style) for number, each in enumerate(bins)]
    words = ", ".join(f"{each.name}: {each.count}" for each in bins)
    description = f"Number of queries by rank of the right answer. {words}."
    title = f"Ranks, {name}"
    return _chart(f"histogram-{style}", title, description, ROW * len(bins) + 6, *rows)


def _bar(each: Bin, number: int, highest: int, style: str) -> Markup:
    middle = ROW * number + ROW / 2 + 3
    length = (WIDTH - NAMES - COUNTS) * each.count / highest
    return join(
        element("text", each.name, x=NAMES - 8, y=middle + 4, class_="end"),
        element(
            "rect",
            x=NAMES,
            y=middle - BAR / 2,
            width=f"{max(length, 1):.1f}",
            height=BAR,
            rx=2,
            class_=f"fill {style}",
        ),
        element("text", str(each.count), x=f"{NAMES + length + 6:.1f}", y=middle + 4, class_="dim"),
    )


def recall_chart(curves: Sequence[Curve]) -> Markup:
    """Recall in percent at each rank, rank on a logarithmic axis, one line for each of ``curves``.

    Dashed lines are chance, where it is known.
    """
    ends = [max(int(curve.ranks.max()), curve.candidates or 0) for curve in curves]
    largest = max(*MARKED, *ends)
    places = np.geomspace(1, largest, POINTS).round().astype(np.int64)
    places = np.unique(np.concatenate([places, MARKED]))
    lines = [_chance_line(curve, places, largest) for curve in curves]
    lines += [_recall_line(curve, places, largest) for curve in curves]
    words = [f"{curve.name}: {_in_words(curve)}." for curve in curves]
    description = "Percent of queries whose right answer is among the first k. " + " ".join(words)
    return _chart("recall", "Recall at rank k", description, HEIGHT, _axes(largest), *lines)


def _in_words(curve: Curve) -> str:
    recalls = recall_at(curve.ranks, np.array(MARKED))
    return ", ".join(f"{value:.1f} % at {k}" for k, value in zip(MARKED, recalls, strict=True))


def _x(place: float, largest: int) -> float:
    return LEFT + (RIGHT - LEFT) * math.log(place) / math.log(largest)


def _y(percent: float) -> float:
    return BOTTOM - (BOTTOM - TOP) * percent / 100


def _points(places: np.ndarray, percents: np.ndarray, largest: int) -> str:
    pairs = zip(places, percents, strict=True)
    return " ".join(f"{_x(k, largest):.1f},{_y(percent):.1f}" for k, percent in pairs)


def _recall_line(curve: Curve, places: np.ndarray, largest: int) -> Markup:
    percents = recall_at(curve.ranks, places)
    points = _points(places, percents, largest)
    marks = [
        element(
            "rect",
            element("title", f"{curve.name}: R@{k} {percent:.1f} %"),
            x=f"{_x(k, largest) - MARK / 2:.1f}",
            y=f"{_y(percent) - MARK / 2:.1f}",
            width=MARK,
            height=MARK,
            rx=MARK / 2 if MARKS[curve.style] == "●" else 0,
            class_=f"fill {curve.style}",
        )
        for k, percent in zip(MARKED, recall_at(curve.ranks, np.array(MARKED)), strict=True)
    ]
    return join(element("polyline", points=points, class_=f"line {curve.style}"), *marks)


def _chance_line(curve: Curve, places: np.ndarray, largest: int) -> Markup:
    if curve.candidates is None:
        return Markup()
    within = places[places <= curve.candidates]
    percents = chance_recall(curve.own, curve.candidates, within)
    points = _points(within, percents, largest)
    return element("polyline", points=points, class_=f"line chance-line {curve.style}")


def _axes(largest: int) -> Markup:
    """Grid lines with their numbers: every 25 percent, and 1, 10, 100, ... for the rank."""
    parts = []
    for percent in (0, 25, 50, 75, 100):
        y = round(_y(percent), 1)
        parts.append(element("line", x1=LEFT, x2=RIGHT, y1=y, y2=y, class_="grid"))
        parts.append(element("text", str(percent), x=LEFT - 6, y=y + 4, class_="end dim"))
    for power in range(int(math.log10(largest)) + 1):
        x = round(_x(10**power, largest), 1)
        parts.append(element("line", x1=x, x2=x, y1=TOP, y2=BOTTOM, class_="grid"))
        parts.append(element("text", f"{10**power}", x=x, y=BOTTOM + 17, class_="middle dim"))
    middle = (LEFT + RIGHT) / 2
    parts.append(element("text", "rank k", x=middle, y=HEIGHT - 4, class_="middle dim"))
    return join(*parts)
