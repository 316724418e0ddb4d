"""The pages of tests of segmentation and step localisation: numbers, and videos in time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from paddlevideo.report.timelines import Bar, VideoBars, spread, write_timeline_page

CHOSEN = "Half of these videos have the lowest numbers; the others are spread evenly over the rest."


def bars(found: Sequence[Mapping[str, Any]]) -> list[Bar]:
    """Returns the bars of segments with "start", "end" and "label"."""
    return [Bar(one["start"], one["end"], one["label"], one.get("good")) for one in found]


def write_segment_page(
    path: Path, results: Mapping[str, Any], answers: Sequence[Mapping[str, Any]]
) -> None:
    """Writes the page of a test of segmentation; ``answers`` are those of the metric."""
    chosen = spread([answer["accuracy"] for answer in answers])
    videos = [
        VideoBars(
            answer["video"],
            answer["seconds"],
            {"predicted": bars(answer["segments"]), "true": bars(answer["truth"])},
            f"{answer['accuracy']:.0f} % of its seconds are right",
        )
        for answer in (answers[index] for index in chosen)
    ]
    columns = [name for name, value in results.items() if isinstance(value, float)]
    rows = {"model": results, "pooled": results["pooled"], **results.get("yardsticks", {})}
    summary = (
        f"{results['accuracy']:.1f} % of the seconds of a video have the right label on average; "
        f"always the background would be {rows['always background']['accuracy']:.1f} %."
        if "always background" in rows
        else f"{results['accuracy']:.1f} % of the seconds of a video have the right label."
    )
    write_timeline_page(
        path, "Action segmentation", summary, results, (columns, rows), videos, CHOSEN
    )
