"""Line charts as a picture, drawn with Pillow, which comes with Paddle.

Lines are drawn large and reduced, which makes them smooth; letters are smooth already.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw

from paddlevideo.report.axes import Axis, short, value_axis
from paddlevideo.report.fonts import Font, fitted, font_for

Colour = tuple[int, int, int]
INK, DIM, GRID, PAGE = (27, 31, 35), (89, 98, 107), (226, 230, 234), (255, 255, 255)
LARGE = 3  # lines are drawn so many times as large
COLUMNS, WIDTH, HEIGHT, GAP, HEAD = 3, 480, 310, 24, 64  # of panels, in pixels
LEFT, RIGHT, BELOW = 44, 10, 38  # of a panel: room around its plot, on the left at least
LEGEND = 19  # a row of it
MARKED = 30  # curves of fewer points show them
MOST = 600  # points of a curve that are drawn


@dataclass(frozen=True)
class Line:
    """A curve: ``x`` and ``y`` (n,), n at least 1, finite. ``smooth``: over the points as read."""

    name: str
    x: np.ndarray
    y: np.ndarray
    colour: Colour
    smooth: bool = False


@dataclass(frozen=True)
class Panel:
    """A chart of at least one line. ``unit`` stands after the title."""

    title: str
    lines: Sequence[Line]
    unit: str = ""
    from_zero: bool = False
    may_be_log: bool = False


def picture(
    title: str, note: str, panels: Sequence[Panel], runs: Sequence[Line] = ()
) -> Image.Image:
    """All ``panels`` in rows of three below ``title`` and a ``note``, or a legend of ``runs``."""
    columns = min(COLUMNS, max(2, len(panels)))
    width = GAP + columns * (WIDTH + GAP)
    rows = -(-len(panels) // COLUMNS)
    head = HEAD + LEGEND * len(runs)
    page = Image.new("RGB", (width, head + rows * (HEIGHT + GAP)), PAGE)
    draw = ImageDraw.Draw(page)
    draw.text((GAP, 16), fitted(title, 22, width - 2 * GAP), INK, font_for(title, 22))
    draw.text((GAP, 43), fitted(note, 14, width - 2 * GAP), DIM, font_for(note, 14))
    for number, run in enumerate(runs):
        draw_entry(draw, (GAP, HEAD + LEGEND * number), run.colour, run.name, width - 2 * GAP)
    for number, panel in enumerate(panels):
        row, column = divmod(number, COLUMNS)
        place = (GAP + column * (WIDTH + GAP), head + GAP // 2 + row * (HEIGHT + GAP))
        page.paste(draw_panel(panel), place)
    return page


def draw_panel(panel: Panel) -> Image.Image:
    """One chart of ``WIDTH`` x ``HEIGHT``: title, legend, axes and lines."""
    image = Image.new("RGB", (WIDTH, HEIGHT), PAGE)
    draw = ImageDraw.Draw(image)
    title = fitted(panel.title, 16, WIDTH - 110)
    draw.text((0, 0), title, INK, font_for(title, 16))
    draw.text((font_for(title, 16).getlength(title) + 8, 2), panel.unit, DIM, letters(14))
    top = draw_legend(draw, panel.lines) + 10
    across = Axis(0.0, 1.02 * float(max(line.x.max() for line in panel.lines)) or 1.0)
    up = value_axis(limits(panel.lines), panel.from_zero, panel.may_be_log)
    names = [short(tick) for tick in up.ticks()]
    left = round(max(letters(13).getlength(name) for name in [*names, ""])) + 10
    left, right, bottom = max(left, LEFT), WIDTH - RIGHT, HEIGHT - BELOW
    plot = draw_lines(panel.lines, across, up, (right - left, bottom - top))
    image.paste(plot, (left, top))
    for name, place in zip(names, up.place(np.array(up.ticks())), strict=True):
        y = bottom - (bottom - top) * float(place)
        draw.text((left - 8, y), name, DIM, letters(13), anchor="rm")
    for tick in filter(float.is_integer, across.ticks()):  # there are no half steps
        half = letters(13).getlength(short(tick)) / 2
        x = min(left + (right - left) * tick / across.high, WIDTH - half)
        draw.text((x, bottom + 6), short(tick), DIM, letters(13), anchor="mt")
    draw.text((right, HEIGHT - 14), "optimizer steps", DIM, letters(12), anchor="rt")
    return image


def draw_legend(draw: ImageDraw.ImageDraw, lines: Sequence[Line]) -> int:
    """Names and last values of ``lines`` below the title; returns where they end."""
    x, y = 0.0, 24
    for line in lines:
        text = f"{line.name} {short(float(smoothed(line)[-1]))}".strip()
        length = font_for(text, 13).getlength(fitted(text, 13, WIDTH - 40)) + 34
        if x and x + length > WIDTH:
            x, y = 0.0, y + LEGEND
        draw_entry(draw, (x, y), line.colour, text, WIDTH - 40)
        x += length
    return y + LEGEND


def draw_entry(
    draw: ImageDraw.ImageDraw, place: tuple[float, float], colour: Colour, text: str, width: float
) -> None:
    """An entry of a legend with its upper left corner at ``place`` (x, y)."""
    x, y = place
    draw.rectangle((x, y + 6, x + 16, y + 9), colour)
    draw.text((x + 21, y), fitted(text, 13, width), DIM, font_for(text, 13))


def draw_lines(lines: Sequence[Line], across: Axis, up: Axis, size: tuple[int, int]) -> Image.Image:
    """The inside of a chart: grid, points as they were read, faint, and smooth curves on top."""
    width, height = size[0] * LARGE, size[1] * LARGE
    image = Image.new("RGB", (width, height), PAGE)
    draw = ImageDraw.Draw(image)
    for tick in up.ticks():
        y = height * (1 - float(up.place(np.array([tick]))[0]))
        draw.line((0, y, width, y), GRID, LARGE)
    draw.line((0, height - 1, width, height - 1), DIM, LARGE)

    def points(steps: np.ndarray, values: np.ndarray) -> list[tuple[float, float]]:
        x, y = across.place(steps) * width, (1 - up.place(values)) * height
        return [(a, b) for a, b in zip(x.tolist(), y.tolist(), strict=True) if b == b]

    for line in lines:
        if line.smooth:
            faint = tuple(round(255 - 0.3 * (255 - part)) for part in line.colour)
            draw.line(points(*band(line.x, line.y)), faint, LARGE)
    for line in lines:
        every = -(-len(line.x) // MOST)
        chosen = np.append(np.arange(0, len(line.x) - 1, every), len(line.x) - 1)
        found = points(line.x[chosen], smoothed(line)[chosen])
        draw.line(found, line.colour, 2 * LARGE, "curve")
        if len(found) < MARKED:
            for x, y in found:
                r = 3 * LARGE
                draw.ellipse((x - r, y - r, x + r, y + r), line.colour)
    return image.reduce(LARGE)


def band(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """``x`` and ``y`` (n,); of many points, in each of ``MOST`` parts, between what most lie."""
    size = len(y) // MOST
    if size < 3:
        return x, y
    parts = y[: len(y) // size * size].reshape(-1, size)
    return np.repeat(x[::size][: len(parts)], 2), np.quantile(parts, [0.1, 0.9], axis=1).T.ravel()


def limits(lines: Sequence[Line]) -> np.ndarray:
    """Values that have to be seen: all of the curves, and of the points all but a few far ones."""
    seen = [smoothed(line) for line in lines]
    seen += [np.quantile(line.y, [0.005, 0.995], method="nearest") for line in lines if line.smooth]
    return np.concatenate(seen)


def smoothed(line: Line) -> np.ndarray:
    """``line.y`` (n,), or its running mean over a twentieth of the points around each.

    At both ends it is the mean of what there is. Short curves stay as they are.
    """
    reach = len(line.y) // 40
    if not line.smooth or not reach:
        return line.y
    sums = np.concatenate([[0.0], np.cumsum(line.y)])
    place = np.arange(len(line.y))
    first, last = np.maximum(place - reach, 0), np.minimum(place + reach + 1, len(line.y))
    return (sums[last] - sums[first]) / (last - first)


def letters(size: int) -> Font:
    """The font of numbers and of what this project itself writes, ``size`` pixels high."""
    return font_for("", size)
