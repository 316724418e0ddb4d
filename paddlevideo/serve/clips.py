"""What a page shows of clips: captions, folders, pictures, and the videos inside one folder."""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path, PurePath
from typing import TypeVar

from paddlevideo.extract.container import codec_name
from paddlevideo.prepare.origins import ClipNotes
from paddlevideo.report.clip_videos import ClipVideos, Origin, Shot
from paddlevideo.report.search_page import PLAYED
from paddlevideo.utils.errors import UserError
from paddlevideo.utils.isolated import Crash, Isolated

T = TypeVar("T")

#: Types by extension; players look at the content, so QuickTime counts as what it mostly holds.
TYPES = {
    **dict.fromkeys(PLAYED, "video/mp4"),
    ".webm": "video/webm",
    ".ogv": "video/ogg",
}
#: Names of codecs that browsers play, where the machine can decode them.
PLAYABLE = ("H.264", "HEVC", "VP8", "VP9", "AV1", "theora", "theo")
PICTURE = (480, 360, 75)  # width, height, quality of a JPEG: about 15 KB
PICTURES_KEPT = 2000
#: Of reading one video, which may be damaged or on a slow disk.
SECONDS = 15.0
#: Errors that libraries raise for a damaged video; see also ClipPictures.
_ERRORS = (UserError, Crash, ImportError, OSError, ValueError, ArithmeticError, MemoryError)


@dataclass(frozen=True)
class About:
    """A clip for a page. ``path``: of its video, if that may be shown; ``silent``: why it is not
    played, "" if it is, or if there is none.
    """

    clip: str
    captions: tuple[str, ...] = ()
    video: str = ""
    span: tuple[float, float] | None = None
    path: Path | None = None
    silent: str = ""

    @property
    def plays(self) -> bool:
        """Whether browsers play its video."""
        return self.path is not None and not self.silent


class Clips:
    """Captions and videos of the clips of a feature file.

    Only files inside the folder ``videos`` are ever opened, also where a link or the feature file
    names others. Not for several threads at once, except for :meth:`picture`, which may have one of
    its own.
    """

    def __init__(self, features: Path, videos: Path | None) -> None:
        """Without ``videos`` there are no players. Raises DataError if it does not exist."""
        self.notes = ClipNotes(features)
        self._videos = None if videos is None else ClipVideos(videos)
        self._root = None if videos is None else os.path.realpath(videos)
        self._for_codecs, self._for_pictures = Isolated(SECONDS), Isolated(SECONDS)
        self._pictures: OrderedDict[str, bytes | None] = OrderedDict()
        self.about = lru_cache(4096)(self._about)

    def read_folder(self) -> None:
        """Reads the names of all files in the folder, which :meth:`about` would do first."""
        if self._videos is not None:
            self._videos.find(Origin(""))

    def close(self) -> None:
        """Ends the processes that read videos."""
        self._for_codecs.close()
        self._for_pictures.close()

    def shot(self, clip: str) -> Shot | None:
        """Returns the video of a clip by its real path, or None if there is none in the folder."""
        if self._videos is None:
            return None
        origin = self.notes.origin(clip)
        if not self._is_inside(origin.source):
            # Not a path of this machine, or not one to show: the same one below the folder.
            parts = PurePath(origin.source).parts
            origin = replace(
                origin, source=os.sep.join(parts[1:] if parts[:1] == ("/",) else parts)
            )
        shot = self._videos.find(origin)
        if shot is None or not self._is_inside(str(shot.path)):
            return None
        return Shot(Path(os.path.realpath(shot.path)), shot.span)

    def _is_inside(self, path: str) -> bool:
        """Returns whether a path, with links resolved, is a file in the folder."""
        assert self._root is not None
        real = os.path.realpath(path) if os.path.isabs(path) else ""
        return real.startswith(os.path.join(self._root, "")) and os.path.isfile(real)

    def _about(self, clip: str) -> About:
        origin, shot = self.notes.origin(clip), self.shot(clip)
        about = About(
            clip,
            tuple(self.notes.captions(clip)),
            origin.video or PurePath(origin.source).name,
            shot.span if shot else origin.span,
        )
        if shot is None:
            return about
        return replace(about, path=shot.path, silent=self._why_silent(shot))

    def _why_silent(self, shot: Shot) -> str:
        """Returns why browsers do not play a video, or ""."""
        if shot.is_picture:
            return "a picture"
        ending = shot.path.suffix.lower()
        if ending not in PLAYED:
            return f"browsers do not play {ending or 'such'} files"
        codec = _unless_damaged(lambda: self._for_codecs.call(codec_of, shot.path))
        if codec and not codec.startswith(PLAYABLE):
            return f"browsers do not play the codec {codec}"
        return ""

    def picture(self, clip: str, shot: Shot) -> bytes | None:
        """Returns a JPEG of the middle of a clip, or None if its video cannot be read."""
        if clip not in self._pictures:
            made = _unless_damaged(lambda: self._for_pictures.call(jpeg_of, shot))
            self._pictures[clip] = made
            if len(self._pictures) > PICTURES_KEPT:
                self._pictures.popitem(last=False)
        return self._pictures[clip]


def _unless_damaged(read: Callable[[], T]) -> T | None:
    """Returns ``read()``, or None if a video is damaged or OpenCV is missing."""
    try:
        return read()
    except _ERRORS:
        return None


def codec_of(path: Path) -> str:
    """Returns the name of a video's codec, "" if it is not known. Raises UserError or OSError."""
    from paddlevideo.files.paths import native_path
    from paddlevideo.utils.opencv import cv2

    with native_path(path) as name:
        reader = cv2.VideoCapture(name)
        fourcc = reader.get(cv2.CAP_PROP_FOURCC)
        reader.release()
    return codec_name(fourcc)


def jpeg_of(shot: Shot) -> bytes:
    """Returns a JPEG of the middle of a clip. Raises UserError or OSError."""
    from paddlevideo.report.thumbnails import small_jpeg

    return small_jpeg(shot, *PICTURE)
