"""Bar charts: one number of several runs, with names and confidence intervals."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from paddlevideo.report import figures
from paddlevideo.report.figures import BLUE, DIM, INK, SKY

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class Bar:
    """A number with its confidence interval; ``low`` and ``high`` are None if unknown."""

    name: str
    value: float
    low: float | None = None
    high: float | None = None


def write_bars(path: Path, title: str, note: str, bars: Sequence[Bar]) -> None:
    """Writes at least one bar, with values of 0 or more, as a PNG, atomically.

    The first bar is the reference: it has its own colour and a line.
    """
    with figures.drawing(title, note, *(bar.name for bar in bars)):
        figures.save_png(path, draw_bars(title, note, bars))


def draw_bars(title: str, note: str, bars: Sequence[Bar]) -> Figure:
    """Returns the figure; call it within :func:`paddlevideo.report.figures.drawing`."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import FuncFormatter

    figure = Figure(figsize=(8, 1 + 0.29 * len(bars)))
    axes = figure.subplots()
    axes.set_title(figures.fitted(title, 90), pad=22, size=12.5)
    axes.annotate(
        figures.fitted(note, 120), (0, 1), (0, 8), "axes fraction", "offset points", color=DIM
    )
    axes.grid(visible=True, axis="x")
    axes.grid(visible=False, axis="y")
    axes.spines["bottom"].set_visible(False)
    axes.xaxis.set_major_formatter(FuncFormatter(figures.short))
    axes.margins(x=0.08)
    axes.axvline(bars[0].value, color=BLUE, linewidth=1.2)
    for row, bar in enumerate(bars):
        weight = "normal" if row else "bold"
        axes.barh(row, bar.value, height=0.62, color=SKY if row else BLUE)
        end = bar.value
        if bar.low is not None and bar.high is not None:
            low, end = max(bar.low, 0.0), max(bar.value, bar.high)
            axes.plot((low, end), (row, row), color=INK, linewidth=1.2, marker="|", markersize=6)
        axes.text(end, row, f"  {bar.value:.1f}", va="center", weight=weight)
    axes.set_yticks(range(len(bars)), [figures.fitted(bar.name, 40) for bar in bars], color=INK)
    axes.set_ylim(len(bars) - 0.5, -0.5)
    axes.set_xlim(left=0)
    return figure
