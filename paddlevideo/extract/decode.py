"""Frames of a video by number, in one pass; only those that are wanted become pictures."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from paddlevideo.extract.opencv import cv2
from paddlevideo.utils.errors import DataError

#: Of the frames that a file announces, so many must be there. Some are never shown: a video that
#: was cut without encoding it anew still holds those before its first key frame.
LEAST = 0.5
#: Frames a second where a file does not say, or says what cannot be.
USUAL_RATE, FASTEST = 25.0, 1000.0


class VideoFault(DataError):
    """A video that cannot be used; ``cause`` is a few words to count it under."""

    def __init__(self, cause: str, reason: str) -> None:
        super().__init__(reason)
        self.cause = cause


class VideoFile:
    """A video that opens. Counts the frames it went through and the seconds that took.

    Raises VideoFault where it is missing, empty, or no video that OpenCV can read.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.frames, self.seconds = 0, 0.0
        _check_file(path)
        capture = self._open()
        self.rate = _plausible_rate(capture.get(cv2.CAP_PROP_FPS))
        announced = capture.get(cv2.CAP_PROP_FRAME_COUNT)
        capture.release()
        usable = math.isfinite(announced) and 0 < announced < 1e9
        self.count = int(announced) if usable else self._count()
        #: Frames that the file says it has.
        self.announced = self.count
        if not self.count:
            raise VideoFault("no frames", f"{path}: holds no frame that OpenCV can read")

    def take(self, wanted: Sequence[int]) -> Iterator[tuple[int, np.ndarray]]:
        """Yields each of the frame numbers ``wanted``, sorted, with its (h, w, 3) uint8 BGR.

        Raises VideoFault where the file ends before; ``count`` is then what it really holds.
        """
        capture = self._open()
        try:
            place = -1
            for number in wanted:
                while place < number:
                    if not self._timed(capture.grab):
                        self._ended(place + 1)
                    place += 1
                    self.frames += 1
                read, frame = self._timed(capture.retrieve)
                if not read or frame is None:
                    self._ended(place)
                yield number, _in_colour(frame)
        finally:
            capture.release()

    def _open(self) -> cv2.VideoCapture:
        try:
            capture = self._timed(lambda: cv2.VideoCapture(str(self.path)))
        except cv2.error as fault:
            raise VideoFault("cannot be opened", f"{self.path}: {fault}") from None
        if not capture.isOpened():
            raise VideoFault("cannot be opened", f"{self.path}: OpenCV cannot open it as a video")
        return capture

    def _timed(self, action):  # type: ignore[no-untyped-def]
        started = time.perf_counter()
        try:
            return action()
        finally:
            self.seconds += time.perf_counter() - started

    def _count(self) -> int:
        """Goes through the file: its head does not say how many frames there are."""
        capture = self._open()
        count = 0
        while self._timed(capture.grab):
            count += 1
        capture.release()
        self.frames += count
        return count

    def _ended(self, found: int) -> None:
        self.count = found
        if not found:
            raise VideoFault("no frames", f"{self.path}: holds no frame that OpenCV can read")
        if found < LEAST * self.announced:
            raise VideoFault(
                "cut short",
                f"{self.path}: ends after {found} of {self.announced} frames: copy it again",
            )
        raise Shorter


class Shorter(Exception):
    """The file has less frames than it announces: plan again with what it has."""


def _check_file(path: Path) -> None:
    try:
        size = path.stat().st_size
    except (OSError, ValueError) as fault:
        reason = getattr(fault, "strerror", None) or str(fault)
        raise VideoFault("missing", f"{path}: cannot be read ({reason})") from None
    if path.is_dir():
        raise VideoFault("cannot be opened", f"{path}: is a folder")
    if not size:
        raise VideoFault("empty file", f"{path}: has no bytes: copy it again")


def _plausible_rate(rate: float) -> float:
    return rate if math.isfinite(rate) and 0 < rate <= FASTEST else USUAL_RATE


def _in_colour(frame: np.ndarray) -> np.ndarray:
    """Grey videos as three equal channels."""
    if frame.ndim == 2 or frame.shape[2] == 1:
        return np.asarray(cv2.cvtColor(frame, cv2.COLOR_GRAY2BGR))
    return frame
