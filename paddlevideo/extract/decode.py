"""Frames of a video by index, in one pass; only the requested ones are converted to images."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from paddlevideo.extract import container
from paddlevideo.extract.timeline import Timeline
from paddlevideo.files.filetype import describe_file
from paddlevideo.files.paths import as_text, native_path
from paddlevideo.utils.errors import DataError
from paddlevideo.utils.opencv import cv2

#: Minimum share of a file's frames, or of the duration of one that is cut short, that must be
#: present. Some frames are never shown: a video that was cut without encoding it still holds those
#: before its first key frame.
MINIMUM = 0.5
#: Below this share of the announced frames the user is told.
SHORT = 0.95
#: Frames a second where a file does not say, or says what cannot be.
USUAL_RATE, FASTEST = 25.0, 1000.0
#: Calls in a row that fail at the end of a file; in its middle damaged packets make one fail each.
TRIES = 100
#: FFmpeg hands out coded packets as they are, without decoding them.
RAW = (cv2.CAP_FFMPEG, [cv2.CAP_PROP_FORMAT, -1])

GUESSED = "videos without usable time stamps: their frame rate is taken to be constant"
INCOMPLETE = "videos with fewer frames than their files announce"
PICTURE = "videos of one frame only: a picture"
JOINED = "several files in one, of which only the first is read: join them with ffmpeg -f concat"


class VideoFault(DataError):
    """A video that cannot be used; ``cause`` is a few words to count it under."""

    def __init__(self, cause: str, reason: str) -> None:
        super().__init__(reason)
        self.cause = cause


class Replan(Exception):
    """Decoding shows other frames or times than the file's packets: plan with the new timeline."""


class VideoFile:
    """A video that opens. Counts the frames it went through and the seconds that took.

    Its timeline comes from the time stamps of its packets, which are read without decoding them:
    about 1 % of the time of decoding. Counts and durations in heads of files are estimates.
    Raises VideoFault where it is missing, empty, cut short, or not a video that OpenCV can read.
    """

    def __init__(self, path: Path) -> None:
        self.path, self.name = path, as_text(str(path))
        self.frames, self.seconds = 0, 0.0
        self.notes: list[str] = []
        _check_file(path)
        times = self._scan()
        #: Frames that the file holds in coded form; not all can be decoded.
        self.packets = len(times)
        if not times:
            raise self._nothing_decodes()
        self._set_timeline(times)
        self._note(JOINED, container.is_joined(path))
        self._refuse_cut()

    @property
    def count(self) -> int:
        """The number of frames, as far as it is known."""
        return self.timeline.count

    @property
    def rate(self) -> float:
        """Frames a second."""
        return self.timeline.rate

    def read(
        self, indices: Sequence[int], check_times: bool = True
    ) -> Iterator[tuple[int, np.ndarray]]:
        """Yields each of the sorted frame ``indices`` with its frame, (h, w, 3) uint8 BGR.

        Raises Replan where decoding shows another timeline, which is then the file's, and
        VideoFault where too little can be decoded. ``check_times`` False is for indices that
        decoding has given before.
        """
        check_times &= not self.is_decoded and GUESSED not in self.notes
        capture = self._open()
        if capture is None:
            raise self._nothing_decodes()
        times: list[float] = []
        self._failed = 0
        try:
            for index in indices:
                while len(times) <= index:
                    if not self._grab(capture, times):
                        raise self._replan(times)
                    if check_times and self._is_other(times):
                        raise self._replan(times, capture)
                read, frame = self._timed(capture.retrieve)
                if not read or frame is None:
                    raise self._replan(times[:-1])
                yield index, _in_colour(frame)
        finally:
            capture.release()

    # ------------------------------------------------------------------------ the timeline

    def _scan(self) -> list[float]:
        """Returns the seconds at which frames begin, in coded order; reads headers as well."""
        capture = self._open(*RAW)
        self.is_decoded = False
        times = self._times(capture) if capture else []
        if not times:  # a build of OpenCV that cannot read packets: frames have to be decoded
            capture = self._open()
            if capture is None:
                raise self._cannot_open()
            times = self._times(capture)
            self.is_decoded, self.frames = True, len(times)
        return times

    def _times(self, capture: cv2.VideoCapture) -> list[float]:
        announced = capture.get(cv2.CAP_PROP_FRAME_COUNT)
        self.head_rate = capture.get(cv2.CAP_PROP_FPS)
        self.codec = capture.get(cv2.CAP_PROP_FOURCC)
        usable = math.isfinite(announced) and 0 < announced < 1e9
        #: Frames that the file says it has: often an estimate from its duration.
        self.announced = int(announced) if usable else 0
        times: list[float] = []
        failed = 0
        while failed < TRIES:
            if self._timed(capture.grab):
                times.append(capture.get(cv2.CAP_PROP_POS_MSEC) / 1000)
                failed = 0
            else:
                failed += 1
        capture.release()
        return times

    def _set_timeline(self, times: Sequence[float]) -> None:
        rates = [rate for rate in (self.head_rate, _mean_rate(times)) if _is_plausible(rate)]
        rates = rates or [USUAL_RATE]
        timelines = [Timeline.of(times, rate, self.is_decoded) for rate in rates]
        constant = [each for each in timelines if each is not None and each.ticks is None]
        guess = Timeline(len(times), rates[0])
        self.timeline = constant[0] if constant else timelines[0] or guess
        self._note(GUESSED, self.timeline is guess)
        self._note(PICTURE, len(times) == 1)
        self._note(INCOMPLETE, len(times) < SHORT * self._promised())

    def _promised(self) -> float:
        """Returns the number of frames that a complete file has at least."""
        exact = container.counts_exactly(self.path) or container.is_cut_short(self.path)
        return max(self.packets, self.announced if exact else 0)

    def _note(self, text: str, applies: bool) -> None:
        """Adds or removes a remark about the timeline."""
        self.notes = [note for note in self.notes if note != text] + [text] * applies

    def _replan(self, times: list[float], capture: cv2.VideoCapture | None = None) -> Exception:
        """Replaces the timeline by the times of the decoded frames, with all that follow."""
        while capture is not None and self._grab(capture, times):
            pass
        if not times:
            return self._nothing_decodes()
        if len(times) < MINIMUM * self.packets:
            return VideoFault(
                "damaged",
                f"{self.name}: only {len(times)} of its {self.packets} frames can be decoded: copy "
                f"it again. If that does not help: {container.conversion(self.name)}",
            )
        self.is_decoded = True
        self._set_timeline(times)
        return Replan()

    def _is_other(self, times: list[float]) -> bool:
        """Returns whether the last decoded frame is not the one that its index stands for."""
        return self._failed > 0 or self.timeline.differs(len(times) - 1, times[-1])

    def _grab(self, capture: cv2.VideoCapture, times: list[float]) -> bool:
        """Decodes the next frame and notes when it begins; returns False at the end.

        A damaged packet makes a call fail as the end does; the next call continues behind it.
        """
        while not self._timed(capture.grab):
            self._failed += 1
            if len(times) + self._failed >= self.packets:
                return False
        times.append(capture.get(cv2.CAP_PROP_POS_MSEC) / 1000)
        self.frames += 1
        return True

    # --------------------------------------------------------------------------- opening

    def _open(self, *how: Any) -> cv2.VideoCapture | None:
        """Returns the opened file; None where OpenCV cannot open it."""
        with native_path(self.path) as name:
            try:
                capture = self._timed(lambda: cv2.VideoCapture(name, *how))
            except (cv2.error, TypeError) as error:
                if how:  # an OpenCV without these parameters
                    return None
                raise VideoFault("cannot be opened", f"{self.name}: {error}") from None
        return capture if capture.isOpened() else None

    def _timed(self, action):  # type: ignore[no-untyped-def]
        started = time.perf_counter()
        try:
            return action()
        finally:
            self.seconds += time.perf_counter() - started

    # ---------------------------------------------------------------------------- errors

    def _refuse_cut(self) -> None:
        promised = self._promised()
        length = self.timeline.seconds * self.head_rate if _is_plausible(self.head_rate) else 0.0
        if promised > self.packets and max(length, self.packets) < MINIMUM * promised:
            raise VideoFault(
                "cut short",
                f"{self.name}: ends after {self.packets} of {int(promised)} frames: copy it again",
            )

    def _nothing_decodes(self) -> VideoFault:
        if not self.packets:
            return VideoFault(
                "no frames",
                f"{self.name}: holds no frame that OpenCV can read, though it begins like "
                f"{describe_file(self.path)}",
            )
        if container.is_encrypted(self.codec):
            return VideoFault("encrypted", f"{self.name}: is encrypted: get it without protection")
        codec = container.codec_name(self.codec) or "which its head does not name"
        return VideoFault(
            "codec that cannot be decoded",
            f"{self.name}: this OpenCV cannot decode its codec, {codec}. "
            f"{container.conversion(self.name)}",
        )

    def _cannot_open(self) -> VideoFault:
        if container.lacks_index(self.path):
            reason = "an MP4 without its index (moov): it was cut short, copy it again"
        elif container.looks_like_video(container.read_head(self.path)):
            reason = (
                f"begins like {describe_file(self.path)}, but OpenCV finds no video stream in it "
                "that it knows: copy it again, or look at it with ffprobe"
            )
        else:
            kind = describe_file(self.path)
            cause = "cannot be opened" if kind.endswith("unknown kind") else "not a video"
            return VideoFault(cause, f"{self.name}: is not a video: it is {kind}")
        return VideoFault("cannot be opened", f"{self.name}: OpenCV cannot open it: {reason}")


def _check_file(path: Path) -> None:
    name = as_text(str(path))
    try:
        size = path.stat().st_size
        if not path.is_file():
            raise VideoFault("cannot be opened", f"{name}: is {describe_file(path)}")
        open(path, "rb").close()
    except (OSError, ValueError) as error:
        if isinstance(error, VideoFault):
            raise
        reason = getattr(error, "strerror", None) or str(error)
        cause = "no permission" if isinstance(error, PermissionError) else "missing"
        raise VideoFault(cause, f"{name}: cannot be read ({reason})") from None
    if not size:
        raise VideoFault("empty file", f"{name}: has no bytes: copy it again")


def _mean_rate(times: Sequence[float]) -> float:
    span = max(times) - min(times)
    return (len(times) - 1) / span if span > 0 else 0.0


def _is_plausible(rate: float) -> bool:
    return math.isfinite(rate) and 0 < rate <= FASTEST


def _in_colour(frame: np.ndarray) -> np.ndarray:
    """Returns grey videos as three equal channels."""
    if frame.ndim == 2 or frame.shape[2] == 1:
        return np.asarray(cv2.cvtColor(frame, cv2.COLOR_GRAY2BGR))
    return frame
