"""Figures by matplotlib, drawn without touching the settings of the program that draws them.

Only the object-oriented interface is used: no pyplot, no backend, no state that outlives a figure.
Matplotlib is imported when something is drawn.
"""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from paddlevideo.files.whole import write_whole
from paddlevideo.report.fonts import families_for, printable

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.text import Text

#: Okabe and Ito's colours, which colour-blind readers tell apart, and black.
BLACK, BLUE, ORANGE, GREEN = "#1e1e1e", "#0072b2", "#e69f00", "#009e73"
PURPLE, RED, SKY = "#cc79a7", "#d55e00", "#56b4e9"
COLOURS = (BLUE, ORANGE, GREEN, PURPLE, RED, SKY, BLACK)
INK, DIM, GRID = "#1b1f23", "#59626b", "#e4e8ec"

DPI = 125  # of a PNG; sizes below are in points of 1/72 inch
ENTRY = 15  # height of a legend's row
STYLE = {
    "font.size": 9.0,
    "text.color": INK,
    "text.parse_math": False,  # "$" in a name is a dollar
    "axes.edgecolor": DIM,
    "axes.grid": True,
    "axes.grid.axis": "y",
    "axes.axisbelow": True,
    "axes.labelcolor": DIM,
    "axes.labelsize": 8.0,
    "axes.linewidth": 0.7,
    "axes.spines.left": False,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.xmargin": 0.0,
    "grid.color": GRID,
    "grid.linewidth": 0.7,
    "xtick.color": DIM,
    "xtick.labelsize": 8.0,
    "ytick.labelsize": 8.0,
    "ytick.color": DIM,
    "xtick.major.size": 0.0,
    "ytick.major.size": 0.0,
    "ytick.minor.size": 0.0,
    "lines.linewidth": 1.6,
    "lines.solid_joinstyle": "round",
    "agg.path.chunksize": 20_000,
}


@contextmanager
def drawing(*texts: str) -> Iterator[None]:
    """Within it figures have matplotlib's defaults, ``STYLE``, and fonts for ``texts``.

    Matplotlib's settings, its logger, warnings and the environment are afterwards as they were.
    What matplotlib says is not passed on, such as that its cache folder cannot be written to.
    """
    log = logging.getLogger("matplotlib")
    level, cache = log.level, os.environ.get("MPLCONFIGDIR")
    log.setLevel(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            from matplotlib import style

            families = families_for("".join(texts))
            with style.context(["default", {**STYLE, "font.family": families}]):
                yield
    finally:
        log.setLevel(level)
        if cache is None:  # matplotlib names its temporary folder there
            os.environ.pop("MPLCONFIGDIR", None)
        else:
            os.environ["MPLCONFIGDIR"] = cache


def new_figure(width: float, height: float) -> Figure:
    """A blank figure of ``width`` x ``height`` points, drawn by Agg."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width / 72, height / 72), dpi=DPI, facecolor="white")
    FigureCanvasAgg(figure)
    return figure


def save_png(path: Path, figure: Figure) -> None:
    """Writes the figure whole or not at all; its folder is made if absent."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(
        path, lambda partial: figure.savefig(partial, format="png", pil_kwargs={"optimize": True})
    )


def add_axes(figure: Figure, left: float, top: float, width: float, height: float) -> Axes:
    """Axes with their plot at (``left``, ``top``), in points from the upper left corner."""
    across, down = size_of(figure)
    return figure.add_axes(
        (left / across, 1 - (top + height) / down, width / across, height / down)
    )


def size_of(figure: Figure) -> tuple[float, float]:
    """Width and height in points."""
    width, height = figure.get_size_inches()
    return 72 * float(width), 72 * float(height)


def add_text(
    figure: Figure, text: str, place: tuple[float, float], width: float, **style: Any
) -> Text:
    """Writes one line with its upper left corner at ``place``, cut to ``width`` points."""
    across, down = size_of(figure)
    x, y = place[0] / across, 1 - place[1] / down
    return fit(figure.text(x, y, printable(text), va="top", **style), width)


def fit(artist: Text, width: float) -> Text:
    """Cuts a text to ``width`` points, with an ellipsis."""
    whole = artist.get_text()
    if width_of(artist) > width:
        low, high = 0, len(whole)
        while low < high:
            middle = (low + high + 1) // 2
            artist.set_text(whole[:middle].rstrip() + "…")
            low, high = (middle, high) if width_of(artist) <= width else (low, middle - 1)
        artist.set_text(whole[:low].rstrip() + "…")
    return artist


def width_of(artist: Text) -> float:
    """The width of a text in points."""
    figure = artist.get_figure()
    assert figure is not None
    renderer = figure.canvas.get_renderer()  # type: ignore[attr-defined]
    return float(artist.get_window_extent(renderer).width) * 72 / DPI


def add_legend(
    figure: Figure,
    entries: Sequence[tuple[str, str]],  # colour, text
    place: tuple[float, float],
    width: float,
) -> float:
    """Writes coloured marks with their names, broken into rows; returns where they end."""
    from matplotlib.lines import Line2D

    across, down = size_of(figure)
    x, y = place
    for colour, text in entries:
        artist = add_text(figure, text, (x + 17, y), width - 17, size=8, color=DIM)
        length = 17 + width_of(artist) + 13
        if x > place[0] and x + length - 13 > place[0] + width:
            x, y = place[0], y + ENTRY
            artist.set_position(((x + 17) / across, 1 - y / down))
        ends, level = (x / across, (x + 12) / across), 1 - (y + 4.9) / down
        mark = Line2D(ends, (level, level), color=colour, linewidth=3, solid_capstyle="butt")
        mark.set_transform(figure.transFigure)
        figure.add_artist(mark)
        x += length
    return y + ENTRY


def short(value: float, _: object = None) -> str:
    """A number in few characters: 0.25, 1,500, 20k, 3e-5. Serves as a formatter of ticks."""
    size = abs(value)
    if size >= 1e9 or 0 < size < 1e-3:
        digits, _, power = f"{value:.1e}".partition("e")
        return f"{digits.removesuffix('.0')}e{int(power)}"
    if size >= 1e6:
        return f"{value / 1e6:.3g}M"
    if size >= 1e4:
        return f"{value / 1e3:.3g}k"
    if size >= 1e3:
        return f"{value:,.0f}"
    return f"{value:.3g}"
