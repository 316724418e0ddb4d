"""One video: its frames to the records of its clips, or the reason for a failure."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from paddlevideo.extract.decode import Replan, VideoFault, VideoFile
from paddlevideo.extract.extractor import ClipFrames, Extractor
from paddlevideo.extract.plan import ClipPlan, pieces_of, plan
from paddlevideo.extract.videos import Video
from paddlevideo.extract.work import FAILED, Status
from paddlevideo.files.fingerprint import content_of, digest_of
from paddlevideo.files.paths import as_text
from paddlevideo.loader.store import Clip
from paddlevideo.loader.store.records import encode
from paddlevideo.utils.errors import UserError
from paddlevideo.utils.opencv import cv2

#: What a bad video makes libraries raise; anything else is a bug.
_VIDEO_ERRORS = (UserError, cv2.error, OSError, ValueError, ArithmeticError, MemoryError)


def fingerprint_of(video: Video, settings: str) -> str:
    """Returns what changes with the settings' fingerprint, the file and its requested clips."""
    try:
        file = content_of(video.path) if video.path.is_file() else ""
    except (OSError, ValueError):
        file = ""
    rows = [(row.clip, row.start, row.end) for row in video.rows]
    return digest_of([settings, file, video.name, rows])


class Done(NamedTuple):
    """A clip that is complete."""

    plan: ClipPlan
    clip: Clip
    is_empty: bool


@dataclass(frozen=True)
class Job:
    """Extracts videos; ``dtype``: of the features in their records."""

    extractor: Extractor
    dtype: str

    def run(self, video: Video) -> tuple[Status, list[bytes]]:
        """Returns the status of a video and the records of its clips, also of a bad one."""
        settings = self.extractor.fingerprint(self.dtype)
        status = Status(video.id, as_text(str(video.path)))
        status.fingerprint = fingerprint_of(video, settings)
        started = time.perf_counter()
        records: list[bytes] = []
        try:
            records = self._extract(video, status)
        except _VIDEO_ERRORS as error:
            status.status, status.clips = FAILED, []
            status.cause = getattr(error, "cause", "features")
            status.reason = " ".join(str(error).split()) or type(error).__name__
        status.seconds = round(time.perf_counter() - started, 4)
        return status, records

    def _extract(self, video: Video, status: Status) -> list[bytes]:
        file = VideoFile(video.path)
        try:
            while True:
                try:
                    done = self._clips(video, file, status)
                    break
                except Replan:
                    continue
        finally:
            status.frames, status.frame_rate = file.frames, file.rate
            status.length, status.announced = file.count, file.announced
            status.notes = file.notes
            status.decode_seconds = round(file.seconds, 4)
        first = done[0].clip
        assert first.region_classes is not None
        status.sizes = (first.regions.shape[1], first.actions.shape[1], first.region_classes.width)
        pieces = [each.plan.piece for each in done]
        status.clips = [(piece.id, piece.row, piece.start, piece.end) for piece in pieces]
        status.shared = [(piece.id, row) for piece in pieces for row in piece.shared]
        status.without_regions = [each.clip.id for each in done if each.is_empty]
        return [encode(each.clip, self.dtype) for each in done]

    def _clips(self, video: Video, file: VideoFile, status: Status) -> list[Done]:
        """Returns all clips, in one pass: a clip's frames are held from its first to its last."""
        settings = self.extractor.settings
        pieces = pieces_of(video.rows, file.timeline, settings.clips.seconds)
        covered = {row for piece in pieces for row in (piece.row, *piece.shared)}
        status.outside = [row.clip for n, row in enumerate(video.rows) if n not in covered]
        if not pieces:
            raise VideoFault(
                "clips after its end",
                f"{file.name}: lasts {file.timeline.seconds:.2f} s, its clips begin later",
            )
        plans = [plan(piece, file.timeline, settings) for piece in pieces]
        buffer = _FrameBuffer(self.extractor, plans)
        done: dict[int, Done] = {}
        for index, frame in file.read(buffer.indices):
            for position, frames in buffer.add(index, frame):
                clip, is_empty = self.extractor.clip(plans[position], frames, video.name)
                done[position] = Done(plans[position], clip, is_empty)
        return [done[position] for position in range(len(plans))]


class _FrameBuffer:
    """Hands frames to the clips that need them."""

    def __init__(self, extractor: Extractor, plans: list[ClipPlan]) -> None:
        self.extractor = extractor
        self.needs = [extractor.frames_of(each) for each in plans]
        self.starting: dict[int, list[int]] = {}
        self.ending: dict[int, list[int]] = {}
        for position, (regions, actions) in enumerate(self.needs):
            self.starting.setdefault(min(regions | actions), []).append(position)
            self.ending.setdefault(max(regions | actions), []).append(position)
        #: Indices of all frames that are needed.
        self.indices = sorted(set().union(*(each for need in self.needs for each in need)))
        self.open: dict[int, ClipFrames] = {}

    def add(self, index: int, frame: np.ndarray) -> list[tuple[int, ClipFrames]]:
        """Keeps a frame where it is needed; returns position and frames of completed clips."""
        for position in self.starting.get(index, ()):
            self.open[position] = ClipFrames()
        reduced = None
        for position, frames in self.open.items():
            regions, actions = self.needs[position]
            if index in regions:
                frames.regions[index] = frame
            if index in actions:
                if reduced is None:
                    reduced = self.extractor.motion.reduce(frame)
                frames.actions[index] = reduced
        return [(position, self.open.pop(position)) for position in self.ending.get(index, ())]
