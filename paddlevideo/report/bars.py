"""Bars with names and intervals as a picture: one number of several runs, side by side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, ImageDraw

from paddlevideo.files.whole import write_whole
from paddlevideo.report.axes import Axis, short
from paddlevideo.report.curves import BLUE, SKY
from paddlevideo.report.fonts import fitted, font_for
from paddlevideo.report.plot import DIM, GRID, INK, PAGE, letters

MARGIN, HEAD, ROW, NAMES, LENGTH, VALUES, FOOT = 24, 72, 30, 300, 460, 60, 34  # pixels


@dataclass(frozen=True)
class Bar:
    """A number, and where it may as well lie; ``low`` and ``high`` None: nobody knows."""

    name: str
    value: float
    low: float | None = None
    high: float | None = None


def write_bars(path: Path, title: str, note: str, bars: Sequence[Bar]) -> None:
    """Writes ``bars``, at least one, values from 0 up, the first one apart in colour, as a PNG.

    The first one's value is drawn as a line through all of them. The file is written whole or not
    at all.
    """
    image = draw_bars(title, note, bars)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, lambda partial: image.save(partial, "PNG"))


def draw_bars(title: str, note: str, bars: Sequence[Bar]) -> Image.Image:
    """The picture itself."""
    width, height = 2 * MARGIN + NAMES + LENGTH + VALUES, HEAD + ROW * len(bars) + FOOT
    image = Image.new("RGB", (width, height), PAGE)
    draw = ImageDraw.Draw(image)
    draw.text((MARGIN, 16), fitted(title, 20, width - 2 * MARGIN), INK, font_for(title, 20))
    draw.text((MARGIN, 43), fitted(note, 14, width - 2 * MARGIN), DIM, font_for(note, 14))
    across = Axis(0.0, 1.02 * max(max(bar.value, bar.high or 0.0) for bar in bars) or 1.0)
    start, bottom = MARGIN + NAMES, HEAD + ROW * len(bars)

    def place(value: float) -> float:
        return start + LENGTH * min(max(value, 0.0), across.high) / across.high

    for tick in across.ticks():
        draw.line((place(tick), HEAD, place(tick), bottom), GRID)
        draw.text((place(tick), bottom + 6), short(tick), DIM, letters(13), anchor="mt")
    for number, bar in enumerate(bars):
        middle = HEAD + ROW * number + ROW // 2
        name = fitted(bar.name, 14, NAMES - 12)
        draw.text((start - 10, middle), name, INK, font_for(name, 14), anchor="rm")
        colour = SKY if number else BLUE
        draw.rectangle((start, middle - 9, place(bar.value), middle + 9), colour)
        end = place(bar.value)
        if bar.low is not None and bar.high is not None:
            low, end = place(bar.low), max(end, place(bar.high))
            draw.line((low, middle, place(bar.high), middle), INK, 2)
            for x in (low, place(bar.high)):
                draw.line((x, middle - 5, x, middle + 5), INK, 2)
        draw.text((end + 8, middle), f"{bar.value:.1f}", INK, letters(14), anchor="lm")
    draw.line((place(bars[0].value), HEAD, place(bars[0].value), bottom), BLUE, 2)
    return image
