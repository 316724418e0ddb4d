"""The folders of the videos of clips, as filters of a search."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from pathlib import PurePosixPath

import numpy as np

#: Folders to choose from on the page.
SHOWN = 500


class Folders:
    """The folders of V clips, relative to the one that contains all of them."""

    def __init__(self, sources: Sequence[str]) -> None:
        """``sources``: the path of each clip's video, "" where it is not known."""
        paths = [os.path.dirname(source) for source in sources]
        common = _common([path for path, source in zip(paths, sources, strict=True) if source])
        numbers: dict[str, int] = {}
        of_clip = [
            numbers.setdefault(_below(path, common) if source else "", len(numbers))
            for path, source in zip(paths, sources, strict=True)
        ]
        self._names, self._of_clip = list(numbers), np.array(of_clip, np.int32)

    def of(self, position: int) -> str:
        """Returns the folder of a clip, "" for the common one."""
        return self._names[self._of_clip[position]]

    def mask(self, folder: str) -> np.ndarray:
        """Returns which clips are in a folder or in one below it, bool (V,)."""
        inside = [name == folder or name.startswith(f"{folder}/") for name in self._names]
        return np.array(inside, bool)[self._of_clip]

    def counts(self) -> list[tuple[str, int]]:
        """Returns folders with their numbers of clips, by name, those of subfolders included.

        There are at most ``SHOWN``, the largest ones.
        """
        clips = np.bincount(self._of_clip, minlength=len(self._names)).tolist()
        counts: Counter[str] = Counter()
        for name, count in zip(self._names, clips, strict=True):
            path = PurePosixPath(name)
            for folder in (path, *path.parents) if name else ():
                if str(folder) not in {".", "/"}:
                    counts[str(folder)] += count
        return sorted(counts.most_common(SHOWN))


def _common(folders: Sequence[str]) -> str:
    """Returns the folder that contains all of ``folders``, "" if there is none."""
    try:
        return os.path.commonpath(set(folders))
    except ValueError:  # absolute and relative paths, or none
        return ""


def _below(folder: str, common: str) -> str:
    return folder[len(common) :].strip("/") if common else folder
