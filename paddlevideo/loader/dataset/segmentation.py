"""Videos with a label for every second: the layout of MS-TCN, and COIN.

T seconds of a video, A of a window.
"""

from __future__ import annotations

import logging
from abc import abstractmethod
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

import numpy as np

from paddlevideo.loader.clips.gallery import RegionCount
from paddlevideo.loader.dataset.base import Dataset
from paddlevideo.loader.selection import MissingIds, read_list
from paddlevideo.loader.timeline.crosstask import read_videos
from paddlevideo.loader.timeline.features import (
    TimeAxis,
    Timelines,
    check_length,
    missing_videos,
    open_timelines,
)
from paddlevideo.loader.timeline.labels import (
    coin_labels,
    labelled_videos,
    read_labels,
    video_of,
)
from paddlevideo.loader.timeline.windows import Layout, Windows
from paddlevideo.registry import DATASETS, InputPath, did_you_mean
from paddlevideo.utils.class_names import (
    coin_classes,
    read_class_names,
    read_coin,
    unnamed_step,
)
from paddlevideo.utils.errors import ConfigError, DataError
from paddlevideo.utils.printable import some
from paddlevideo.utils.ranges import Count, CountOrZero
from paddlevideo.utils.text_files import text_lines

log = logging.getLogger("paddlevideo")
UNLABELLED = -1


class SegmentationDataset(Dataset):
    """Videos, each of which is a sample of a test; in training a sample is a window.

    A sample of a test: ``timeline``, the :class:`Windows` of the video, and ``index``. See
    :class:`LabelledWindows` for those of training.
    """

    def __init__(
        self,
        videos: Sequence[str],
        classes: Sequence[str],
        timelines: Timelines,
        layout: Layout,
        source: str,
    ) -> None:
        """``source``: the file that lists the videos, for messages."""
        missing_videos(timelines, videos, source)
        self.videos, self.classes = list(videos), tuple(classes)
        self.timelines, self.layout, self.source = timelines, layout, source
        tell_streams(timelines)

    @abstractmethod
    def labels(self, index: int) -> np.ndarray:
        """Returns the class of each second of video ``index``, (T,) int64. Raises DataError."""

    @abstractmethod
    def labels_source(self, index: int) -> str:
        """Returns where the labels of a video are from, for messages."""

    def __len__(self) -> int:
        """Returns the number of videos."""
        return len(self.videos)

    def __getitem__(self, index: int) -> dict[str, Any]:
        """Returns video ``index``. Raises DataError if labels and features differ in length."""
        return {"timeline": self.windows(index, self.labels(index)), "index": index}

    def windows(self, index: int, labels: np.ndarray) -> Windows:
        """Returns the windows of video ``index``, which has these labels (T,)."""
        timeline = self.timelines.open(self.videos[index])
        check_length(timeline, len(labels), self.labels_source(index))
        return Windows(timeline, len(labels), self.layout)

    def name_of(self, index: int) -> str:
        """Returns the name of video ``index``."""
        return self.videos[index]

    def for_training(self) -> Dataset:
        """Returns the windows of all videos, with their labels."""
        return LabelledWindows(self)

    def truth(self) -> list[np.ndarray]:
        """Returns the class of each second of every video: (T,) int64 each."""
        return [self.labels(index) for index in range(len(self))]

    def default_metric(self) -> dict[str, Any]:
        """Returns the METRIC section of a test of segmentation."""
        return {"name": "SegmentationMetric"}

    def extraction(self) -> dict[str, Any] | None:
        """Returns the settings with which the features were extracted, if a store says so."""
        return self.timelines.extraction()

    def describe(self) -> dict[str, Any]:
        """Returns files and counts."""
        return {
            **super().describe(),
            "file": self.source,
            "features": str(self.timelines.path),
            "videos": len(self),
            "classes": len(self.classes),
            "window_seconds": self.layout.length,
            "window_overlap": self.layout.overlap,
        }


class LabelledWindows(Dataset):
    """The windows of the videos of a data set as training samples.

    A sample has the input arrays of :func:`paddlevideo.loader.timeline.windows.input_arrays` and
    ``second_labels`` (A,) int64: the class of each second, -1 beyond the video and where it has no
    features.
    """

    def __init__(self, source: SegmentationDataset) -> None:
        self.source = source
        #: Video and first second of each window.
        self.windows = [
            (index, start)
            for index in range(len(source))
            for start in source.layout.starts(len(source.labels(index)))
        ]
        self.classes = source.classes

    def __len__(self) -> int:
        """Returns the number of windows."""
        return len(self.windows)

    def __getitem__(self, index: int) -> dict[str, Any]:
        """Returns window ``index`` with its labels. Raises DataError naming file and video."""
        video, start = self.windows[index]
        labels = self.source.labels(video)
        arrays = self.source.windows(video, labels).window(start)
        seconds = np.full(self.source.layout.length, UNLABELLED, np.int64)
        part = labels[start : start + len(seconds)]
        seconds[: len(part)] = part
        seconds[arrays["action_mask"] == 0] = UNLABELLED
        return {**arrays, "second_labels": seconds, "index": index}

    def name_of(self, index: int) -> str:
        """Returns the video of window ``index`` and its first second."""
        video, start = self.windows[index]
        return f"{self.source.name_of(video)} from {start} s"

    def extraction(self) -> dict[str, Any] | None:
        """Returns the settings with which the features were extracted, if a store says so."""
        return self.source.extraction()

    def describe(self) -> dict[str, Any]:
        """Returns the description of the videos, with windows as samples."""
        return {**self.source.describe(), "samples": len(self)}


def tell_streams(timelines: Timelines) -> None:
    """Logs, once for each source, the streams for which it has nothing."""
    _tell(str(timelines.path), timelines.has_regions)


@lru_cache(maxsize=64)
def _tell(path: str, has_regions: bool) -> None:
    lacking = "text" if has_regions else "text and no regions"
    log.info("%s: has no %s: these streams are masked", path, lacking)


def is_table(path: str) -> bool:
    """Returns whether a file's first line has commas: a list such as CrossTask's videos.csv."""
    _, first = next(iter(text_lines(path)), (0, ""))
    return "," in first


def listed_videos(path: str) -> set[str]:
    """Returns the videos in a text file, one a line, or in lines ``task,video,address``."""
    if is_table(path):
        return {video for _, video in read_videos(path)}
    return {video_of(name) for name in read_list(path)}


def chosen_videos(
    videos: Sequence[str],
    only: str | None,
    exclude: str | None,
    source: str,
    missing_ids: MissingIds = "error",
) -> list[str]:
    """Returns the videos that ``only`` names and ``exclude`` does not, in order.

    Both are text files with a video a line, such as ``.bundle`` files, or CrossTask's lists.
    Raises DataError if they leave no video and, unless ``missing_ids`` is "warn", for a line of a
    ``.bundle`` or text file that names none.
    """
    kept = list(videos)
    for path, is_wanted in ((only, True), (exclude, False)):
        if path:
            names = listed_videos(path)
            if missing := sorted(names.difference(videos) if not is_table(path) else ()):
                text = (
                    f"{path}: {len(missing)} of {len(names)} lines name no video of {source}: "
                    f"{some(missing)}.{did_you_mean(missing[0], videos)}"
                )
                if missing_ids == "error":
                    raise DataError(f"{text} Correct them, or set missing_ids: warn")
                log.warning("%s", text)
            kept = [video for video in kept if (video in names) == is_wanted]
    if not kept:
        raise DataError(f"{source}: only={only} and exclude={exclude} leave no video")
    return kept


@DATASETS.register()
class MSTCNDataset(SegmentationDataset):
    """Videos in the layout of MS-TCN, which PaddleVideo's segmentation data sets have too.

    ``file_path``: a ``.bundle`` that lists the videos; null: all that have labels. ``gt_path``: the
    folder of labels, ``<video>.txt`` with a name a second. ``actions_map_file_path``: the classes,
    lines such as "0 background". ``feature_path``: a folder of ``<video>.npy``, (T, G) or (G, T),
    a feature store, or an LMDB. ``time_axis``: which axis of an array is time, for those that are
    as long as wide. ``rows_per_second``: rows and labels a second, of which the first is taken.
    ``max_action_num``: seconds of the longest window; ``window_overlap``: seconds that it shares
    with the next. ``only`` and ``exclude``: text files of the videos to use or to leave out.
    ``max_region_num`` includes the mean of all regions.

    Raises DataError for an invalid file and for videos without features.
    """

    def __init__(  # noqa: PLR0913, PLR0917 - the names of PaddleVideo's files
        self,
        feature_path: InputPath,
        gt_path: InputPath,
        actions_map_file_path: InputPath,
        file_path: InputPath | None = None,
        action_feature_dim: Count = 2048,
        vision_feature_dim: Count = 2048,
        max_action_num: Count = 512,
        window_overlap: CountOrZero = 128,
        max_region_num: RegionCount = 2,
        time_axis: TimeAxis = "auto",
        rows_per_second: Count = 1,
        only: InputPath | None = None,
        exclude: InputPath | None = None,
        missing_ids: MissingIds = "error",
    ) -> None:
        self.gt_path, self.rate = Path(gt_path), rows_per_second
        videos = labelled_videos(str(gt_path), file_path)
        source = str(file_path or gt_path)
        super().__init__(
            chosen_videos(videos, only, exclude, source, missing_ids),
            read_class_names(str(actions_map_file_path)),
            open_timelines(
                str(feature_path),
                action_feature_dim,
                vision_feature_dim,
                time_axis,
                rows_per_second,
            ),
            Layout(max_action_num, window_overlap, max_region_num),
            source,
        )

    def labels(self, index: int) -> np.ndarray:
        """Returns the class of each second of video ``index``, (T,) int64."""
        every = read_labels(self.gt_path / f"{self.videos[index]}.txt", self.classes)
        return every[:: self.rate]

    def labels_source(self, index: int) -> str:
        """Returns the video's file of labels."""
        return str(self.gt_path / f"{self.videos[index]}.txt")


@DATASETS.register()
class COINDataset(SegmentationDataset):
    """The videos of ``COIN.json``, or of another file of its form.

    ``file_path``: the annotations. ``subset``: "training" or "testing". ``features_path``: a folder
    of ``<video>.npy``, a feature store or an LMDB, one row for each second of the whole video.
    ``class_file``: the file that numbers the steps, if it is not ``file_path``: a part of COIN does
    not have all of them. The other keys are those of :class:`MSTCNDataset`.

    Raises DataError for an invalid file and for videos without features.
    """

    def __init__(  # noqa: PLR0913, PLR0917 - flat, as the other data sets are
        self,
        file_path: InputPath,
        features_path: InputPath,
        subset: Literal["training", "testing"] = "testing",
        class_file: InputPath | None = None,
        action_feature_dim: Count = 2048,
        vision_feature_dim: Count = 2048,
        max_action_num: Count = 512,
        window_overlap: CountOrZero = 128,
        max_region_num: RegionCount = 36,
        time_axis: TimeAxis = "auto",
        rows_per_second: Count = 1,
        only: InputPath | None = None,
        exclude: InputPath | None = None,
        missing_ids: MissingIds = "error",
    ) -> None:
        database = read_coin(str(file_path))
        subsets = sorted({str(entry.get("subset")) for entry in database.values()})
        self.entries = {
            name: entry for name, entry in database.items() if entry.get("subset") == subset
        }
        if not self.entries:
            raise ConfigError(
                f'{file_path}: has no video with the subset "{subset}", only {", ".join(subsets)}'
            )
        self.path = str(file_path)
        classes = coin_classes(database, self.path)
        if class_file:
            numbered = read_class_names(str(class_file))
            same_numbers(classes, self.path, numbered, str(class_file))
            classes = numbered
        super().__init__(
            chosen_videos(list(self.entries), only, exclude, self.path, missing_ids),
            classes,
            open_timelines(
                str(features_path),
                action_feature_dim,
                vision_feature_dim,
                time_axis,
                rows_per_second,
            ),
            Layout(max_action_num, window_overlap, max_region_num),
            self.path,
        )

    def labels(self, index: int) -> np.ndarray:
        """Returns the class of each second of video ``index``, (T,) int64."""
        video = self.videos[index]
        return coin_labels(video, self.entries[video], len(self.classes), self.path)

    def labels_source(self, index: int) -> str:
        """Returns file and video."""
        return f'{self.path}: video "{self.videos[index]}"'

    def describe(self) -> dict[str, Any]:
        """Returns files and counts; "label" of a second is that of the last step in it."""
        return {**super().describe(), "seconds": "floor(start) to ceil(end), one label a second"}


def same_numbers(own: Sequence[str], path: str, numbered: Sequence[str], class_file: str) -> None:
    """Raises DataError for a step of ``path`` that has another name or no number in a class file.

    ``own``: the classes of ``path``; ``numbered``: those of ``class_file``.
    """
    for index, name in enumerate(own):
        if index >= len(numbered):
            raise DataError(
                f'{path}: id {index} is "{name}", but {class_file} has only the classes 0 to '
                f"{len(numbered) - 1}"
            )
        if name not in (numbered[index], unnamed_step(index)):
            raise DataError(
                f'{path}: id {index} is "{name}", but "{numbered[index]}" in {class_file}'
            )
