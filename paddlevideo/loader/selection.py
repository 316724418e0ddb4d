"""Which clips of a file take part: a list of videos or clips to take, or to leave out."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

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
    clips: Sequence[str],
    only: str | Path | None = None,
    exclude: str | Path | None = None,
    source: str = "",
) -> list[int]:
    """Places of the clips that the file ``only`` names and the file ``exclude`` does not.

    A list names clips, or videos: the clip ``abc_07`` is a part of the video ``abc``. Without
    lists all clips are kept. ``source`` is the clips' file, for messages. Raises DataError if a
    list names none of the clips, or if none is left.
    """
    kept = list(range(len(clips)))
    for path, wanted in ((only, True), (exclude, False)):
        if path:
            names = read_list(path)
            listed = [clip in names or clip.rpartition("_")[0] in names for clip in clips]
            if not any(listed):
                raise DataError(
                    f"{path}: names none of the clips of {source}, such as "
                    f'"{clips[0]}". Write the ids of clips, or of videos without "_NUMBER"'
                )
            kept = [place for place in kept if listed[place] == wanted]
    if not kept:
        raise DataError(f"{source}: only={only} and exclude={exclude} leave no clip")
    return kept
