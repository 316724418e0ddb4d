"""Segments of videos, and the seconds of steps in them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from paddlevideo.describe.model import Loaded
from paddlevideo.loader.dataset.crosstask import StepVideo
from paddlevideo.loader.timeline.crosstask import TaskCard
from paddlevideo.loader.timeline.features import Timeline, Timelines, open_timelines
from paddlevideo.loader.timeline.windows import Layout, Windows
from paddlevideo.metrics.steps import StepOrder
from paddlevideo.timelines.matching import StepPredictor
from paddlevideo.timelines.segmentation import named_segments
from paddlevideo.timelines.steps import StepMetric
from paddlevideo.utils.errors import DataError
from paddlevideo.utils.progress import track

Row = dict[str, Any]


def segments_of(loaded: Loaded, features: Path) -> Iterator[Row]:
    """Yields the segments of each video: "start" and "end" in seconds, and "label"."""
    options = loaded.options
    layout = Layout(options["max_action_num"], options["window_overlap"], options["max_region_num"])
    classes = loaded.model.head.names
    for timeline in opened(loaded, features):
        windows = Windows(timeline, timeline.seconds, layout)
        (labels,) = loaded.model.predict({"timeline": [windows]}, None)["labels"]
        yield {
            "video": timeline.name,
            "seconds": timeline.seconds,
            "segments": named_segments(labels, classes),
        }


def steps_of(
    loaded: Loaded, features: Path, steps: Sequence[str], order: StepOrder
) -> Iterator[Row]:
    """Yields the second of each step in each video, and its score.

    Raises DataError for a video with fewer seconds than ordered steps.
    """
    card = TaskCard("", "", tuple(steps))
    options = loaded.options
    scales = tuple(options.get("scales", ()))
    shape = (
        1 if scales else options["max_action_num"],
        scales,
        options["max_region_num"],
        options.get("background_text", ""),
    )
    predictor, metric = StepPredictor(loaded.model), StepMetric(order, loaded.normalizes_steps)
    for timeline in opened(loaded, features):
        scores = predictor.scores(StepVideo(timeline, card, loaded.tokens(), *shape))
        try:
            seconds = metric.seconds_of(scores, len(steps))
        except DataError as error:
            raise DataError(f"{timeline.name}: {error}") from None
        found = [
            {"step": step, "second": int(second), "score": round(float(row[second]), 4)}
            for step, second, row in zip(steps, seconds, scores.T, strict=False)
        ]
        yield {"video": timeline.name, "seconds": timeline.seconds, "steps": found}


def opened(loaded: Loaded, features: Path) -> Iterator[Timeline]:
    """Yields the videos of a feature store, a folder of arrays or an LMDB, with a progress bar."""
    options = loaded.options
    videos: Timelines = open_timelines(
        str(features),
        options["action_feature_dim"],
        options["vision_feature_dim"],
        options.get("time_axis", "auto"),
    )
    names = videos.names()
    if not names:
        raise DataError(f"{features}: contains no videos")
    for name in track(names, "videos", len(names), "videos"):
        yield videos.open(name)
