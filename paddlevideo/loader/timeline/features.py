"""The features of whole videos, one row a second, from several kinds of files.

T seconds, n of them read at once, G the width of an action feature, m regions of width F.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np

from paddlevideo import safe_pickle
from paddlevideo.loader.clips.clip import Clip
from paddlevideo.loader.clips.opening import open_clips
from paddlevideo.loader.clips.sample import box_vectors
from paddlevideo.loader.clips.source import ClipSource
from paddlevideo.loader.store import FeatureStore, is_store
from paddlevideo.registry import did_you_mean
from paddlevideo.utils.errors import DataError
from paddlevideo.utils.printable import some

#: Which axis of an array is time. "auto": the one that is not as long as a feature is wide.
TimeAxis = Literal["auto", "first", "last"]


class Rows(NamedTuple):
    """What a video has in n seconds."""

    actions: np.ndarray  # n, G float32; zeros where there is nothing
    present: np.ndarray  # n, bool
    regions: np.ndarray  # m, F float32, in the order of time
    boxes: np.ndarray  # m, 5: see ``box_vectors``


@dataclass(frozen=True)
class Timeline(ABC):
    """A video that is read in parts, so that memory does not grow with its length.

    It names files instead of holding them open, and can be sent to another process.
    """

    name: str
    seconds: int
    action_width: int
    region_width: int

    @abstractmethod
    def read(self, start: int, stop: int) -> Rows:
        """Returns the seconds from ``start`` to before ``stop``, which may lie beyond the end."""

    def empty(self, start: int, stop: int) -> Rows:
        """Returns seconds without any features."""
        return Rows(
            np.zeros((stop - start, self.action_width), np.float32),
            np.zeros(stop - start, bool),
            np.zeros((0, self.region_width), np.float32),
            np.zeros((0, 5), np.float32),
        )


class Timelines(ABC):
    """The videos of a file or folder of features."""

    path: Path
    #: Whether the videos have regions besides actions.
    has_regions = False

    def extraction(self) -> dict[str, Any] | None:
        """Returns the settings that ``paddlevideo extract`` made the features with, if it did."""
        return None

    @abstractmethod
    def names(self) -> list[str]:
        """Returns the names of all videos."""

    @abstractmethod
    def open(self, name: str) -> Timeline:
        """Returns a video. Raises DataError, naming file and video."""

    def unknown(self, name: str) -> DataError:
        """Returns the error for a video that has no features."""
        known = self.names()
        return DataError(
            f'{self.path}: has no features of video "{name}".{did_you_mean(name, known)} It has '
            f"{len(known)} videos: {some(known)}"
        )


# ------------------------------------------------------------------------ arrays


@dataclass(frozen=True)
class ArrayTimeline(Timeline):
    """A video whose seconds are the rows or, with ``time_is_last``, the columns of an array."""

    path: str
    time_is_last: bool
    rate: int = 1  # rows a second, of which the first is taken

    def read(self, start: int, stop: int) -> Rows:
        """Returns seconds; the file is mapped for this call only. Raises DataError for NaN."""
        rows = self.empty(start, stop)
        array = safe_pickle.load_npy(self.path)
        taken = slice(start * self.rate, stop * self.rate, self.rate)
        part = array[:, taken].T if self.time_is_last else array[taken]
        with np.errstate(over="ignore"):
            part = part.astype(np.float32)
        if not np.isfinite(part).all():
            second = start + int(np.argwhere(~np.isfinite(part))[0, 0])
            raise DataError(
                f"{self.path}: the features of second {second} are not finite. Compute them again"
            )
        rows.actions[: len(part)] = part
        rows.present[: len(part)] = True
        return rows


class ArrayFolder(Timelines):
    """A folder with a ``<video>.npy`` file for each video, (T, G) or (G, T), or one such file."""

    def __init__(
        self,
        path: Path,
        action_width: int,
        region_width: int,
        axis: TimeAxis = "auto",
        rate: int = 1,
    ) -> None:
        self.path, self.axis, self.rate = path, axis, rate
        self.action_width, self.region_width = action_width, region_width

    def names(self) -> list[str]:
        """Returns the names of the files without their ending."""
        if self.path.is_file():
            return [self.path.stem]
        return sorted(path.stem for path in self.path.glob("*.npy"))

    def open(self, name: str) -> Timeline:
        """Returns a video. Raises DataError if its array is not (T, G) or (G, T)."""
        path = (self.path.parent if self.path.is_file() else self.path) / f"{name}.npy"
        if not path.exists():
            raise self.unknown(name)
        array = safe_pickle.load_npy(path)
        if array.dtype.kind not in "biuf":
            raise DataError(f"{path}: holds values of type {array.dtype.str}; expected numbers")
        shape = array.shape
        last = time_is_last(shape, self.action_width, self.axis, str(path))
        seconds = math.ceil(shape[1 if last else 0] / self.rate)
        widths = (self.action_width, self.region_width)
        return ArrayTimeline(name, seconds, *widths, str(path), last, self.rate)


def time_is_last(shape: tuple[int, ...], width: int, axis: TimeAxis, path: str) -> bool:
    """Returns whether an array of ``shape`` is (width, seconds) and not (seconds, width).

    Raises DataError if it is neither, or if both fit and ``axis`` does not say which.
    """
    if len(shape) != 2:
        raise DataError(
            f"{path}: has the shape {shape}; expected one row a second, (seconds, {width}), or "
            f"({width}, seconds)"
        )
    fits_first, fits_last = shape[1] == width, shape[0] == width
    if axis == "auto" and fits_first and fits_last:
        raise DataError(
            f"{path}: has the shape {shape}, in which seconds cannot be told from the features "
            f'of width {width}: set time_axis to "first" for (seconds, width) or to "last" for '
            "(width, seconds)"
        )
    wanted = {"auto": fits_first or fits_last, "first": fits_first, "last": fits_last}[axis]
    if not wanted:
        forms = {"auto": "(seconds, {0}) or ({0}, seconds)", "first": "(seconds, {0})"}
        form = forms.get(axis, "({0}, seconds)").format(width)
        raise DataError(
            f"{path}: has the shape {shape}, but action_feature_dim is {width}; expected {form}. "
            "Set action_feature_dim, and the backbone's a_feature_size, to the width of a "
            "second's features"
        )
    return axis == "last" or (axis == "auto" and fits_last)


# ------------------------------------------------------------------------- clips


class Part(NamedTuple):
    """A clip of a video: its position in the source and its span in seconds."""

    position: int
    start: float
    end: float


@dataclass(frozen=True)
class ClipTimeline(Timeline):
    """A video made of clips: a clip's actions are spread evenly over its span.

    Where clips overlap, the earlier one counts. Without a span a clip is a whole video, with one
    action a second.
    """

    path: str
    parts: tuple[Part, ...]  # by their starts

    def read(self, start: int, stop: int) -> Rows:
        """Returns seconds; reads only the clips in them. Raises DataError for damaged ones."""
        rows, regions, boxes = self.empty(start, stop), [], []
        for part in self.parts:
            if part.start >= stop or part.end <= start:
                continue
            clip = _source(self.path).read(part.position)
            self._check(clip)
            regions.append(clip.regions)
            boxes.append(box_vectors(clip.boxes, clip.image_h, clip.image_w))
            middles = np.arange(start, stop) + 0.5
            inside = (middles >= part.start) & (middles < part.end) & ~rows.present
            share = (middles[inside] - part.start) / (part.end - part.start)
            rows.actions[inside] = clip.actions[(share * len(clip.actions)).astype(np.int64)]
            rows.present[inside] = True
        if not regions:
            return rows
        return rows._replace(regions=np.concatenate(regions), boxes=np.concatenate(boxes))

    def _check(self, clip: Clip) -> None:
        """Raises DataError if the clip's features have other widths."""
        for key, array, width, option in (
            ("features", clip.regions, self.region_width, "vision_feature_dim"),
            ("action_features", clip.actions, self.action_width, "action_feature_dim"),
        ):
            if array.shape[1] != width or (option == "action_feature_dim" and not len(array)):
                raise DataError(
                    f'{self.path}: clip "{clip.id}": {key} have the shape {array.shape}, but '
                    f"{option} is {width}. Set it, and the backbone's size, to their width"
                )


class ClipTimelines(Timelines):
    """The videos of a feature store, or of another file of clips, each of which is a video."""

    has_regions = True

    def __init__(self, path: Path, action_width: int, region_width: int, rate: int = 1) -> None:
        self.path, self.action_width, self.region_width = path, action_width, region_width
        self.rate = rate
        source = _source(str(path))
        self.parts: dict[str, list[Part]] = {}
        if isinstance(source, FeatureStore):
            for index in range(len(source)):
                about = source.about(index)
                if about.span is not None:
                    video = about.video or about.id.rpartition("_")[0] or about.id
                    self.parts.setdefault(video, []).append(Part(index, *about.span))
                else:
                    self.parts[about.id] = [Part(index, 0.0, math.nan)]
        else:
            self.parts = {name: [Part(i, 0.0, math.nan)] for i, name in enumerate(source.ids())}

    def extraction(self) -> dict[str, Any] | None:
        """Returns the settings that ``paddlevideo extract`` made the features with, if it did."""
        return _source(str(self.path)).extraction()

    def names(self) -> list[str]:
        """Returns the names of all videos."""
        return sorted(self.parts)

    def open(self, name: str) -> Timeline:
        """Returns a video. Raises DataError for a span that ends before it starts."""
        if name not in self.parts:
            raise self.unknown(name)
        parts = [self._whole(part) for part in self.parts[name]]
        for part in parts:
            if not 0 <= part.start < part.end:
                raise DataError(
                    f'{self.path}: clip {part.position} of video "{name}": its span is from '
                    f"{part.start:g} to {part.end:g} s. Extract the video again"
                )
        seconds = math.ceil(max(part.end for part in parts))
        widths = (self.action_width, self.region_width)
        return ClipTimeline(name, seconds, *widths, str(self.path), tuple(sorted(parts, key=_time)))

    def _whole(self, part: Part) -> Part:
        """Returns the part; a clip without a span has ``rate`` actions a second.

        Raises DataError for one that was extracted from a video: its actions have no times.
        """
        if not math.isnan(part.end):
            return part
        if self.extraction() is not None:
            raise DataError(
                f"{self.path}: its clips are whole videos, and it is unknown when their actions "
                "are. Extract them with -o clips.seconds=1 (predict: --every 1)"
            )
        actions = len(_source(str(self.path)).read(part.position).actions)
        return part._replace(end=actions / self.rate)


def _time(part: Part) -> tuple[float, int]:
    return part.start, part.position


@lru_cache(maxsize=8)
def _source(path: str) -> ClipSource:
    """Returns the opened clips, once in each process."""
    return open_clips(path)


def open_timelines(
    path: str, action_width: int, region_width: int, axis: TimeAxis = "auto", rate: int = 1
) -> Timelines:
    """Opens a folder of ``.npy`` arrays, one of them, a feature store, an LMDB or other clips.

    ``rate``: rows a second, of which the first is taken; clips with times need none. Raises
    DataError if there are no clips of a known kind.
    """
    folder, first = Path(path), None
    if folder.is_dir() and not is_store(folder):
        first = min(folder.glob("*.npy"), default=None)
        if not any(folder.iterdir()):
            raise DataError(
                f"{folder}: is empty; expected <video>.npy, an array of a row a second, for each "
                "video"
            )
    elif folder.suffix == ".npy":
        first = folder
    if first is not None and safe_pickle.load_npy(first).dtype != object:
        return ArrayFolder(folder, action_width, region_width, axis, rate)
    return ClipTimelines(folder, action_width, region_width, rate)


def check_length(timeline: Timeline, seconds: int, labels: str) -> None:
    """Raises DataError if features and labels differ by more than a second.

    ``labels``: where the labels are from, for the message.
    """
    if abs(timeline.seconds - seconds) > 1:
        raise DataError(
            f'{labels}: {seconds} seconds of labels, but the features of video "{timeline.name}" '
            f"have {timeline.seconds}. Expected at most 1 more or less: compute the features "
            "again at one row a second, set rows_per_second, or correct the labels"
        )


def missing_videos(timelines: Timelines, names: Sequence[str], where: str) -> None:
    """Raises DataError, with the number and the first ones, for videos without features."""
    known = set(timelines.names())
    missing = [name for name in names if name not in known]
    if missing:
        hint = did_you_mean(missing[0], known)
        raise DataError(
            f"{where}: {len(missing)} of {len(names)} videos have no features in "
            f"{timelines.path}: {some(missing)}.{hint} Add them, or leave the videos out with "
            "exclude"
        )
