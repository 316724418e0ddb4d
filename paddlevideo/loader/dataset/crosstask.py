"""Steps of tasks in videos: the release of CrossTask.

T seconds of a video, K steps of its task, A seconds of a clip, L ids of a text.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np

from paddlevideo.loader.clips.gallery import RegionCount
from paddlevideo.loader.dataset.base import Dataset
from paddlevideo.loader.dataset.retrieval import TokenSettings
from paddlevideo.loader.dataset.segmentation import chosen_videos, tell_streams
from paddlevideo.loader.selection import MissingIds
from paddlevideo.loader.timeline.crosstask import (
    TaskCard,
    annotation_path,
    card_of,
    read_cards,
    read_steps,
    read_videos,
    step_seconds,
)
from paddlevideo.loader.timeline.features import (
    Rows,
    TimeAxis,
    Timeline,
    missing_videos,
    open_timelines,
)
from paddlevideo.loader.timeline.windows import input_arrays
from paddlevideo.loader.tokenizer import TextLength, load_tokenizer
from paddlevideo.registry import DATASETS, InputPath, NameOrPath
from paddlevideo.utils.errors import DataError
from paddlevideo.utils.ranges import Count, CountOrZero

log = logging.getLogger("paddlevideo")


class StepTruth(NamedTuple):
    """What is true of a video: its task, and which seconds belong to each step."""

    task: str
    seconds: np.ndarray  # T, K bool
    name: str  # for messages


@dataclass(frozen=True)
class StepVideo:
    """A video and the texts of its task's steps, for the predictor of a test."""

    timeline: Timeline
    card: TaskCard
    tokens: TokenSettings
    clip_seconds: int
    scales: tuple[int, ...]
    regions: int
    background_text: str = ""

    @property
    def seconds(self) -> int:
        """The length of the video."""
        return self.timeline.seconds

    def texts(self) -> dict[str, np.ndarray]:
        """Returns the steps as ids: ``text_ids``, ``token_type_ids``, ``text_mask`` (K, L).

        The text of the background, if there is one, is the last.
        """
        texts = (*self.card.steps, *([self.background_text] if self.background_text else []))
        rows = [self.tokens.encode(text) for text in texts]
        return {key: np.stack([row[key] for row in rows]) for key in rows[0]}

    def clips(self, size: int) -> Iterator[dict[str, np.ndarray]]:
        """Yields the seconds of the video as clips, at most ``size`` at a time, in order."""
        for first in range(0, self.seconds, size):
            some = range(first, min(first + size, self.seconds))
            arrays = [self.clip(second) for second in some]
            yield {key: np.stack([each[key] for each in arrays]) for key in arrays[0]}

    def clip(self, second: int) -> dict[str, np.ndarray]:
        """Returns the input arrays of the clip around ``second``, without texts."""
        rows = around(self.timeline, second, max((self.clip_seconds, *self.scales)))
        if self.scales:
            rows = side_by_side(rows, self.scales)
        arrays = input_arrays(rows, self.regions)
        return {key: x for key, x in arrays.items() if not key.startswith(("text", "token"))}


def around(timeline: Timeline, second: int, length: int) -> Rows:
    """Returns ``length`` seconds, ``second`` in their middle; those before the start are empty."""
    start = second - length // 2
    rows = timeline.read(max(start, 0), start + length)
    missing = max(-start, 0)
    return rows._replace(
        actions=np.pad(rows.actions, ((missing, 0), (0, 0))),
        present=np.pad(rows.present, (missing, 0)),
    )


def side_by_side(rows: Rows, scales: Sequence[int]) -> Rows:
    """Returns one row: the means of the seconds around the middle one, for each of ``scales``."""
    middle, means = len(rows.present) // 2, []
    for scale in scales:
        part = slice(middle - scale // 2, middle - scale // 2 + scale)
        means.append(rows.actions[part].sum(axis=0) / max(int(rows.present[part].sum()), 1))
    return rows._replace(actions=np.concatenate(means)[None], present=np.ones(1, bool))


@DATASETS.register()
class CrossTaskDataset(Dataset):
    """Videos of tasks, whose steps a test localises by matching seconds with the steps' texts.

    ``task_path``: the cards of the tasks, ``tasks_primary.txt``. ``file_path``: the videos,
    ``videos.csv`` or ``videos_val.csv``; those of tasks without a card or without an annotation are
    left out, and counted. ``annotation_path``: the folder of ``<task>_<video>.csv``.
    ``features_path``: a folder of ``<video>.npy``, a feature store or an LMDB.
    ``rows_per_second``: rows of these features a second, of which the first is taken.
    ``max_action_num``: seconds of the clip around a second that is matched. ``scales``: instead of
    these seconds, a clip has one action: means over this many seconds each, side by side.
    ``background_text``: the text of seconds without a step, which a test matches too; "": training
    leaves them out.
    ``only`` and ``exclude``: text files of videos.

    A sample of a test: ``step_video``, a :class:`StepVideo`, and ``index``. See
    :class:`StepClips` for those of training. Raises DataError for an invalid file and for videos
    without features.
    """

    def __init__(  # noqa: PLR0913, PLR0917 - flat, as the other data sets are
        self,
        task_path: InputPath,
        file_path: InputPath,
        annotation_path: InputPath,
        features_path: InputPath,
        bert_model: NameOrPath = "bert-base-uncased",
        padding_index: CountOrZero = 0,
        max_seq_length: TextLength = 36,
        max_region_num: RegionCount = 36,
        max_action_num: Count = 5,
        vision_feature_dim: Count = 2048,
        action_feature_dim: Count = 2048,
        time_axis: TimeAxis = "auto",
        rows_per_second: Count = 1,
        scales: Sequence[Count] = (),
        background_text: str = "",
        only: InputPath | None = None,
        exclude: InputPath | None = None,
        missing_ids: MissingIds = "error",
    ) -> None:
        self.file_path, self.folder = str(file_path), str(annotation_path)
        self.background_text = background_text
        self.cards = read_cards(str(task_path))
        pairs = self._annotated(read_videos(self.file_path))
        names = [video for _, video in pairs]
        kept = set(chosen_videos(names, only, exclude, self.file_path, missing_ids))
        self.pairs = [pair for pair in pairs if pair[1] in kept]
        self.videos = [video for _, video in self.pairs]
        self.timelines = open_timelines(
            str(features_path), action_feature_dim, vision_feature_dim, time_axis, rows_per_second
        )
        missing_videos(self.timelines, self.videos, self.file_path)
        tell_streams(self.timelines)
        self.bert_model = bert_model
        self.tokens = TokenSettings(bert_model, max_seq_length, padding_index)
        self.regions, self.scales = max_region_num, tuple(scales)
        self.clip_seconds = 1 if scales else max_action_num

    def _annotated(self, pairs: list[tuple[str, str]]) -> list[tuple[str, str]]:
        """Returns the pairs of task and video that can be tested. Raises DataError if none can."""
        kept = [
            (task, video)
            for task, video in pairs
            if task in self.cards and annotation_path(self.folder, task, video).is_file()
        ]
        if not kept:
            task, video = pairs[0]
            card_of(self.cards, task, self.file_path)
            raise DataError(
                f"{self.file_path}: none of its {len(pairs)} videos is annotated in {self.folder}, "
                f"such as {annotation_path(self.folder, task, video)}"
            )
        if len(kept) < len(pairs):
            log.info(
                "%s: left out %d of %d videos, which lack an annotation or a card of their task",
                self.file_path,
                len(pairs) - len(kept),
                len(pairs),
            )
        return kept

    def __len__(self) -> int:
        """Returns the number of videos."""
        return len(self.pairs)

    def __getitem__(self, index: int) -> dict[str, Any]:
        """Returns video ``index``. Raises DataError for an annotation that does not fit."""
        return {"step_video": self.step_video(index), "index": index}

    def step_video(self, index: int) -> StepVideo:
        """Returns video ``index`` with the card of its task."""
        task, video = self.pairs[index]
        timeline = self.timelines.open(video)
        shape = (self.clip_seconds, self.scales, self.regions, self.background_text)
        return StepVideo(timeline, self.cards[task], self.tokens, *shape)

    def steps(self, index: int) -> np.ndarray:
        """Returns which seconds of video ``index`` belong to each step, (T, K) bool."""
        (task, video), seconds = self.pairs[index], self.timelines.open(self.videos[index]).seconds
        card, path = self.cards[task], annotation_path(self.folder, task, video)
        return step_seconds(read_steps(path, card, seconds), seconds, len(card.steps))

    def name_of(self, index: int) -> str:
        """Returns task and video, as in the name of their annotation."""
        return "_".join(self.pairs[index])

    def some_captions(self, count: int) -> Iterator[tuple[str, list[str]]]:
        """Yields the steps of the tasks."""
        for card in list(self.cards.values())[:count]:
            yield card.title, list(card.steps)

    def for_training(self) -> Dataset:
        """Returns the seconds of all steps as clips, each with the text of its step."""
        return StepClips(self)

    def extents(self) -> dict[str, Any]:
        """Returns the vocabulary and its number of words."""
        words = load_tokenizer(self.tokens.bert_model).vocabulary_size
        return {"bert_model": self.tokens.bert_model, "text_ids": words}

    def truth(self) -> list[StepTruth]:
        """Returns the task and the seconds of the steps of every video."""
        return [
            StepTruth(task, self.steps(index), f'{self.timelines.path}: video "{video}"')
            for index, (task, video) in enumerate(self.pairs)
        ]

    def default_metric(self) -> dict[str, Any]:
        """Returns the METRIC section of a test of steps."""
        return {"name": "StepMetric"}

    def extraction(self) -> dict[str, Any] | None:
        """Returns the settings with which the features were extracted, if a store says so."""
        return self.timelines.extraction()

    def describe(self) -> dict[str, Any]:
        """Returns files and counts."""
        return {
            **super().describe(),
            "file": self.file_path,
            "features": str(self.timelines.path),
            "tasks": len({task for task, _ in self.pairs}),
            "videos": len(self),
            "clip_seconds": list(self.scales) or self.clip_seconds,
        }


class StepClips(Dataset):
    """The seconds of annotated steps as samples for training ``ActBert`` to match.

    A sample has the arrays of a pre-training batch: the clip around the second, the text of its
    step, and no label to predict but that they match, so a contrast with other texts of the batch
    or a retrieval head must teach.
    """

    def __init__(self, source: CrossTaskDataset) -> None:
        self.source = source

    @cached_property
    def seconds(self) -> np.ndarray:
        """Video, second and step of each sample, (n, 3) int64; step K is the background."""
        every = []
        for index in range(len(self.source)):
            true = self.source.steps(index)
            if self.source.background_text:
                true = np.column_stack([true, ~true.any(axis=1)])
            second, step = np.nonzero(true)
            every.append(np.stack([np.full_like(second, index), second, step], axis=1))
        return np.concatenate(every)

    def __len__(self) -> int:
        """Returns the number of seconds, counted once for each step that they belong to."""
        return len(self.seconds)

    def __getitem__(self, index: int) -> dict[str, Any]:
        """Returns sample ``index``."""
        video, second, step = self.seconds[index].tolist()
        found = self.source.step_video(video)
        clip = found.clip(second)
        texts = (*found.card.steps, self.source.background_text)
        text = self.source.tokens.encode(texts[step])
        return {
            **clip,
            **text,
            "text_labels": np.full(len(text["text_ids"]), -1, np.int64),
            "image_label": np.full(len(clip["image_mask"]) - 1, -1, np.int64),
            "action_label": np.full(len(clip["action_mask"]), -1, np.int64),
            "next_sentence_label": 0,
            "index": index,
        }

    def name_of(self, index: int) -> str:
        """Returns task, video and second."""
        video, second, _ = self.seconds[index].tolist()
        return f"{self.source.name_of(video)} at {second} s"

    def extents(self) -> dict[str, Any]:
        """Returns those of the source."""
        return self.source.extents()

    def extraction(self) -> dict[str, Any] | None:
        """Returns the settings with which the features were extracted, if a store says so."""
        return self.source.extraction()

    def describe(self) -> dict[str, Any]:
        """Returns the description of the source, with seconds as samples."""
        return {**self.source.describe(), "samples": len(self)}
