"""Pictures of clips, made when they are needed; those that cannot be made are counted."""

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
#: What libraries raise that read a damaged video.
_ERRORS = (OSError, ValueError, ArithmeticError, MemoryError)
REMARKED = 3  # unreadable videos that are named


def shorten(text: str, longest: int = 300) -> str:
    """The text, or its first ``longest`` characters and an ellipsis."""
    return text if len(text) <= longest else text[:longest] + "…"


class ClipPictures:
    """Finds the videos of clips and reads them; a missing or damaged one stops nothing."""

    def __init__(self, folder: Path | None, origin_of: Callable[[str], Origin] = Origin) -> None:
        """``folder`` holds videos named after the clips; None: those of the clips' origins alone.

        Raises DataError where there is no such folder, UserError for one without OpenCV.
        """
        if folder is not None:
            import paddlevideo.report.thumbnails  # noqa: F401
        self.videos, self.origin_of = ClipVideos(folder), origin_of
        self._shots: dict[str, Shot | None] = {}
        self._unreadable: dict[str, str] = {}
        self._process = Isolated()
        #: The number of pictures that were made.
        self.count = 0

    def shot(self, name: str) -> Shot | None:
        """The video of a clip, None where it is not found."""
        if name not in self._shots:
            self._shots[name] = self.videos.find(self.origin_of(name))
        return self._shots[name]

    def read(
        self, name: str, make: Callable[Concatenate[Shot, P], T], *more: P.args, **options: P.kwargs
    ) -> T | None:
        """Returns ``make(shot, ...)`` of the clip's video; None where that is missing or damaged.

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
        """A line about damaged videos; empty where there is none."""
        reasons = list(self._unreadable.values())
        if not reasons:
            return []
        first = "; ".join(reasons[:REMARKED]) + ("; ..." if len(reasons) > REMARKED else "")
        return [f"{len(reasons)} of {len(self._shots)} clips: no picture: {first}"]

    def remarks(self) -> list[str]:
        """What is missing, counted, a line each; empty where every clip has its picture."""
        remarks = self.unreadable()
        folder = self.videos.folder
        absent = [name for name, shot in self._shots.items() if shot is None]
        if folder is not None and absent:
            remarks.append(
                f"{len(absent)} of {len(self._shots)} clips: no file in {folder} is named after "
                f'them or their videos, such as "{shorten(absent[0], 60)}.mp4"'
            )
        return remarks
