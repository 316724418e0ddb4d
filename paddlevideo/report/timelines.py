"""A page with videos as bars in time: what was predicted above what is true."""

from __future__ import annotations

import colorsys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from paddlevideo.report.page import subject
from paddlevideo.report.pages import Thumbnails, write_page
from paddlevideo.report.tables import protocol_entries

WIDTH, LANE, GAP = 1000, 22, 4  # of a drawing, in its own units
LARGEST_LEGEND = 24
SHOWN = 20


@dataclass(frozen=True)
class Bar:
    """Something that lasts from ``start`` to ``end``, in seconds."""

    start: float
    end: float
    label: str


@dataclass(frozen=True)
class VideoBars:
    """A video with lanes of bars, by their names, and a sentence about it."""

    name: str
    seconds: float
    lanes: Mapping[str, Sequence[Bar]]
    note: str = ""


def write_timeline_page(
    path: Path,
    title: str,
    summary: str,
    results: Mapping[str, Any],
    table: tuple[Sequence[str], Mapping[str, Mapping[str, float]]],
    videos: Sequence[VideoBars],
    note: str = "",
) -> None:
    """Writes the page atomically.

    Args:
        path: the HTML file; its folder is created if needed.
        title: the heading.
        summary: the result in one sentence.
        results: the content of ``results.json``, for the protocol.
        table: names of columns, and rows of numbers by name.
        videos: those to draw.
        note: how they were chosen.
    """
    labels = list(dict.fromkeys(bar.label for v in videos for x in v.lanes.values() for bar in x))
    colours = colours_of(labels)
    columns, rows = table
    write_page(
        path,
        title,
        "timelines.html.j2",
        Thumbnails(None),
        summary=summary,
        subject=subject(results),
        table={
            "caption": "Results in percent, and what simple rules reach",
            "columns": [name.replace("_", " ") for name in columns],
            "rows": [
                (name, [cell(numbers.get(x)) for x in columns]) for name, numbers in rows.items()
            ],
        },
        legend=[(x, colours[x]) for x in labels] if len(labels) <= LARGEST_LEGEND else [],
        videos=[drawing_of(video, colours) for video in videos],
        note=note,
        protocol={"caption": "Protocol of the test", "rows": protocol_entries(results)},
    )


def cell(value: float | None) -> str:
    """Returns a number with one decimal, or a dash."""
    return "–" if value is None else f"{value:.1f}"


def colours_of(labels: Sequence[str]) -> dict[str, str]:
    """Returns a colour for each label; neighbours in the list differ in hue by the golden angle."""
    colours = {}
    for index, label in enumerate(labels):
        lightness = (0.45, 0.6)[index % 2]
        rgb = colorsys.hls_to_rgb((index * 0.381966) % 1.0, lightness, 0.55)
        colours[label] = "#" + "".join(f"{round(255 * part):02x}" for part in rgb)
    return colours


def drawing_of(video: VideoBars, colours: Mapping[str, str]) -> dict[str, Any]:
    """Returns what the template draws of a video."""
    scale = WIDTH / max(video.seconds, 1)
    lanes = []
    for row, (name, bars) in enumerate(video.lanes.items()):
        top = row * (LANE + GAP)
        shapes = [
            {
                "x": round(bar.start * scale, 2),
                "width": round(max((bar.end - bar.start) * scale, 2.5), 2),
                "colour": colours[bar.label],
                "text": f"{bar.label}, {clock(bar.start)} to {clock(bar.end)}",
            }
            for bar in bars
        ]
        lanes.append({"name": name, "top": top, "shapes": shapes})
    return {
        "name": video.name,
        "note": video.note,
        "lanes": lanes,
        "width": WIDTH,
        "lane": LANE,
        "height": len(lanes) * (LANE + GAP) + 16,
        "ticks": ticks(video.seconds, scale),
    }


def ticks(seconds: float, scale: float) -> list[tuple[float, str]]:
    """Returns the positions and the names of at most about ten marks on the axis of time."""
    steps = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600)
    step = next((each for each in steps if seconds / each <= 10), 7200)
    return [(round(t * scale, 2), clock(t)) for t in range(0, int(seconds) + 1, step)]


def clock(seconds: float) -> str:
    """Returns a time as 4:05, or 1:04:05 from an hour on."""
    whole = int(seconds)
    hours, minutes, rest = whole // 3600, whole // 60 % 60, whole % 60
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def spread(values: Sequence[float], shown: int = SHOWN) -> list[int]:
    """Returns which of ``values`` to show: half of them the lowest, half spread over the others."""
    order = sorted(range(len(values)), key=lambda index: values[index])
    lowest = order[: (shown + 1) // 2]
    others = order[len(lowest) :]
    count = min(shown - len(lowest), len(others))
    step = (len(others) - 1) / max(count - 1, 1)
    return lowest + [others[round(k * step)] for k in range(count)]
