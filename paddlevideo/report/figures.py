"""Draws figures with matplotlib without changing the settings of the calling program.

Only the object-oriented interface is used: no pyplot, no backend, no global state. Matplotlib is
imported when something is drawn.
"""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from paddlevideo.files.whole import write_whole
from paddlevideo.report.fonts import families_for, printable

if TYPE_CHECKING:
    from matplotlib.figure import Figure

#: Okabe and Ito's colours, which colour-blind readers can distinguish, and black.
BLACK, BLUE, ORANGE, GREEN = "#1e1e1e", "#0072b2", "#e69f00", "#009e73"
PURPLE, RED, SKY = "#cc79a7", "#d55e00", "#56b4e9"
COLOURS = (BLUE, ORANGE, GREEN, PURPLE, RED, SKY, BLACK)
INK, DIM, GRID = "#1b1f23", "#59626b", "#e4e8ec"
STYLE = {
    **{"figure.dpi": 125, "savefig.dpi": 125, "figure.constrained_layout.use": True},
    **{"font.size": 9, "text.color": INK, "text.parse_math": False},  # "$" is a dollar
    **{"axes.edgecolor": DIM, "axes.labelcolor": DIM, "axes.labelsize": 8, "axes.linewidth": 0.7},
    **{"axes.grid": True, "axes.grid.axis": "y", "axes.axisbelow": True, "grid.color": GRID},
    **{f"axes.spines.{side}": False for side in ("left", "right", "top")},
    **{"axes.titlelocation": "left", "axes.titleweight": "bold", "axes.titlesize": 10},
    **{"xtick.color": DIM, "xtick.labelsize": 8, "xtick.major.size": 0},
    **{"ytick.color": DIM, "ytick.labelsize": 8, "ytick.major.size": 0},
    **{"legend.frameon": False, "legend.fontsize": 8, "legend.labelcolor": DIM},
    **{"legend.handlelength": 1.3, "legend.handletextpad": 0.5, "legend.columnspacing": 1.4},
    **{"legend.borderaxespad": 0, "legend.borderpad": 0.2},
    **{"lines.linewidth": 1.6, "lines.markersize": 3.6, "agg.path.chunksize": 20_000},
}


@contextmanager
def drawing(*texts: str) -> Iterator[None]:
    """Enters a context with matplotlib's defaults, ``STYLE``, and fonts for ``texts``.

    Restores matplotlib's settings, its logger, warnings and the environment afterwards. Suppresses
    matplotlib's messages, such as that its cache folder cannot be written to.
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
        if cache is None:  # matplotlib sets it to its temporary folder
            os.environ.pop("MPLCONFIGDIR", None)
        else:
            os.environ["MPLCONFIGDIR"] = cache


def save_png(path: Path, figure: Figure) -> None:
    """Writes the figure atomically; creates its folder if needed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, lambda partial: figure.savefig(partial, format="png"))


def fitted(text: str, longest: int) -> str:
    """Returns ``text`` in one line of at most ``longest`` characters."""
    text = printable(text)
    return text if len(text) <= longest else text[: longest - 1].rstrip() + "…"


def short(value: float, _: object = None) -> str:
    """Formats a number briefly (0.25, 1,500, 20k, 3e-5); usable as a tick formatter."""
    size = abs(value)
    if size >= 1e9 or 0 < size < 1e-3:
        digits, _, power = f"{value:.1e}".partition("e")
        return f"{digits.removesuffix('.0')}e{int(power)}"
    if size >= 1e6:
        return f"{value / 1e6:.3g}M"
    if size >= 1e4:
        return f"{value / 1e3:.3g}k"
    return f"{value:,.0f}" if size >= 1e3 else f"{value:.3g}"
