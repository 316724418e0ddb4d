"""Files of labels: MS-TCN's folders, and COIN's annotations.

T seconds of a video.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from paddlevideo.registry import did_you_mean
from paddlevideo.utils.class_names import step_id
from paddlevideo.utils.errors import DataError
from paddlevideo.utils.text_files import text_lines

#: Seconds of the longest video, which is 115 days: more is a mistake.
MAX_SECONDS = 10_000_000


def video_of(name: str) -> str:
    """Returns the name of a video without the ending of its file of labels."""
    return name.removesuffix(".txt")


def labelled_videos(gt_path: str, bundle: str | None = None) -> list[str]:
    """Returns the videos that a ``.bundle`` lists, or all that have a file in ``gt_path``.

    Raises DataError naming the file and the line of a video without labels.
    """
    folder = Path(gt_path)
    if bundle is None:
        videos = sorted(path.stem for path in folder.glob("*.txt"))
        if not videos:
            raise DataError(f"{gt_path}: holds no file of labels, <video>.txt")
        return videos
    videos = []
    for number, line in text_lines(bundle):
        video = video_of(line)
        if not (folder / f"{video}.txt").is_file():
            near = did_you_mean(video, [path.stem for path in folder.glob("*.txt")])
            raise DataError(
                f'{bundle}: line {number}: video "{video}" has no file of labels '
                f"{folder / video}.txt.{near} Correct the name, or remove the line"
            )
        if video in videos:
            raise DataError(f'{bundle}: line {number}: video "{video}" occurs twice; keep one')
        videos.append(video)
    if not videos:
        raise DataError(f"{bundle}: names no video; expected a name a line, such as rgb-01-1.txt")
    return videos


def read_labels(path: Path, classes: Sequence[str]) -> np.ndarray:
    """Returns the class of each second, (T,) int64, from a file with a name a line.

    Raises DataError naming file and line for a name that is not one of ``classes``.
    """
    numbers = {name: number for number, name in enumerate(classes)}
    labels = []
    for number, name in text_lines(str(path)):
        if name not in numbers:
            raise DataError(
                f'{path}: line {number}: "{name:.60}" is not one of the {len(classes)} classes.'
                f"{did_you_mean(name, classes)} Correct the label, or add it to the mapping"
            )
        labels.append(numbers[name])
    if not labels:
        raise DataError(f"{path}: holds no labels; expected a name for each second")
    return np.array(labels, np.int64)


def coin_labels(video: str, entry: Mapping[str, Any], classes: int, path: str) -> np.ndarray:
    """Returns the class of each second of a video in COIN's form, (T,) int64.

    A step lasts from the floor of its start to the ceiling of its end; of overlapping steps the
    later one counts. Raises DataError naming file, video and annotation.
    """
    where = f'{path}: video "{video}"'
    duration = entry.get("duration")
    if (
        not isinstance(duration, (int, float))
        or isinstance(duration, bool)
        or not 0 < duration < MAX_SECONDS
    ):
        raise DataError(
            f'{where}: "duration" is {duration!r:.40}; expected seconds, more than 0 and less '
            f"than {MAX_SECONDS}"
        )
    labels = np.zeros(math.ceil(duration), np.int64)
    for row, step in enumerate(entry["annotation"]):
        here = f"{where}, annotation {row}"
        number = step_id(step, here)
        if number >= classes:
            raise DataError(f"{here}: id {number} is beyond the {classes - 1} steps of the model")
        start, end = span_of(step.get("segment"), len(labels), here)
        labels[math.floor(start) : math.ceil(end)] = number
    return labels


def span_of(segment: Any, seconds: float, where: str) -> tuple[float, float]:
    """Returns start and end of a segment within a video of ``seconds``, in seconds.

    Raises DataError, beginning with ``where``, if it ends before it starts, or beyond the video by
    more than a second.
    """
    try:
        start, end = map(float, [] if isinstance(segment, str) else segment)
    except (TypeError, ValueError):
        raise DataError(
            f"{where}: the segment is {segment!r:.60}; expected its start and its end in seconds"
        ) from None
    if not 0 <= start <= end:
        raise DataError(
            f"{where}: the segment is from {start:g} to {end:g} s; expected a start of 0 or more "
            "and an end that is not before it"
        )
    if end > seconds + 1:
        raise DataError(
            f"{where}: the segment ends at {end:g} s, but the video has {seconds:g} s. Correct one "
            "of them"
        )
    return start, end
