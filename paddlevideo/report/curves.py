"""The curves of training runs in one picture: of one run by kind, of several a chart a number."""

from __future__ import annotations

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

#: A task has one colour, whether as loss or as accuracy; a total is black.
TASKS = {"text": BLUE, "word": BLUE, "region": ORANGE, "action": GREEN, "match": PURPLE}
TASKS |= {"contrast": RED, "retrieval": SKY, "loss": BLACK}
DIRECTIONS = {"text_to_video": "text to video", "video_to_text": "video to text"}

#: Runs that can be told apart in one picture.
MOST_RUNS = len(COLOURS)

COLUMNS, WIDTH, HEIGHT, GAP = 3, 276, 182, 26  # of charts, in points
LEFT, BELOW = 34, 16  # of a chart: room beside and below its plot
MARKED = 30  # curves of fewer points show them
BAND = 600  # parts of a curve of very many points, each drawn as the range of most of them
DECADES = 20  # ratio of values from which a logarithmic axis is worth its trouble


@dataclass(frozen=True)
class Line:
    """A curve: ``x`` and ``y`` (n,), n at least 1, finite. ``smooth``: over the points as read."""

    name: str
    x: np.ndarray
    y: np.ndarray
    colour: str
    smooth: bool = False


@dataclass(frozen=True)
class Panel:
    """A chart of at least one line. ``unit`` stands after the title."""

    title: str
    lines: Sequence[Line]
    unit: str = ""
    from_zero: bool = False
    may_be_log: bool = False


def write_curves(path: Path, histories: Sequence[History]) -> None:
    """Writes the curves of one run, or of up to ``MOST_RUNS`` side by side, as a PNG.

    The file is written whole or not at all.
    """
    runs: list[tuple[str, str]] = []
    if len(histories) == 1:
        (one,) = histories
        title, note, panels = one.name, length_of(one), list(panels_of_one(one))
    else:
        title, note = f"{len(histories)} runs", "beside each colour: the last value"
        panels = list(panels_of_many(histories))
        runs = [
            (colour, f"{each.name}: {length_of(each)}")
            for each, colour in zip(histories, COLOURS, strict=False)
        ]
    names = [line.name for panel in panels for line in panel.lines]
    with figures.drawing(title, *(panel.title for panel in panels), *names, *dict(runs).values()):
        figures.save_png(path, draw(title, note, panels, runs))


def draw(
    title: str, note: str, panels: Sequence[Panel], runs: Sequence[tuple[str, str]] = ()
) -> Figure:
    """All ``panels`` in rows of three below ``title``, ``note`` and a legend of ``runs``."""
    columns = min(COLUMNS, max(2, len(panels)))
    width = GAP + columns * (WIDTH + GAP)
    head = 58 + figures.ENTRY * len(runs)
    figure = figures.new_figure(width, head + -(-len(panels) // columns) * (HEIGHT + GAP))
    inner = width - 2 * GAP
    figures.add_text(figure, title, (GAP, 14), inner, size=15, weight="bold")
    figures.add_text(figure, note, (GAP, 35), inner, size=9, color=DIM)
    for index, run in enumerate(runs):
        figures.add_legend(figure, [run], (GAP, 54 + figures.ENTRY * index), inner)
    last = max((float(line.x.max()) for panel in panels for line in panel.lines), default=0.0)
    for index, panel in enumerate(panels):
        row, column = divmod(index, columns)
        place = (GAP + column * (WIDTH + GAP), head + row * (HEIGHT + GAP))
        axes = draw_panel(figure, panel, place, last)
        if index + columns >= len(panels):
            axes.set_xlabel("optimizer steps", loc="right")
    return figure


def draw_panel(figure: Figure, panel: Panel, place: tuple[float, float], last: float) -> Axes:
    """A chart with its upper left corner at ``place``: title, legend, axes up to step ``last``."""
    from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator

    left, top = place
    title = figures.add_text(figure, panel.title, place, WIDTH - 70, size=10, weight="bold")
    after = (left + figures.width_of(title) + 6, top + 1)
    figures.add_text(figure, panel.unit, after, 90, size=8.5, color=DIM)
    entries = [
        (line.colour, f"{line.name} {figures.short(float(smoothed(line)[-1]))}".strip())
        for line in panel.lines
    ]
    below = figures.add_legend(figure, entries, (left, top + 19), WIDTH) + 6
    size = (WIDTH - LEFT, top + HEIGHT - BELOW - below)
    axes = figures.add_axes(figure, left + LEFT, below, *size)
    for line in panel.lines:
        draw_line(axes, line)
    seen = limits(panel.lines)
    if panel.may_be_log and spans_decades(seen):
        axes.set_yscale("log", nonpositive="mask")
        positive = seen[seen > 0]
        axes.set_ylim(positive.min() / 1.15, positive.max() * 1.15)
        axes.yaxis.set_major_locator(LogLocator(subs=log_steps(positive.max() / positive.min())))
        axes.yaxis.set_minor_locator(NullLocator())
    else:
        axes.set_ylim(*value_range(seen, panel.from_zero))
        axes.yaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 5, 10]))
    axes.set_xlim(0, 1.02 * last or 1.0)
    axes.xaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 5, 10], integer=True))
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(FuncFormatter(figures.short))
    return axes


def draw_line(axes: Axes, line: Line) -> None:
    """The points as they were read, faint, and the smooth curve on top."""
    if line.smooth:
        steps, low, high = band(line.x, line.y)
        if len(steps) < len(line.x):
            axes.fill_between(steps, low, high, color=line.colour, alpha=0.25, linewidth=0)
        else:
            axes.plot(line.x, line.y, color=line.colour, alpha=0.3, linewidth=0.8)
    mark = "o" if len(line.x) < MARKED else None
    axes.plot(line.x, smoothed(line), color=line.colour, marker=mark, markersize=3.6, clip_on=False)


def band(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Steps with the tenth and the ninetieth percentile of ``BAND`` parts of ``x``, ``y`` (n,).

    Where n is too small for that, ``x`` and twice ``y``.
    """
    size = len(y) // BAND
    if size < 3:
        return x, y, y
    parts = y[: len(y) // size * size].reshape(-1, size)
    low, high = np.quantile(parts, [0.1, 0.9], axis=1)
    return x[::size][: len(parts)], low, high


def limits(lines: Sequence[Line]) -> np.ndarray:
    """Values that have to be seen: all of the curves, and of the points all but a few far ones."""
    seen = [smoothed(line) for line in lines]
    seen += [np.quantile(line.y, [0.005, 0.995], method="nearest") for line in lines if line.smooth]
    return np.concatenate(seen)


def value_range(values: np.ndarray, from_zero: bool) -> tuple[float, float]:
    """Ends of a linear axis for ``values`` (n,), with some room; 0 is one if ``from_zero``."""
    low, high = float(values.min()), float(values.max())
    if from_zero and low >= 0:
        return 0.0, 1.05 * high or 1.0
    room = 0.05 * (high - low) or 0.1 * abs(high) or 1.0
    return low - room, high + room


def log_steps(ratio: float) -> tuple[int, ...]:
    """The multiples of powers of ten that stand at a logarithmic axis of values in ``ratio``."""
    return (1, 2, 5) if ratio < 300 else (1, 3) if ratio < 3000 else (1,)


def spans_decades(values: np.ndarray) -> bool:
    """Whether nearly all of ``values`` (n,) are positive and their ratio is at least DECADES."""
    positive = values[values > 0]
    return len(positive) > 0.9 * len(values) and values.max() / positive.min() >= DECADES


def smoothed(line: Line) -> np.ndarray:
    """``line.y`` (n,), or its running mean over a twentieth of the points around each.

    At both ends it is the mean of the points on one side. Short curves stay as they are.
    """
    reach = len(line.y) // 40
    if not line.smooth or not reach:
        return line.y
    sums = np.concatenate([[0.0], np.cumsum(line.y)])
    index = np.arange(len(line.y))
    first, last = np.maximum(index - reach, 0), np.minimum(index + reach + 1, len(line.y))
    return (sums[last] - sums[first]) / (last - first)


def length_of(history: History) -> str:
    """How far a run came, for people."""
    steps = f"{history.steps:,} optimizer step{'s' * (history.steps != 1)}"
    return f"{steps}, epoch {history.epochs}" if history.epochs else steps


def panels_of_one(history: History) -> Iterator[Panel]:
    """A chart for each kind of number that a run has logged."""
    names = list(history.series)

    def panel(title: str, found: Sequence[str], unit: str = "", **how: bool) -> Iterator[Panel]:
        smooth = how.pop("smooth", False)
        for first in range(0, len(found), len(COLOURS)):  # more could not be told apart
            part = found[first : first + len(COLOURS)]
            lines = [
                line_of(history, name, spoken(name), colour, smooth)
                for name, colour in zip(part, colours_of(part), strict=True)
            ]
            yield Panel(title, lines, unit, **how)

    losses = [name for name in names if name.endswith("loss") and "." not in name]
    accuracies = [name for name in names if name.endswith("_accuracy") and "." not in name]
    yield from panel("Loss", losses, smooth=True, may_be_log=True)
    yield from panel("Accuracy", accuracies, "% right", smooth=True, from_zero=True)
    for direction, words in DIRECTIONS.items():
        recalls = [name for name in names if name.startswith(f"valid.{direction}.R@")]
        yield from panel(f"Validation: {words}", recalls, "% found", from_zero=True)
    ranks = [f"valid.{direction}.MedianR" for direction in DIRECTIONS]
    yield from panel("Validation: median rank", [n for n in ranks if n in names], may_be_log=True)
    yield from panel("Validation", other_validations(names), may_be_log=True)
    rates = ["lr_lowest", "lr_highest"] if "lr_lowest" in names else ["lr"]
    rates = [name for name in rates if name in names]
    yield from panel("Learning rate", rates, from_zero=True, may_be_log=len(rates) > 1)
    norms = [name for name in ("grad_norm",) if name in names]
    yield from panel("Gradient norm", norms, "before clipping", smooth=True, may_be_log=True)
    scales = [name for name in ("loss_scale",) if name in names]
    yield from panel("Scale of the loss", scales, may_be_log=True)
    speeds = [name for name in ("ips",) if name in names]
    yield from panel("Speed", speeds, "samples/s", smooth=True, from_zero=True)


def panels_of_many(histories: Sequence[History]) -> Iterator[Panel]:
    """A chart for each number, a line for each run."""
    names = list(dict.fromkeys(name for history in histories for name in history.series))
    for name in filter(is_compared, names):
        lines = [
            line_of(history, name, "", colour, jumps(name))
            for history, colour in zip(histories, COLOURS, strict=False)
            if name in history.series
        ]
        from_zero = name in ("ips", "lr") or is_share(name)
        yield Panel(title_of(name), lines, UNITS.get(name, ""), from_zero, not from_zero)


def is_compared(name: str) -> bool:
    """Whether a number has a chart where runs are compared."""
    if "." not in name:
        return name in TITLES or name.endswith(("loss", "_accuracy"))
    ranking = any(name.startswith(f"valid.{direction}.") for direction in DIRECTIONS)
    return (ranking and not name.endswith("MeanR")) or bool(other_validations([name]))


#: Of numbers without a word of their own.
TITLES = {"lr": "Learning rate", "grad_norm": "Gradient norm", "ips": "Speed"}
UNITS = {"ips": "samples/s", "grad_norm": "before clipping"}


def line_of(history: History, name: str, spoken_as: str, colour: str, smooth: bool) -> Line:
    """A curve of a run; accuracies in percent."""
    series = history.series[name]
    factor = 100.0 if name.endswith("_accuracy") else 1.0
    return Line(spoken_as, series.steps, factor * series.values, colour, smooth)


def other_validations(names: Sequence[str]) -> list[str]:
    """Validations that are neither recalls nor ranks, such as losses; no parts of others."""
    return [name for name in names if name.startswith("valid.") and name.count(".") == 1]


def is_share(name: str) -> bool:
    """Whether the number is in percent."""
    return name.endswith("_accuracy") or ".R@" in name


def jumps(name: str) -> bool:
    """Whether a number jumps from interval to interval, so that its mean says more."""
    return not name.startswith(("valid.", "lr"))


def spoken(name: str) -> str:
    """A name within a chart that says the rest."""
    last = name.rpartition(".")[2]
    if last == "MedianR":
        return DIRECTIONS[name.split(".")[1]]
    names = {"lr_lowest": "lowest", "lr_highest": "highest", "loss": "total"}
    names |= dict.fromkeys(("lr", "grad_norm", "ips", "loss_scale"), "")
    return names.get(name, last.removesuffix("_loss").removesuffix("_accuracy"))


def title_of(name: str) -> str:
    """The title of a chart that holds one number."""
    if name in TITLES:
        return TITLES[name]
    parts = name.removeprefix("valid.").split(".")
    words = ": ".join(DIRECTIONS.get(part, part) for part in parts).replace("_", " ")
    before = "Validation, " if name.startswith("valid.") else ""
    unit = ", %" if is_share(name) else ""
    return before + (words if before else words[:1].upper() + words[1:]) + unit


def colours_of(names: Sequence[str]) -> list[str]:
    """A task's own colour for each name if all have one, else one after the other."""
    own = [TASKS.get(name if name == "loss" else spoken(name)) for name in names]
    if all(own):
        return [colour for colour in own if colour]
    return list(COLOURS[: len(names)])
