"""What Ray starts on a node, once for each process: an actor with a child that decodes."""

from __future__ import annotations

import os
from typing import Any

import paddlevideo
from paddlevideo.extract.cluster.messages import Answer, Expected
from paddlevideo.extract.schema import Settings
from paddlevideo.extract.videos import Video
from paddlevideo.extract.work import ExtractOptions
from paddlevideo.extract.worker import Crash, Ready, Worker
from paddlevideo.utils.errors import UserError


class Slot:
    """One process: its child does one video at a time, and is replaced where it crashes."""

    def __init__(self, options: ExtractOptions, settings: Settings) -> None:
        self._worker = Worker(options, settings)
        self._ready: Ready | None = None

    def complaint(self, expected: Expected) -> str:
        """Loads the networks; returns in what this node is not as expected, empty if it is."""
        if paddlevideo.__version__ != expected.version:
            return (
                f"has paddlevideo {paddlevideo.__version__}, this machine {expected.version}: "
                "install the same version on every machine"
            )
        try:
            ready = self._load()
        except Crash as crash:
            return f"the networks, tried on a blank frame, {crash}"
        except (UserError, OSError) as error:
            return str(error)
        if ready.fingerprint != expected.ready.fingerprint:
            keys = sorted(differing(ready.description, expected.ready.description))
            return (
                f"would give other features ({', '.join(keys)} differ): copy the models of this "
                "machine, or install the same version of paddlevideo"
            )
        for video, fingerprint in expected.samples:
            if expected.fingerprint(video) != fingerprint:
                state = "is another file" if os.path.exists(video.path) else "is missing"
                return (
                    f"{video.path} {state} there: every machine needs the videos at the paths of "
                    "this one"
                )
        return ""

    def _load(self) -> Ready:
        if self._ready is None or self._worker.process is None:
            self._ready = self._worker.start([])
        return self._ready

    def extract(self, video: Video) -> Answer:
        """Returns the status of a video and the records of its clips, or how its decoder ended."""
        try:
            self._load()
            self._worker.send(("records", video))
            answer: Answer = self._worker.receive()
        except Crash as crash:
            return crash
        return answer


def differing(one: Any, other: Any, path: str = "") -> list[str]:
    """Returns the dotted keys in which two nested maps differ, apart from paths of models."""
    if not (isinstance(one, dict) and isinstance(other, dict)):
        return [] if one == other or path.endswith(".model") else [path.lstrip(".")]
    return [
        key
        for name in one.keys() | other.keys()
        for key in differing(one.get(name), other.get(name), f"{path}.{name}")
    ]
