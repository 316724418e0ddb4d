"""Segments of videos, and the seconds of steps in them."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from paddlevideo.describe.model import Loaded
from paddlevideo.loader.dataset.crosstask import StepVideo
from paddlevideo.loader.timeline.crosstask import TaskCard, read_cards
from paddlevideo.loader.timeline.features import Timeline, Timelines, open_timelines
from paddlevideo.loader.timeline.windows import Layout, Windows
from paddlevideo.loader.tokenizer import check_query, load_tokenizer
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


def steps_from(text: str, task: str | None = None) -> list[str]:
    """Returns the steps in ``text``, separated by commas, or those of a card in a file.

    The file has the form of CrossTask's ``tasks_primary.txt``; ``task`` is the id or title of a
    card, if there are several. Raises ConfigError, or DataError naming file and line.
    """
    if not os.path.isfile(text):
        if task is not None or text.endswith(".txt"):
            raise ConfigError(f"--steps {text}: there is no such file of tasks. Check the path")
        return [step.strip() for step in text.split(",") if step.strip()]
    cards = list(read_cards(text).values())
    found = [card for card in cards if task in (card.id, card.title, None)]
    if len(found) != 1:
        named = [card.title for card in cards]
        near = did_you_mean(task, named) if task else ""
        raise ConfigError(
            f"--steps {text}: has {len(cards)} tasks: {some(named)}. Name one with --task, by its "
            f"title or id.{near}"
        )
    return list(found[0].steps)


def steps_of(
    loaded: Loaded, features: Path, steps: Sequence[str], order: StepOrder | None = None
) -> Iterator[Row]:
    """Yields the second of each step in each video, and its score.

    ``order``: by default that of the recipe's METRIC. Raises ConfigError for a step without a word
    of the vocabulary, and DataError for a video with fewer seconds than ordered steps.
    """
    tokens = loaded.tokens()
    for step in steps:
        check_query(load_tokenizer(tokens.bert_model), step, tokens.length)
    card = TaskCard("", "", tuple(steps))
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
        scores = predictor.scores(StepVideo(timeline, card, tokens, *shape))
        try:
            seconds = metric.seconds_of(scores, len(steps))
        except DataError as error:
            raise DataError(f'{features}: video "{timeline.name}": {error}') from None
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
