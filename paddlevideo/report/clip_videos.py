"""Finds the video of a clip: the file that its features came from, or one in a folder of videos."""

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
#: ``<video>_<start>_<end>``, as a piece of a video is called.
_PIECE = re.compile(r"(?P<video>.+)_(?P<start>\d+(?:\.\d+)?)_(?P<end>\d+(?:\.\d+)?)")


@dataclass(frozen=True)
class Origin:
    """What is known of where a clip comes from; see :class:`paddlevideo.loader.store.Clip`."""

    clip: str
    video: str = ""
    source: str = ""
    span: Span | None = None


@dataclass(frozen=True)
class Shot:
    """A video file, or a picture, and the seconds of it that a clip is; None for all of it."""

    path: Path
    span: Span | None = None

    @property
    def is_picture(self) -> bool:
        """Whether the file is a picture."""
        return self.path.suffix.lower() in PICTURES


class ClipVideos:
    """The videos of clips, by what their records say and in a folder, which is read once."""

    def __init__(self, folder: Path | None = None) -> None:
        """Raises DataError where ``folder`` is missing."""
        check_videos(folder)
        self.folder = folder

    @cached_property
    def _files(self) -> _Folder | None:
        return None if self.folder is None else _Folder(self.folder)

    def find(self, origin: Origin) -> Shot | None:
        """The clip's file and its seconds there, or None where no file is known.

        The file that the record names comes first, then that of the same path below the folder,
        then one that is called as the clip, and last one that is called as the clip's video.
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
    """Raises DataError where a folder of videos is wanted and missing."""
    if folder is not None and not folder.is_dir():
        raise DataError(f"{folder}: there is no such folder of videos")


def _pieces(origin: Origin) -> Iterator[tuple[str, Span]]:
    """Videos that the clip may be a piece of, and its seconds there."""
    named = _PIECE.fullmatch(origin.clip)
    span = (float(named["start"]), float(named["end"])) if named else None
    if origin.video and (known := origin.span or span):
        yield origin.video, known
    if named and span and span[0] <= span[1]:
        yield named["video"], span


class _Folder:
    """Files by their paths and names, with and without endings."""

    def __init__(self, folder: Path) -> None:
        self._paths: dict[str, list[Path]] = {}
        # Lists of files that were sorted by preference have the best first.
        for path in sorted(walk(folder, os.path.isfile).files, key=_preference):
            relative = path.relative_to(folder).as_posix()
            for name in {relative, relative.removesuffix(path.suffix), path.name, path.stem}:
                self._paths.setdefault(_key(name), []).append(path)

    def find(self, name: str) -> Path | None:
        """The file called ``name``; None if there is none, or if several are equally good."""
        paths = self._paths.get(_key(name), [])
        if not paths:
            return None
        rank = _preference(paths[0])[:2]
        folders = {path.parent for path in paths if _preference(path)[:2] == rank}
        return paths[0] if len(folders) == 1 else None


def _preference(path: Path) -> tuple[int, int, int, str]:
    """Videos before pictures before other files, then short paths, then by ending."""
    ending = path.suffix.lower()
    for kind, endings in enumerate((VIDEO_ENDINGS, PICTURES)):
        if ending in endings:
            return kind, len(path.parts), endings.index(ending), str(path)
    return 2, len(path.parts), 0, str(path)


def _key(name: str) -> str:
    """Equal for names that differ in how accents, or bytes that are not UTF-8, are written."""
    try:
        name = as_text(name)
    except UnicodeEncodeError:  # half of a character, which no file name has
        return name
    return unicodedata.normalize("NFC", name)
