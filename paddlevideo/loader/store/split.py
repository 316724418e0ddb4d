"""Which clips of a store are for training, validation and test: ``STORE.split.json`` beside it."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from paddlevideo.files.fingerprint import state
from paddlevideo.files.whole import write_json_whole
from paddlevideo.loader.captions.matching import TIMED_ID, videos_of
from paddlevideo.loader.clips.clip import About, non_blank
from paddlevideo.loader.store.manifest import COMPLETE, is_store
from paddlevideo.loader.store.reader import FeatureStore
from paddlevideo.registry import SPLITS, Share, Split, did_you_mean
from paddlevideo.utils.errors import ConfigError, DataError
from paddlevideo.utils.printable import some

#: The clips that no data set reads, because they have no caption.
UNUSED = "no_captions"
FORMAT, VERSION = "paddlevideo split", 1
#: What is drawn by its share of the videos, or listed; training gets the rest.
DRAWN, LISTED = ("valid", "test"), "listed"
BY = ("video", "clip")
#: Maximum number of ids to compare with an unknown one.
_MAX_COMPARED = 5000


def split_path(store: str | os.PathLike[str]) -> Path:
    """Returns the path of a store's split."""
    path = Path(store)
    path = path if path.name not in ("", "..") else Path(os.path.abspath(path))
    return path.with_name(f"{path.name}.split.json")


def videos_by_clip(clips: Iterable[About], by: str = "video") -> dict[str, str]:
    """Returns what identifies the video of each clip, by the clip's id.

    The video's file, else its name, else what precedes the times or the number in the id, else the
    id. Two numbers are times if the first is the smaller one in all ids. ``by`` "clip": the id.
    """
    if by == "clip":
        return {about.id: about.id for about in clips}
    videos = {about.id: about.source or about.video for about in clips}
    unknown = [clip for clip, video in videos.items() if not video]
    timed = {clip: match for clip in unknown if (match := TIMED_ID.fullmatch(clip))}
    if not all(float(match["start"]) < float(match["end"]) for match in timed.values()):
        timed = {}
    for clip in unknown:
        name = timed[clip]["video"] if clip in timed else next(reversed(videos_of(clip)), clip)
        videos[clip] = name
    return videos


@dataclass(frozen=True)
class SplitFile:
    """A split: ids of clips under each of ``SPLITS`` and ``UNUSED``.

    ``settings``: those that it was made with; ``by`` in them is that of ``videos_by_clip``.
    """

    path: Path
    settings: Mapping[str, Any]
    clips: Mapping[str, list[str]]

    @classmethod
    def read(cls, path: Path) -> SplitFile:
        """Reads a split. Raises DataError if it is damaged or names a clip twice."""
        try:
            record = json.loads(path.read_text(encoding="utf-8"))
            if not isinstance(record, dict) or record.get("format") != FORMAT:
                raise ValueError(f'expected "format": "{FORMAT}"')
            if record.get("version") != VERSION:
                raise ValueError(f"version {record.get('version')}; expected {VERSION}")
            settings = dict(record["settings"])
            clips = {name: record.get(name, []) for name in (*SPLITS, UNUSED)}
            if not all(isinstance(ids, list) for ids in clips.values()):
                raise ValueError("train, valid, test and no_captions are lists of ids")
        except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
            what = f"{type(error).__name__}: {error}" if isinstance(error, KeyError) else error
            raise DataError(
                f"{path}: cannot be read as a split ({what}). Correct it, or make another one: "
                "paddlevideo split --overwrite"
            ) from None
        split = cls(path, settings, clips)
        split.sides()
        split.check_settings()
        return split

    def write(self, store: Path) -> None:
        """Writes the split, whole or not at all; one id on each line."""
        head = {"format": FORMAT, "version": VERSION, "store": store.name}
        write_json_whole(self.path, {**head, "settings": dict(self.settings), **self.clips})

    def check_settings(self) -> None:
        """Raises DataError for a setting that ``paddlevideo split`` cannot have written."""
        for name, value in self.settings.items():
            if name in DRAWN:
                fits = value == LISTED or (isinstance(value, float) and 0 < value < 1)
            else:
                fits = value in BY if name == "by" else type(value) is int and value >= 0
            if not fits:
                raise DataError(
                    f"{self.path}: settings: {name}: {value!r:.60} is not possible. Correct it, or "
                    "make another split: paddlevideo split --overwrite"
                )

    def sides(self) -> dict[str, str]:
        """Returns the name of the list that holds each clip. Raises DataError for a clip twice."""
        sides: dict[str, str] = {}
        for name, ids in self.clips.items():
            for clip in ids:
                if not isinstance(clip, str):
                    raise DataError(f"{self.path}: {name}: {clip!r:.60} is not the id of a clip")
                if clip in sides:
                    raise DataError(
                        f'{self.path}: the clip "{clip}" is in {sides[clip]} and in {name}: '
                        "remove one of the two lines"
                    )
                sides[clip] = name
        return sides


def clips_of_split(store: FeatureStore, name: Split) -> np.ndarray:
    """Returns the indices (n,) int64 of the clips of a store that are for ``name``, in order.

    Raises DataError if the store has no split, or one that does not fit: a clip is in no list, an
    id is of no clip, or clips of one video are in two lists.
    """
    path = split_path(store.path)
    if not path.is_file():
        raise DataError(
            f"{store.path}: has no split into training, validation and test ({path}). Make one: "
            f"paddlevideo split {store.path}, or put that file beside a store that was moved"
        )
    states = state(store.path / COMPLETE), state(path)
    indices = _indices(store.path, store.share, path, states)[name]
    if not len(indices):
        raise DataError(f"{path}: {name} names no clips")
    return indices


@lru_cache(maxsize=8)
def _indices(
    store: Path, share: Share | None, path: Path, states: tuple[tuple[int, ...], ...]
) -> dict[str, np.ndarray]:
    """Returns the indices of each list; read once in a process while both files stay equal."""
    split = SplitFile.read(path)
    by = split.settings.get("by", "video")
    videos = videos_by_clip(abouts(FeatureStore(store, share)), by)
    sides = split.sides()
    if share:  # other clips are in the shards of other ranks
        sides = {clip: side for clip, side in sides.items() if clip in videos}
    _check_clips(sides, videos, path, store)
    check_videos(sides, videos, path)
    indices: dict[str, list[int]] = {name: [] for name in split.clips}
    for index, clip in enumerate(videos):
        indices[sides[clip]].append(index)
    return {name: np.array(chosen, np.int64) for name, chosen in indices.items()}


def _check_clips(
    sides: Mapping[str, str], videos: Mapping[str, str], path: Path, store: Path
) -> None:
    """Raises DataError unless the ids of a split are those of the store's clips."""
    again = f"Run paddlevideo split {store} again: it keeps what is assigned"
    if new := [clip for clip in videos if clip not in sides]:
        raise DataError(
            f"{path}: {len(new)} clips of {store} are in none of its lists: {some(new)}. {again}, "
            "and divides the new videos"
        )
    if gone := [clip for clip in sides if clip not in videos]:
        near = did_you_mean(gone[0], videos) if len(videos) <= _MAX_COMPARED else ""
        raise DataError(
            f"{path}: {len(gone)} of its ids are of no clip of {store}: {some(gone)}.{near} "
            f"{again}, and drops what is gone"
        )


def check_videos(sides: Mapping[str, str], videos: Mapping[str, str], path: Path) -> None:
    """Raises DataError if clips of one video are for different purposes.

    ``sides`` and ``videos``: the list and the video of each clip.
    """
    first: dict[str, str] = {}
    for clip, side in sides.items():
        if side == UNUSED or clip not in videos:
            continue
        other = first.setdefault(videos[clip], clip)
        if sides[other] != side:
            raise DataError(
                f'{path}: the clips "{other}" ({sides[other]}) and "{clip}" ({side}) are of one '
                f"video, {videos[clip]}: move one of them, so that no video is both learned and "
                "tested"
            )


def abouts(store: FeatureStore) -> Iterator[About]:
    """Yields id, captions and origin of all clips of a store, in order.

    Raises DataError if two clips have one id.
    """
    store.sizes()  # checks the number of clips
    known: set[str] = set()
    for index in range(len(store)):
        about = store.about(index)
        if about.id in known:
            raise DataError(
                f'{store.path}: two clips are called "{about.id}". tools/prepare_data.py validate '
                "--fix leaves out the second"
            )
        known.add(about.id)
        yield about


def open_store(path: str | os.PathLike[str], share: Share | None = None) -> FeatureStore:
    """Opens the feature store of a data set that has ``split`` or reads a ``share``.

    Raises ConfigError for anything else.
    """
    if not is_store(path):
        key = "DATASET.shards: by_rank" if share else "split:"
        raise ConfigError(
            f"{key} works with a feature store, which {path} is not. Leave it out, or pack the "
            "clips and their captions: paddlevideo pack"
        )
    return FeatureStore(path, share)


def captions_of_split(store: FeatureStore, name: Split | None) -> list[tuple[str, str]]:
    """Returns (clip id, caption) of the clips for ``name``, or of all for None, in order.

    Blank captions are left out. Raises DataError as :func:`clips_of_split`, and if none is left.
    """
    chosen: Iterable[int] = range(len(store)) if name is None else clips_of_split(store, name)
    clips = (store.about(int(index)) for index in chosen)
    pairs = [(about.id, text) for about in clips for text in non_blank(about.captions)]
    if not pairs:
        raise DataError(f"{store.path}: its clips have no captions{name and f' ({name})' or ''}")
    return pairs
