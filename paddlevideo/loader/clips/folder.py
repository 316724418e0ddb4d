"""A folder with a file for each clip: .npz, or a dictionary in an .npy file."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from paddlevideo import safe_pickle
from paddlevideo.files.npz import read_npz
from paddlevideo.files.walk import walk
from paddlevideo.loader.clips.check import as_clip, count_classes
from paddlevideo.loader.clips.clip import Clip, Sizes
from paddlevideo.loader.clips.records import NAMES as RECORD_NAMES
from paddlevideo.loader.clips.source import ListedClips, first_sizes
from paddlevideo.utils.errors import DataError

_NEEDED = ("regions", "boxes", "image_h", "image_w", "actions")
_CLASSES = ("region_classes", "action_classes")
_OUR_NAMES = {theirs: ours for ours, theirs in RECORD_NAMES.items()}


class ClipFolder(ListedClips):
    """The .npz and .npy files of a folder and its subfolders, in the order of their paths.

    An id is a file's path in the folder without the ending.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        walked = walk(self.path, lambda file: file.suffix.lower() in (".npz", ".npy"))
        self.files = walked.files
        paths = (file.relative_to(self.path).with_suffix("") for file in self.files)
        self._ids = [path.as_posix() for path in paths]
        #: Lines about the folder's other files.
        self.others = walked.left_out()
        self.left_out = [f"{self.path}: {line}" for line in self.others]

    def __len__(self) -> int:
        return len(self.files)

    def ids(self) -> list[str]:
        """Returns the ids of all files."""
        return self._ids

    def sizes(self) -> Sizes:
        """Returns the widths of the first file that can be read."""
        return first_sizes(self)

    def action_classes(self) -> int:
        """Returns the largest class of all files plus one; reads no other arrays."""
        return max(map(_count_classes, self.files), default=0)

    def read(self, index: int) -> Clip:
        """Returns the clip of file ``index``."""
        file = self.files[index]
        arrays, where = _read_arrays(file, (*_NEEDED, *_CLASSES)), str(file)
        absent = [key for key in _NEEDED if key not in arrays]
        if absent:
            raise DataError(f"{where}: lacks {', '.join(absent)}")
        return as_clip({**arrays, "id": self._ids[index]}, where, {})


def _count_classes(file: Path) -> int:
    try:
        return count_classes(_read_arrays(file, ("action_classes",)).values())
    except DataError:
        return 0  # reported when the clip is read


def _read_arrays(file: Path, names: Sequence[str]) -> dict[str, np.ndarray]:
    if file.suffix.lower() == ".npz":
        return read_npz(file, names)
    if not file.is_file():
        raise DataError(f"{file}: is not a regular file")
    array = safe_pickle.load_npy(file)
    content = array[()] if array.dtype == object and array.ndim == 0 else None
    if not isinstance(content, dict):
        raise DataError(
            f"{file}: holds one array. A clip's .npy is a dictionary of arrays, written by np.save"
        )
    # Under these names, or those of PaddleVideo's records.
    named = {_OUR_NAMES.get(key, key): value for key, value in content.items()}
    return {name: np.asarray(named[name]) for name in names if name in named}
