"""Finds the video of a clip: the file its features came from, or one in a folder."""

from __future__ import annotations

import os
import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePath

from paddlevideo.files.filetype import VIDEO_ENDINGS
from paddlevideo.files.paths import as_text
from paddlevideo.files.walk import walk
from paddlevideo.utils.errors import DataError

Span = tuple[float, float]  # start and end in seconds
PICTURES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff")
#: ``<video>_<start>_<end>``, the name of a segment of a video.
_PIECE = re.compile(r"(?P<video>.+)_(?P<start>\d+(?:\.\d+)?)_(?P<end>\d+(?:\.\d+)?)")


@dataclass(frozen=True)
class Origin:
    """What is known about the source of a clip; see :class:`paddlevideo.loader.store.Clip`."""

    clip: str
    video: str = ""
    source: str = ""
    span: Span | None = None


@dataclass(frozen=True)
class Shot:
    """A video file, or a picture, and the span of a clip in seconds; None: all of it."""

    path: Path
    span: Span | None = None

    @property
    def is_picture(self) -> bool:
        """Whether the file is a picture."""
        return self.path.suffix.lower() in PICTURES


class ClipVideos:
    """Finds the videos of clips, by their records or in a folder, which is read once."""

    def __init__(self, folder: Path | None = None) -> None:
        """Raises DataError if ``folder`` does not exist."""
        check_videos(folder)
        self.folder = folder

    @cached_property
    def _files(self) -> _Folder | None:
        return None if self.folder is None else _Folder(self.folder)

    def find(self, origin: Origin) -> Shot | None:
        """Returns the clip's file and span, or None if no file is found.

        Tries the file that the record names, then the same path below the folder, then a file
        named after the clip, and last one named after the clip's video.
        """
        if origin.source and os.path.isabs(origin.source) and os.path.isfile(origin.source):
            return Shot(Path(origin.source), origin.span)
        files = self._files
        if files is None:
            return None
        parts = PurePath(origin.source).parts
        for first in range(len(parts)):
            if path := files.find("/".join(parts[first:])):
                return Shot(path, origin.span)
        if path := files.find(origin.clip):
            is_whole = PurePath(origin.source).stem == path.stem
            return Shot(path, origin.span if is_whole else None)
        for video, span in _pieces(origin):
            if path := files.find(video):
                return Shot(path, span)
        return None


def check_videos(folder: Path | None) -> None:
    """Raises DataError if a folder of videos is given but does not exist."""
    if folder is not None and not folder.is_dir():
        raise DataError(f"{folder}: no such folder of videos")


def _pieces(origin: Origin) -> Iterator[tuple[str, Span]]:
    """Yields videos of which the clip may be a segment, and its span there."""
    named = _PIECE.fullmatch(origin.clip)
    span = (float(named["start"]), float(named["end"])) if named else None
    if origin.video and (known := origin.span or span):
        yield origin.video, known
    if named and span and span[0] <= span[1]:
        yield named["video"], span


class _Folder:
    """Files by path and name, with and without extension."""

    def __init__(self, folder: Path) -> None:
        self._paths: dict[str, list[Path]] = {}
        # Sorted by preference, so every list starts with the best file.
        for path in sorted(walk(folder, os.path.isfile).files, key=_preference):
            relative = path.relative_to(folder).as_posix()
            for name in {relative, relative.removesuffix(path.suffix), path.name, path.stem}:
                self._paths.setdefault(_key(name), []).append(path)

    def find(self, name: str) -> Path | None:
        """Returns the file called ``name``; None if there is none, or several equally good ones."""
        paths = self._paths.get(_key(name), [])
        if not paths:
            return None
        rank = _preference(paths[0])[:2]
        folders = {path.parent for path in paths if _preference(path)[:2] == rank}
        return paths[0] if len(folders) == 1 else None


def _preference(path: Path) -> tuple[int, int, int, str]:
    """Returns a sort key: videos, pictures, other files; then short paths; then extension."""
    ending = path.suffix.lower()
    for kind, endings in enumerate((VIDEO_ENDINGS, PICTURES)):
        if ending in endings:
            return kind, len(path.parts), endings.index(ending), str(path)
    return 2, len(path.parts), 0, str(path)


def _key(name: str) -> str:
    """Returns a key that ignores how accents, or bytes that are not UTF-8, are encoded."""
    try:
        name = as_text(name)
    except UnicodeEncodeError:  # half of a surrogate pair, which no file name has
        return name
    return unicodedata.normalize("NFC", name)
