"""What the processes of an extraction on a cluster send each other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import paddlevideo
from paddlevideo.extract.job import fingerprint_of
from paddlevideo.extract.schema import Settings
from paddlevideo.extract.videos import Video
from paddlevideo.extract.work import ExtractOptions, Status
from paddlevideo.extract.worker import Crash, Ready

#: A status and the records of its clips, or how the decoder crashed.
Answer = tuple[Status, list[bytes]] | Crash


@dataclass(frozen=True)
class Expected:
    """What every machine must have, as the one of the command has it."""

    ready: Ready
    #: A few videos with their fingerprints.
    samples: Sequence[tuple[Video, str]]
    version: str = paddlevideo.__version__

    def fingerprint(self, video: Video) -> str:
        """Returns the fingerprint of a video as it is on this machine."""
        return fingerprint_of(video, self.ready.fingerprint)


@dataclass(frozen=True)
class Task:
    """What the cluster is asked for."""

    options: ExtractOptions
    settings: Settings
    expected: Expected
    videos: Sequence[Video]


@dataclass
class Event:
    """Something to tell: lines to print, and the answer for a video."""

    lines: list[str]
    #: The video's index in the task; None without an answer.
    video: int | None = None
    answer: Answer | None = None
