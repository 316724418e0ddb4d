"""Makes pictures of clips on demand, and counts those that cannot be made."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Concatenate, ParamSpec, TypeVar

from paddlevideo.files.paths import as_text
from paddlevideo.report.clip_videos import ClipVideos, Origin, Shot
from paddlevideo.utils.errors import UserError
from paddlevideo.utils.isolated import Crash, Isolated

P = ParamSpec("P")
T = TypeVar("T")
#: Errors that libraries raise for a damaged video.
_ERRORS = (OSError, ValueError, ArithmeticError, MemoryError)
REMARKED = 3  # unreadable videos to list


def shorten(text: str, longest: int = 300) -> str:
    """Returns the text, or its first ``longest`` characters and an ellipsis."""
    return text if len(text) <= longest else text[:longest] + "…"


class ClipPictures:
    """Finds and reads the videos of clips; missing or damaged ones are only counted."""

    def __init__(self, folder: Path | None, origin_of: Callable[[str], Origin] = Origin) -> None:
        """``folder``: videos named after the clips; None: only the videos of the clips' origins.

        Raises DataError if the folder does not exist, UserError if it needs OpenCV.
        """
        if folder is not None:
            import paddlevideo.report.thumbnails  # noqa: F401
        self.videos, self.origin_of = ClipVideos(folder), origin_of
        self._shots: dict[str, Shot | None] = {}
        self._unreadable: dict[str, str] = {}
        self._process = Isolated()
        #: Number of pictures made.
        self.count = 0

    def shot(self, name: str) -> Shot | None:
        """Returns the video of a clip, or None if it is not found."""
        if name not in self._shots:
            self._shots[name] = self.videos.find(self.origin_of(name))
        return self._shots[name]

    def read(
        self, name: str, make: Callable[Concatenate[Shot, P], T], *more: P.args, **options: P.kwargs
    ) -> T | None:
        """Returns ``make(shot, ...)`` for the clip's video, or None if that is missing or damaged.

        ``make``, a function at the top level of a module, is called in another process.
        """
        shot = self.shot(name)
        if shot is None or name in self._unreadable:
            return None
        try:
            made = self._process.call(make, shot, *more, **options)
        except (UserError, *_ERRORS) as error:  # the video is damaged, or OpenCV is missing
            self._unreadable[name] = str(error) or type(error).__name__
        except Crash:
            self._unreadable[name] = f"{as_text(str(shot.path))}: crashes its decoder"
        else:
            self.count += 1
            return made
        return None

    def unreadable(self) -> list[str]:
        """Returns a line about damaged videos, if there are any."""
        reasons = list(self._unreadable.values())
        if not reasons:
            return []
        first = "; ".join(reasons[:REMARKED]) + ("; ..." if len(reasons) > REMARKED else "")
        return [f"{len(reasons)} of {len(self._shots)} clips have no picture: {first}"]

    def remarks(self) -> list[str]:
        """Returns a line per reason why clips lack a picture, with their number."""
        remarks = self.unreadable()
        folder = self.videos.folder
        absent = [name for name, shot in self._shots.items() if shot is None]
        if folder is not None and absent:
            remarks.append(
                f"{len(absent)} of {len(self._shots)} clips: no file in {folder} is named after "
                f'them or their videos, such as "{shorten(absent[0], 60)}.mp4"'
            )
        return remarks
