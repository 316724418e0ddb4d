"""The pages of tests of segmentation and step localisation: numbers, and videos in time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from paddlevideo.report.timelines import Bar, VideoBars, spread, write_timeline_page

CHOSEN = "Half of these videos have the lowest numbers; the others are spread evenly over the rest."
ABSENT = "Steps that do not occur in a video are not drawn."


def bars(found: Sequence[Mapping[str, Any]]) -> list[Bar]:
    """Returns the bars of segments with "start", "end" and "label"."""
    return [Bar(one["start"], one["end"], one["label"]) for one in found]


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


def write_step_page(
    path: Path, results: Mapping[str, Any], answers: Sequence[Mapping[str, Any]]
) -> None:
    """Writes the page of a test of steps; ``answers`` are those of the metric."""
    chosen = spread([found_of(answer)[0] / max(found_of(answer)[1], 1) for answer in answers])
    videos = [
        VideoBars(
            f"{answer['video']}, task {answer['task']}",
            answer["seconds"],
            {
                "right": step_bars(answer, True),
                "wrong": step_bars(answer, False),
                "true": bars(answer["truth"]),
            },
            "{} of {} steps found".format(*found_of(answer)),
        )
        for answer in (answers[index] for index in chosen)
    ]
    columns = ("recall", "recall_of_videos")
    rows = {
        "model": results,
        "chance": results.get("chance", {}),
        **results.get("yardsticks", {}),
    }
    tasks = len(results["by_task"])
    summary = (
        f"{results['recall']:.1f} % of the steps of a task are put on one of their seconds, "
        f"on average over {tasks} task{'s' if tasks > 1 else ''}."
    )
    write_timeline_page(
        path, "Step localisation", summary, results, (columns, rows), videos, f"{CHOSEN} {ABSENT}"
    )


def step_bars(answer: Mapping[str, Any], is_right: bool) -> list[Bar]:
    """Returns the seconds of the steps that were found, or of those that were put elsewhere."""
    steps = (step for step in answer["steps"] if step["right"] is is_right)
    return [Bar(step["second"], step["second"] + 1, step["text"]) for step in steps]


def found_of(answer: Mapping[str, Any]) -> tuple[int, int]:
    """Returns the number of steps that were found, and of those that occur."""
    judged = [step["right"] for step in answer["steps"] if step["right"] is not None]
    return sum(judged), len(judged)
