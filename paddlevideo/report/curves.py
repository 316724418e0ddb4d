"""The curves of training runs in one picture: of one run by kind, of several a chart a number."""

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
COLUMNS, WIDTH, HEIGHT, HEAD = 3, 4.1, 2.75, 0.75  # of charts, in inches, and what stands above
LEGEND = 3  # names in a row of a chart's legend
MARKED = 30  # curves of fewer points show them
DECADES = 20  # ratio of values from which a logarithmic axis is worth its trouble

#: A task has one colour, whether as loss or as accuracy; a total is black.
TASKS = {"text": BLUE, "word": BLUE, "region": ORANGE, "action": GREEN, "match": PURPLE}
TASKS |= {"contrast": RED, "retrieval": SKY, "total": BLACK}
#: Names of curves that do not say themselves what they are.
LABELS = {"": "total", "lr": "", "lr_lowest": "lowest", "lr_highest": "highest"}
LABELS |= {"text_to_video": "text to video", "video_to_text": "video to text"}
LABELS |= dict.fromkeys(("grad_norm", "ips", "loss_scale"), "")


@dataclass(frozen=True)
class Kind:
    """Numbers that share a chart of one run: ``pattern`` matches their names in train.jsonl.

    Its group is what tells them apart. ``alone``: a chart that holds one of them, of several runs;
    empty where runs are not compared by it.
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
    Kind("Accuracy", r"(\w+)_accuracy", "% right", "{} accuracy", smooth=True, from_zero=True),
    *(
        Kind(f"Validation: {words}", rf"valid\.{direction}\.(R@\d+)", "% found",
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
    Kind("Scale of the loss", r"(loss_scale)", may_be_log=True),
    Kind("Speed", r"(ips)", "samples/s", "Speed", smooth=True, from_zero=True),
)  # fmt: skip


@dataclass(frozen=True)
class Line:
    """A curve: ``x`` and ``y`` (n,), n at least 1, finite."""

    name: str
    x: np.ndarray
    y: np.ndarray
    colour: str


@dataclass(frozen=True)
class Panel:
    """A chart of at least one line."""

    title: str
    lines: Sequence[Line]
    kind: Kind


def write_curves(path: Path, histories: Sequence[History]) -> None:
    """Writes the curves of one run, or of up to ``MOST_RUNS`` side by side, as a PNG.

    The file is written whole or not at all.
    """
    if len(histories) == 1:
        title, note, runs = histories[0].name, length_of(histories[0]), []
        panels = list(panels_of_one(histories[0]))
    else:
        title, note = f"{len(histories)} runs", "beside each colour: the last value"
        runs = [f"{each.name}: {length_of(each)}" for each in histories]
        panels = list(panels_of_many(histories))
    texts = [line.name for panel in panels for line in panel.lines]
    with figures.drawing(title, *runs, *texts, *(panel.title for panel in panels)):
        figures.save_png(path, draw(title, note, panels, runs))


def length_of(history: History) -> str:
    """How far a run came, for people."""
    steps = f"{history.steps:,} optimizer step{'s' * (history.steps != 1)}"
    return f"{steps}, epoch {history.epochs}" if history.epochs else steps


def panels_of_one(history: History) -> Iterator[Panel]:
    """A chart for each kind of number that a run has logged."""
    rates_differ = "lr_lowest" in history.series  # "lr" is one of them then
    logged = [name for name in history.series if name != "lr" or not rates_differ]
    for kind in KINDS:
        names = {name: label for name in logged if (label := label_of(name, kind)) is not None}
        for first in range(0, len(names), len(COLOURS)):  # more could not be told apart
            labels = dict(list(names.items())[first : first + len(COLOURS)])
            own = [TASKS.get(label, "") for label in labels.values()]
            colours = own if all(own) else COLOURS
            lines = [
                line_of(history, name, label, colour)
                for (name, label), colour in zip(labels.items(), colours, strict=False)
            ]
            yield Panel(kind.title, lines, kind)


def panels_of_many(histories: Sequence[History]) -> Iterator[Panel]:
    """A chart for each number, a line for each run."""
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
    """What a number is called in a chart of its kind; None where it is of another one."""
    match = re.fullmatch(kind.pattern, name)
    return match and LABELS.get(match[1], match[1])


def line_of(history: History, name: str, label: str, colour: str) -> Line:
    """A curve of a run; accuracies in percent."""
    series = history.series[name]
    factor = 100.0 if name.endswith("_accuracy") else 1.0
    return Line(label, series.steps, factor * series.values, colour)


# ------------------------------------------------------------------------------- drawing


def draw(title: str, note: str, panels: Sequence[Panel], runs: Sequence[str] = ()) -> Figure:
    """All ``panels`` in rows of three below ``title``, ``note`` and a legend of ``runs``."""
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
    place = (left, 1 - (head + 0.02) / size[1])
    labels = [figures.fitted(run, 140) for run in runs]
    figure.legend(handles, labels, loc="lower left", bbox_to_anchor=place).set_in_layout(False)
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
    """One chart with its title, legend and lines; its axis goes up to step ``last``."""
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
    seen = limits(panel)
    positive = seen[seen > 0]
    if kind.may_be_log and spans_decades(seen):
        axes.set_yscale("log", nonpositive="mask")
        axes.set_ylim(positive.min() / 1.15, positive.max() * 1.15)
        ratio = positive.max() / positive.min()
        steps = (1, 2, 5) if ratio < 300 else (1, 3) if ratio < 3000 else (1,)
        axes.yaxis.set_major_locator(LogLocator(subs=steps))
        axes.yaxis.set_minor_locator(NullLocator())
    else:
        low, high = float(seen.min()), float(seen.max())
        room = 0.05 * (high - low) or 0.1 * abs(high) or 1.0
        axes.set_ylim(0 if kind.from_zero and low >= 0 else low - room, high + room)
        axes.yaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 5, 10]))
    axes.set_xlim(0, 1.02 * last or 1.0)
    axes.xaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 5, 10], integer=True))
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(FuncFormatter(figures.short))


def draw_line(axes: Axes, line: Line, smooth: bool) -> None:
    """A curve with its name and last value; of a smooth one also its points, faint."""
    values = smoothed(line.y) if smooth else line.y
    if smooth:
        axes.plot(line.x, line.y, color=line.colour, alpha=0.3, linewidth=0.8)
    label = f"{figures.fitted(line.name, 30)} {figures.short(float(values[-1]))}".strip()
    marker = "o" if len(line.x) < MARKED else None
    axes.plot(line.x, values, color=line.colour, marker=marker, clip_on=False, label=label)


def limits(panel: Panel) -> np.ndarray:
    """Values that have to be seen: all of the curves, and of the points all but a few far ones."""
    if not panel.kind.smooth:
        return np.concatenate([line.y for line in panel.lines])
    near = [np.quantile(line.y, [0.005, 0.995], method="nearest") for line in panel.lines]
    return np.concatenate([*(smoothed(line.y) for line in panel.lines), *near])


def spans_decades(values: np.ndarray) -> bool:
    """Whether nearly all of ``values`` (n,) are positive and their ratio is at least DECADES."""
    positive = values[values > 0]
    return len(positive) > 0.9 * len(values) and values.max() / positive.min() >= DECADES


def smoothed(y: np.ndarray) -> np.ndarray:
    """The running mean over a twentieth of the points around each of ``y`` (n,).

    At both ends it is the mean of the points on one side. Short curves stay as they are.
    """
    reach = len(y) // 40
    sums = np.concatenate([[0.0], np.cumsum(y)])
    index = np.arange(len(y))
    first, last = np.maximum(index - reach, 0), np.minimum(index + reach + 1, len(y))
    return (sums[last] - sums[first]) / (last - first) if reach else y
