"""Plots the curves of training runs: one run by kind, or several runs with a chart per number."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from paddlevideo.report import figures
from paddlevideo.report.figures import BLACK, BLUE, COLOURS, DIM, GREEN, ORANGE, PURPLE, RED, SKY
from paddlevideo.report.history import History

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

#: Runs that can be told apart in one picture.
MOST_RUNS = len(COLOURS)
COLUMNS, WIDTH, HEIGHT, HEAD = 3, 4.1, 2.75, 0.75  # of charts and header, in inches
LEGEND = 3  # columns of a legend
MARKED = 30  # curves with fewer points have markers
LOG_RATIO = 20  # smallest ratio of values for a logarithmic axis

#: A task has the same colour as loss and as accuracy; totals are black.
TASKS = {"text": BLUE, "word": BLUE, "region": ORANGE, "action": GREEN, "match": PURPLE}
TASKS |= {"contrast": RED, "retrieval": SKY, "total": BLACK}
#: Labels of curves whose names do not speak for themselves.
LABELS = {"": "total", "lr": "", "lr_lowest": "lowest", "lr_highest": "highest"}
LABELS |= {"text_to_video": "text to video", "video_to_text": "video to text"}
LABELS |= dict.fromkeys(("grad_norm", "ips", "loss_scale"), "")


@dataclass(frozen=True)
class Kind:
    """Numbers that share a chart: ``pattern`` matches their names in train.jsonl.

    Its group is their label. ``alone``: title of a chart of one of them for several runs; "" if
    runs are not compared by it.
    """

    title: str
    pattern: str
    unit: str = ""
    alone: str = ""
    smooth: bool = False
    from_zero: bool = False
    may_be_log: bool = False


KINDS = (
    Kind("Loss", r"(\w*?)_?loss", alone="{} loss", smooth=True, may_be_log=True),
    Kind("Accuracy", r"(\w+)_accuracy", "% correct", "{} accuracy", smooth=True, from_zero=True),
    *(
        Kind(f"Validation: {words}", rf"valid\.{direction}\.(R@\d+)", "recall, %",
             f"Validation, {words}: {{}}", from_zero=True)
        for direction, words in LABELS.items() if "_to_" in direction
    ),
    Kind("Validation: median rank", r"valid\.(\w+)\.MedianR",
         alone="Validation, {}: median rank", may_be_log=True),
    Kind("Validation", r"valid\.([^.]+)", alone="Validation: {}", may_be_log=True),
    Kind("Learning rate", r"(lr)", alone="Learning rate", from_zero=True),
    Kind("Learning rate", r"(lr_lowest|lr_highest)", may_be_log=True),
    Kind("Gradient norm", r"(grad_norm)", "before clipping", "Gradient norm", smooth=True,
         may_be_log=True),
    Kind("Loss scale", r"(loss_scale)", may_be_log=True),
    Kind("Speed", r"(ips)", "samples/s", "Speed", smooth=True, from_zero=True),
)  # fmt: skip


@dataclass(frozen=True)
class Line:
    """A curve: ``x`` and ``y`` (n,), finite, with n at least 1."""

    name: str
    x: np.ndarray
    y: np.ndarray
    colour: str


@dataclass(frozen=True)
class Panel:
    """A chart with at least one line."""

    title: str
    lines: Sequence[Line]
    kind: Kind


def write_curves(path: Path, histories: Sequence[History]) -> None:
    """Writes the curves of one run, or of up to ``MOST_RUNS`` runs, as a PNG, atomically."""
    if len(histories) == 1:
        title, note, runs = histories[0].name, length_of(histories[0]), []
        panels = list(panels_of_one(histories[0]))
    else:
        title, note = f"{len(histories)} runs", "legends show the last value"
        runs = [f"{each.name}: {length_of(each)}" for each in histories]
        panels = list(panels_of_many(histories))
    texts = [line.name for panel in panels for line in panel.lines]
    with figures.drawing(title, *runs, *texts, *(panel.title for panel in panels)):
        figures.save_png(path, draw(title, note, panels, runs))


def length_of(history: History) -> str:
    """Returns the length of a run as text."""
    steps = f"{history.steps:,} optimizer step{'s' * (history.steps != 1)}"
    return f"{steps}, epoch {history.epochs}" if history.epochs else steps


def panels_of_one(history: History) -> Iterator[Panel]:
    """Yields a chart for each kind of number that a run has logged."""
    rates_differ = "lr_lowest" in history.series  # "lr" is then one of them
    logged = [name for name in history.series if name != "lr" or not rates_differ]
    for kind in KINDS:
        names = {name: label for name in logged if (label := label_of(name, kind)) is not None}
        for first in range(0, len(names), len(COLOURS)):  # more would be indistinguishable
            labels = dict(list(names.items())[first : first + len(COLOURS)])
            by_task = [TASKS.get(label, "") for label in labels.values()]
            colours = by_task if all(by_task) else COLOURS
            lines = [
                line_of(history, name, label, colour)
                for (name, label), colour in zip(labels.items(), colours, strict=False)
            ]
            yield Panel(kind.title, lines, kind)


def panels_of_many(histories: Sequence[History]) -> Iterator[Panel]:
    """Yields a chart for each number, with a line for each run."""
    names = dict.fromkeys(name for history in histories for name in history.series)
    for kind in KINDS:
        for name in names:
            label = label_of(name, kind)
            if label is None or not kind.alone:
                continue
            lines = [
                line_of(history, name, "", colour)
                for history, colour in zip(histories, COLOURS, strict=False)
                if name in history.series
            ]
            title = kind.alone.format(label.replace("_", " "))
            yield Panel(title[:1].upper() + title[1:], lines, kind)


def label_of(name: str, kind: Kind) -> str | None:
    """Returns the label of a number in a chart of ``kind``; None if it is of another kind."""
    match = re.fullmatch(kind.pattern, name)
    return match and LABELS.get(match[1], match[1])


def line_of(history: History, name: str, label: str, colour: str) -> Line:
    """Returns a curve of a run; accuracies in percent."""
    series = history.series[name]
    factor = 100.0 if name.endswith("_accuracy") else 1.0
    return Line(label, series.steps, factor * series.values, colour)


# ------------------------------------------------------------------------------- drawing


def draw(title: str, note: str, panels: Sequence[Panel], runs: Sequence[str] = ()) -> Figure:
    """Returns a figure of ``panels`` in rows of three, with a header and a legend of ``runs``."""
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine
    from matplotlib.lines import Line2D

    columns = min(COLUMNS, max(2, len(panels)))
    rows, head = -(-len(panels) // columns), HEAD + 0.2 * len(runs)
    size = columns * WIDTH, rows * HEIGHT + head
    below = (0, 0, 1, 1 - head / size[1])
    figure = Figure(size, layout=ConstrainedLayoutEngine(w_pad=0.16, h_pad=0.12, rect=below))
    left, top = 0.16 / size[0], 1 - 0.2 / size[1]
    figure.text(left, top, figures.fitted(title, 90), va="top", size=15, weight="bold")
    figure.text(left, top - 0.3 / size[1], note, va="top", color=DIM)
    handles = [Line2D([], [], color=colour, linewidth=3) for colour in COLOURS[: len(runs)]]
    corner = (left, 1 - (head + 0.02) / size[1])
    labels = [figures.fitted(run, 140) for run in runs]
    figure.legend(handles, labels, loc="lower left", bbox_to_anchor=corner).set_in_layout(False)
    last = max((float(line.x.max()) for panel in panels for line in panel.lines), default=0.0)
    for first in range(0, len(panels), columns):
        row = panels[first : first + columns]
        legend_rows = max(-(-len(panel.lines) // LEGEND) for panel in row)
        for index, panel in enumerate(row, first):
            axes = figure.add_subplot(rows, columns, index + 1)
            draw_panel(axes, panel, last, legend_rows)
            if index + columns >= len(panels):
                axes.set_xlabel("optimizer steps", loc="right")
    return figure


def draw_panel(axes: Axes, panel: Panel, last: float, legend_rows: int = 1) -> None:
    """Draws one chart with title, legend and lines; its x axis ends at step ``last``."""
    from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator
    from matplotlib.transforms import ScaledTranslation

    kind = panel.kind
    for line in panel.lines:
        draw_line(axes, line, kind.smooth)
    height = 9 + 13 * legend_rows  # of the legend, in points
    offset = ScaledTranslation(0, (height - 4) / 72, axes.figure.dpi_scale_trans)
    above = axes.transAxes + offset
    axes.legend(
        loc="upper left", bbox_to_anchor=(0, 1), bbox_transform=above, ncols=LEGEND
    ).set_in_layout(False)
    title = axes.set_title(figures.fitted(panel.title, 45), pad=height)
    axes.annotate(
        kind.unit, (1, 0), (6, 0), title, "offset points", color=DIM, size=8.5, va="bottom"
    )
    visible = limits(panel)
    positive = visible[visible > 0]
    if kind.may_be_log and spans_decades(visible):
        axes.set_yscale("log", nonpositive="mask")
        axes.set_ylim(positive.min() / 1.15, positive.max() * 1.15)
        ratio = positive.max() / positive.min()
        steps = (1, 2, 5) if ratio < 300 else (1, 3) if ratio < 3000 else (1,)
        axes.yaxis.set_major_locator(LogLocator(subs=steps))
        axes.yaxis.set_minor_locator(NullLocator())
    else:
        low, high = float(visible.min()), float(visible.max())
        room = 0.05 * (high - low) or 0.1 * abs(high) or 1.0
        axes.set_ylim(0 if kind.from_zero and low >= 0 else low - room, high + room)
        axes.yaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 5, 10]))
    axes.set_xlim(0, 1.02 * last or 1.0)
    axes.xaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 5, 10], integer=True))
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(FuncFormatter(figures.short))


def draw_line(axes: Axes, line: Line, smooth: bool) -> None:
    """Draws a curve with its name and last value; if ``smooth``, also its points, faintly."""
    values = smoothed(line.y) if smooth else line.y
    if smooth:
        axes.plot(line.x, line.y, color=line.colour, alpha=0.3, linewidth=0.8)
    label = f"{figures.fitted(line.name, 30)} {figures.short(float(values[-1]))}".strip()
    marker = "o" if len(line.x) < MARKED else None
    axes.plot(line.x, values, color=line.colour, marker=marker, clip_on=False, label=label)


def limits(panel: Panel) -> np.ndarray:
    """Returns the values that must be visible: curves, and points except a few outliers."""
    if not panel.kind.smooth:
        return np.concatenate([line.y for line in panel.lines])
    near = [np.quantile(line.y, [0.005, 0.995], method="nearest") for line in panel.lines]
    return np.concatenate([*(smoothed(line.y) for line in panel.lines), *near])


def spans_decades(values: np.ndarray) -> bool:
    """Returns whether ``values`` (n,) are nearly all positive, with a ratio of LOG_RATIO."""
    positive = values[values > 0]
    return len(positive) > 0.9 * len(values) and values.max() / positive.min() >= LOG_RATIO


def smoothed(y: np.ndarray) -> np.ndarray:
    """Returns the running mean of ``y`` (n,) over a twentieth of the points.

    At both ends the window is cut off. Short curves are returned unchanged.
    """
    reach = len(y) // 40
    sums = np.concatenate([[0.0], np.cumsum(y)])
    index = np.arange(len(y))
    first, last = np.maximum(index - reach, 0), np.minimum(index + reach + 1, len(y))
    return (sums[last] - sums[first]) / (last - first) if reach else y
