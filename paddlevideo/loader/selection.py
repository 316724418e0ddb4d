"""Which clips of a file take part: a list of videos or clips to take, or to leave out."""

from __future__ import annotations

from array import array
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from paddlevideo.utils.errors import DataError


def read_list(path: str | Path) -> set[str]:
    """The names in a text file, one a line; empty lines and lines that begin with # are skipped.

    Raises DataError if the file cannot be read or names nothing.
    """
    try:
        lines = Path(path).read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as fault:
        raise DataError(f"{path}: cannot be read as UTF-8 text ({fault})") from None
    names = {line.strip() for line in lines if line.strip() and not line.startswith("#")}
    if not names:
        raise DataError(f"{path}: names no clips: write a clip's or a video's id on each line")
    return names


def select_clips(
    clips: Iterable[str],
    only: str | Path | None = None,
    exclude: str | Path | None = None,
    source: str = "",
) -> np.ndarray:
    """Places (n,) int64 of the clips that the file ``only`` names and ``exclude`` does not.

    A list names clips, or videos: the clip ``abc_07`` is a part of the video ``abc``. Without
    lists all clips are kept. ``source`` is the clips' file, for messages. Goes through ``clips``
    once and keeps none. Raises DataError if a list names none of the clips, or if none is left.
    """
    lists = {str(path): (read_list(path), path is only) for path in (only, exclude) if path}
    unused = set(lists)
    kept = array("q")
    first = None
    for place, clip in enumerate(clips):
        first = clip if first is None else first
        is_kept = True
        for path, (names, wanted) in lists.items():
            listed = clip in names or clip.rpartition("_")[0] in names
            is_kept &= listed == wanted
            if listed:
                unused.discard(path)
        if is_kept:
            kept.append(place)
    for path in unused:
        raise DataError(
            f"{path}: names none of the clips of {source}, such as "
            f'"{first}". Write the ids of clips, or of videos without "_NUMBER"'
        )
    if not kept:
        raise DataError(f"{source}: only={only} and exclude={exclude} leave no clip")
    return np.frombuffer(kept, np.int64)
