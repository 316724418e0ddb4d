"""PaddleVideo's HowTo100M rows: a ``.npy`` file of 11-tuples, read without running code."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from paddlevideo import safe_pickle
from paddlevideo.files.whole import write_whole
from paddlevideo.loader.clips.check import as_caption, as_clip, count_classes
from paddlevideo.loader.clips.clip import About, Clip, Sizes, split_alternatives
from paddlevideo.loader.clips.source import ListedClips
from paddlevideo.utils.errors import DataError
from paddlevideo.utils.printable import some

#: The entries of a row in order, and their names in messages.
_FIELDS = (
    *("regions", "region_classes", "boxes", "n", "image_h", "image_w", "id", "caption"),
    *("actions", "action_classes", "m"),
)
_NAMES = {
    "regions": "region features",
    "region_classes": "class distribution",
    "image_h": "image height",
    "image_w": "image width",
    "actions": "action features",
    "action_classes": "action classes",
}


class RowFile(ListedClips):
    """The rows of a HowTo100M ``.npy`` file.

    The file is memory-mapped: arrays are read when they are used. Lengths of rows and clip ids are
    checked when the file is opened, the contents of a row when it is read.
    """

    has_captions = True

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = str(path)
        self._rows = self._open()
        self._ids = [str(row[_FIELDS.index("id")]) for row in self._rows]
        repeated = [name for name, count in Counter(self._ids).items() if count > 1]
        if repeated:
            raise DataError(
                f"{self.path}: {len(repeated)} clip ids occur in several rows: {some(repeated)}. "
                "Keep one row for each clip"
            )
        # The first row sets the widths that all others must have.
        region, classes, action = map(self._width, ("regions", "region_classes", "actions"))
        self._sizes = Sizes(region, action, classes)

    def _open(self) -> list[Any]:
        array = safe_pickle.load_npy(self.path)
        if array.dtype != object or array.ndim not in (1, 2):
            raise DataError(f"{self.path}: not an object array of HowTo100M rows")
        rows, wanted = list(array), len(_FIELDS)
        for index, row in enumerate(rows):
            length = len(row) if isinstance(row, (tuple, list, np.ndarray)) else 0
            if length != wanted:
                raise DataError(f"{self.path}: row {index} has {length} entries; expected {wanted}")
        if not rows:
            raise DataError(f"{self.path}: holds no rows")
        return rows

    def _width(self, name: str) -> int:
        array = _fields(self._rows[0])[name]
        if not isinstance(array, np.ndarray) or array.ndim != 2:
            entry = _FIELDS.index(name)
            raise DataError(f"{self.path}: row 0: entry {entry} is not a two-dimensional array")
        return array.shape[1]

    def __len__(self) -> int:
        return len(self._rows)

    def ids(self) -> list[str]:
        """Returns the ids of all rows."""
        return self._ids

    def sizes(self) -> Sizes:
        """Returns the widths of the first row; the number of action classes is not in the file."""
        return self._sizes

    def action_classes(self) -> int:
        """Returns the largest class of all rows plus one; reading a row reports wrong ones."""
        return count_classes(row["action_classes"] for row in map(_fields, self._rows))

    def about(self, index: int) -> About:
        """Returns the id and the alternatives of the caption that are not blank."""
        caption = _fields(self._rows[index])["caption"]
        captions = split_alternatives(caption) if isinstance(caption, str) else ()
        return About(self._ids[index], captions)

    def read(self, index: int) -> Clip:
        """Returns the clip of row ``index``; its captions are the alternatives of the row's."""
        row = {**_fields(self._rows[index]), "id": self._ids[index]}
        where = f'{self.path}: row {index} (clip "{row["id"]}")'
        clip = as_clip(row, where, _NAMES, self._sizes, (row["n"], row["m"]))
        clip.captions = split_alternatives(as_caption(row["caption"], where))
        return clip


def _fields(row: Any) -> dict[str, Any]:
    return dict(zip(_FIELDS, row, strict=True))


def write_rows(path: Path, clips: Iterable[Clip], count: int) -> None:
    """Writes ``count`` clips as a HowTo100M ``.npy``, whole or not at all.

    The format requires all rows in memory. Class distributions become dense; captions are joined by
    ``!``. Raises DataError for a clip without classes or captions.
    """
    rows = np.empty(count, dtype=object)
    for index, clip in enumerate(clips):
        rows[index] = _row_of(clip)

    def write(partial: Path) -> None:
        with open(partial, "wb") as file:
            np.save(file, rows, allow_pickle=True)

    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, write)


def _row_of(clip: Clip) -> tuple:
    classes = clip.dense_classes()
    if classes is None or clip.action_classes is None or not clip.captions:
        raise DataError(f'clip "{clip.id}": a HowTo100M row needs classes and a caption')
    row = {
        **vars(clip),
        "region_classes": classes,
        "n": len(clip.regions),
        "m": len(clip.actions),
        "caption": "!".join(text.replace("!", ".") for text in clip.captions),
    }
    return tuple(row[name] for name in _FIELDS)
