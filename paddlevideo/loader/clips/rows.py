"""PaddleVideo's HowTo100M rows: a ``.npy`` file of tuples of 11, read without running its code."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from paddlevideo import safe_pickle
from paddlevideo.files.whole import write_whole
from paddlevideo.loader.clips.check import (
    NO_REGIONS,
    as_caption,
    as_classes,
    as_count,
    as_matrix,
    check_clip,
    count_classes,
)
from paddlevideo.loader.clips.clip import (
    LARGEST,
    About,
    Clip,
    Sizes,
    split_alternatives,
)
from paddlevideo.loader.clips.source import ClipSource
from paddlevideo.utils.errors import DataError
from paddlevideo.utils.printable import some

NAMES = {
    "regions": "region features",
    "distributions": "class distribution",
    "actions": "action features",
    "action_classes": "action classes",
}


class _Row(NamedTuple):
    """The entries of a row in their order."""

    regions: Any
    distributions: Any
    boxes: Any
    region_count: Any
    image_h: Any
    image_w: Any
    id: Any
    caption: Any
    actions: Any
    action_classes: Any
    action_count: Any


class RowFile(ClipSource):
    """The rows of a HowTo100M ``.npy`` file.

    The file is mapped: arrays are read when they are used. Length, row sizes and clip ids are
    checked when it is opened, the contents of a row whenever it is read.
    """

    has_captions = True

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = str(path)
        self._rows = self._open()
        self._ids = [str(_Row(*row).id) for row in self._rows]
        repeated = [name for name, count in Counter(self._ids).items() if count > 1]
        if repeated:
            raise DataError(
                f"{self.path}: {len(repeated)} clip ids occur in several rows: {some(repeated)}. "
                "Keep one row for each clip"
            )
        # The first row sets the widths that all others must have.
        region, classes, action = (self._width(entry) for entry in (0, 1, 8))
        self._sizes = Sizes(region, action, classes)
        self._allowed = replace(self._sizes, action_classes=LARGEST)

    def _open(self) -> list[Any]:
        array = safe_pickle.load_npy(self.path)
        if array.dtype != object or array.ndim not in (1, 2):
            raise DataError(f"{self.path}: not an object array of HowTo100M rows")
        rows, wanted = list(array), len(_Row._fields)
        for index, row in enumerate(rows):
            length = len(row) if isinstance(row, (tuple, list, np.ndarray)) else 0
            if length != wanted:
                raise DataError(
                    f"{self.path}: row {index} has {length} entries, where {wanted} belong"
                )
        if not rows:
            raise DataError(f"{self.path}: holds no rows")
        return rows

    def _width(self, entry: int) -> int:
        array = self._rows[0][entry]
        if not isinstance(array, np.ndarray) or array.ndim != 2:
            raise DataError(f"{self.path}: row 0: entry {entry} is not a two-dimensional array")
        return array.shape[1]

    def __len__(self) -> int:
        return len(self._rows)

    def ids(self) -> list[str]:
        """The ids of all rows."""
        return self._ids

    def sizes(self) -> Sizes:
        """Widths of the first row; the number of action classes is not noted in the file."""
        return self._sizes

    def action_classes(self) -> int:
        """One more than the largest class of all rows; wrong ones are reported when read."""
        return count_classes(_Row(*row).action_classes for row in self._rows)

    def about(self, index: int) -> About:
        """Id, and the alternatives of the caption that are not blank."""
        caption = _Row(*self._rows[index]).caption
        captions = split_alternatives(caption) if isinstance(caption, str) else ()
        return About(self._ids[index], captions)

    @cached_property
    def _index(self) -> dict[str, int]:
        return {name: index for index, name in enumerate(self._ids)}

    def find(self, name: str) -> int | None:
        """The index of the row of clip ``name``, or None."""
        return self._index.get(name)

    def read(self, index: int) -> Clip:
        """The clip of row ``index``; its captions are the alternatives of the row's."""
        row, sizes = _Row(*self._rows[index]), self._sizes
        where = f'{self.path}: row {index} (clip "{self._ids[index]}")'
        regions = as_count(row.region_count, "n", where)
        actions = as_count(row.action_count, "m", where)
        if regions == 0:
            raise DataError(f"{where}: {NO_REGIONS}")
        clip = Clip(
            id=self._ids[index],
            regions=as_matrix(row.regions, NAMES["regions"], where, regions, sizes.region),
            boxes=as_matrix(row.boxes, "boxes", where, regions, 4),
            image_h=as_count(row.image_h, "image height", where),
            image_w=as_count(row.image_w, "image width", where),
            actions=as_matrix(row.actions, NAMES["actions"], where, actions, sizes.action),
            action_classes=as_classes(row.action_classes, actions, NAMES["action_classes"], where),
            captions=split_alternatives(as_caption(row.caption, where)),
            distributions=as_matrix(
                *(row.distributions, NAMES["distributions"], where),
                *(regions, sizes.region_classes),
            ),
        )
        check_clip(clip, self._allowed, where, NAMES)
        return clip


def write_rows(path: Path, clips: Iterable[Clip], count: int) -> None:
    """Writes ``count`` clips as a HowTo100M ``.npy``, whole or not at all.

    The format holds all rows in memory. Class distributions become dense; captions are joined by
    ``!``. Raises DataError for a clip without classes or captions.
    """
    rows = np.empty(count, dtype=object)
    for index, clip in enumerate(clips):
        rows[index] = tuple(_row_of(clip))  # a plain one: other readers do not know the class

    def write(partial: Path) -> None:
        with open(partial, "wb") as file:
            np.save(file, rows, allow_pickle=True)

    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, write)


def _row_of(clip: Clip) -> _Row:
    distributions = clip.dense_classes()
    if distributions is None or clip.action_classes is None or not clip.captions:
        raise DataError(f'clip "{clip.id}": a HowTo100M row needs classes and a caption')
    return _Row(
        regions=clip.regions,
        distributions=distributions,
        boxes=clip.boxes,
        region_count=len(clip.regions),
        image_h=clip.image_h,
        image_w=clip.image_w,
        id=clip.id,
        caption="!".join(text.replace("!", ".") for text in clip.captions),
        actions=clip.actions,
        action_classes=clip.action_classes,
        action_count=len(clip.actions),
    )
