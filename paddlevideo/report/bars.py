"""Bars with names and intervals as a picture: one number of several runs, side by side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from paddlevideo.report import figures
from paddlevideo.report.figures import BLUE, DIM, INK, SKY

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MARGIN, HEAD, ROW, NAMES, LENGTH, VALUES, FOOT = 18, 56, 20, 210, 300, 40, 30  # points


@dataclass(frozen=True)
class Bar:
    """A number with its confidence interval; ``low`` and ``high`` are None where unknown."""

    name: str
    value: float
    low: float | None = None
    high: float | None = None


def write_bars(path: Path, title: str, note: str, bars: Sequence[Bar]) -> None:
    """Writes ``bars``, at least one, values from 0 up, as a PNG, whole or not at all.

    The first one, to which the others are compared, has a colour and a line of its own.
    """
    with figures.drawing(title, note, *(bar.name for bar in bars)):
        figures.save_png(path, draw_bars(title, note, bars))


def draw_bars(title: str, note: str, bars: Sequence[Bar]) -> Figure:
    """The picture itself, to be called within :func:`paddlevideo.report.figures.drawing`."""
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    width, height = 2 * MARGIN + NAMES + LENGTH + VALUES, HEAD + ROW * len(bars) + FOOT
    figure = figures.new_figure(width, height)
    figures.add_text(figure, title, (MARGIN, 13), width - 2 * MARGIN, size=13, weight="bold")
    figures.add_text(figure, note, (MARGIN, 32), width - 2 * MARGIN, size=8.5, color=DIM)
    axes = figures.add_axes(figure, MARGIN + NAMES, HEAD, LENGTH, ROW * len(bars))
    axes.set_xlim(0, 1.02 * max(max(bar.value, bar.high or 0.0) for bar in bars) or 1.0)
    axes.set_ylim(len(bars) - 0.5, -0.5)
    axes.set_yticks([])
    axes.grid(visible=True, axis="x")
    axes.spines["bottom"].set_visible(False)
    axes.xaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 5, 10]))
    axes.xaxis.set_major_formatter(FuncFormatter(figures.short))
    axes.axvline(bars[0].value, color=BLUE, linewidth=1.2)
    for row, bar in enumerate(bars):
        weight = "normal" if row else "bold"
        axes.barh(row, bar.value, height=0.62, color=SKY if row else BLUE)
        end = bar.value
        if bar.low is not None and bar.high is not None:
            low, end = max(bar.low, 0.0), max(bar.value, bar.high)
            axes.plot((low, end), (row, row), color=INK, linewidth=1.2, marker="|", markersize=6)
        axes.text(end, row, f"  {bar.value:.1f}", va="center", size=8.5, weight=weight)
        middle = (MARGIN + NAMES - 8, HEAD + ROW * (row + 0.5))
        name = figures.add_text(figure, bar.name, middle, NAMES - 8, size=8.5, weight=weight)
        name.set(ha="right", va="center")
    return figure
