"""Segments of videos, and the seconds of steps in them."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from paddlevideo.describe.model import Loaded
from paddlevideo.loader.dataset.crosstask import StepVideo
from paddlevideo.loader.timeline.crosstask import TaskCard, read_cards
from paddlevideo.loader.timeline.features import Timeline, Timelines, open_timelines
from paddlevideo.loader.timeline.windows import Layout, Windows
from paddlevideo.metrics.steps import StepOrder
from paddlevideo.registry import did_you_mean
from paddlevideo.timelines.matching import StepPredictor
from paddlevideo.timelines.segmentation import named_segments
from paddlevideo.timelines.steps import StepMetric
from paddlevideo.utils.errors import ConfigError, DataError
from paddlevideo.utils.printable import some
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


def cards_from(text: str, tasks: Sequence[str] = ()) -> list[TaskCard]:
    """Returns a card for the steps in ``text``, or the cards of ``tasks`` in a file.

    Steps have commas between them, and their card no title. The file has the form of CrossTask's
    ``tasks_primary.txt``; ``tasks`` are titles or ids of its cards, and may be left out if it has
    one. Raises ConfigError, or DataError naming file and line.
    """
    if tasks and not text:
        raise ConfigError("--task: give the file of tasks with --steps")
    if not os.path.isfile(text):
        if tasks or text.endswith(".txt"):
            raise ConfigError(f"--steps {text}: there is no such file of tasks. Check the path")
        steps = tuple(step.strip() for step in text.split(",") if step.strip())
        return [TaskCard("", "", steps)] if steps else []
    cards = list(read_cards(text).values())
    if not tasks and len(cards) == 1:
        return cards
    found: dict[TaskCard, None] = {}
    for task in tasks or [""]:
        called = [card for card in cards if task in (card.id, card.title)]
        if len(called) != 1:
            named = [card.title for card in cards]
            near = did_you_mean(task, named) if task else ""
            where = f'--task "{task}": {text}' if task else f"--steps {text}:"
            raise ConfigError(
                f"{where} has {len(cards)} tasks: {some(named, 20)}. Name one or several, each "
                f"with --task and its title or id.{near}"
            )
        found[called[0]] = None
    return list(found)


def steps_of(
    loaded: Loaded, features: Path, cards: Sequence[TaskCard], order: StepOrder | None = None
) -> Iterator[Row]:
    """Yields for each video and card the second of each step, and its score.

    ``order``: by default that of the recipe's METRIC. Raises DataError for a video with fewer
    seconds than ordered steps.
    """
    tokens = loaded.tokens()
    # Of all cards, so that the seconds of a video are encoded once.
    every = TaskCard("", "", tuple(step for card in cards for step in card.steps))
    options = loaded.options
    scales = tuple(options.get("scales", ()))
    shape = (
        1 if scales else options["max_action_num"],
        scales,
        options["max_region_num"],
        options.get("background_text", ""),
    )
    metric = StepMetric(
        order or loaded.metric.get("order", "listed"), loaded.metric.get("normalize", False)
    )
    predictor = StepPredictor(loaded.model)
    for timeline in opened(loaded, features):
        scores = predictor.scores(StepVideo(timeline, every, tokens, *shape))
        background, first = scores[:, len(every.steps) :], 0
        for card in cards:
            count = len(card.steps)
            columns = np.hstack([scores[:, first : first + count], background])
            first += count
            task = {"task": card.title} if card.title else {}
            try:
                seconds = metric.seconds_of(columns, count)
            except DataError as error:
                of_task = f', task "{card.title}"' if task else ""
                raise DataError(f'{features}: video "{timeline.name}"{of_task}: {error}') from None
            found = [
                {"step": step, "second": int(second), "score": round(float(row[second]), 4)}
                for step, second, row in zip(card.steps, seconds, columns.T, strict=False)
            ]
            yield {"video": timeline.name, **task, "seconds": timeline.seconds, "steps": found}


def opened(loaded: Loaded, features: Path) -> Iterator[Timeline]:
    """Yields the videos of a feature store, a folder of arrays or an LMDB, with a progress bar."""
    options = loaded.options
    videos: Timelines = open_timelines(
        str(features),
        options["action_feature_dim"],
        options["vision_feature_dim"],
        options.get("time_axis", "auto"),
        options.get("rows_per_second", 1),
    )
    names = videos.names()
    if not names:
        raise DataError(f"{features}: contains no videos")
    for name in track(names, "videos", len(names), "videos"):
        video = videos.open(name)
        if not video.seconds:
            raise DataError(f'{features}: video "{name}" has no seconds')
        yield video
