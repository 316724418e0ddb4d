"""One video: its frames to the records of its clips, or the reason why not."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import NamedTuple

from paddlevideo.extract.decode import Replan, VideoFault, VideoFile
from paddlevideo.extract.extractor import Extractor, Gathered
from paddlevideo.extract.plan import ClipPlan, pieces_of, plan
from paddlevideo.extract.videos import Video
from paddlevideo.extract.work import FAILED, Status
from paddlevideo.files.fingerprint import content_of, digest_of
from paddlevideo.files.paths import as_text
from paddlevideo.loader.store import Clip
from paddlevideo.loader.store.records import encode
from paddlevideo.utils.errors import UserError
from paddlevideo.utils.opencv import cv2

#: What a bad video makes of the libraries that read it; anything else is our own mistake.
_FAULTS = (UserError, cv2.error, OSError, ValueError, ArithmeticError, MemoryError)


def fingerprint_of(video: Video, settings: str) -> str:
    """Changes with the settings' fingerprint, the file and what is asked for of it."""
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
    """How videos are done; ``dtype`` of the features in their records."""

    extractor: Extractor
    dtype: str

    def run(self, video: Video) -> tuple[Status, list[bytes]]:
        """The status of a video, and the records of its clips. Never fails because of a video."""
        settings = self.extractor.fingerprint(self.dtype)
        status = Status(video.id, as_text(str(video.path)))
        status.fingerprint = fingerprint_of(video, settings)
        started = time.perf_counter()
        records: list[bytes] = []
        try:
            records = self._extract(video, status)
        except _FAULTS as fault:
            status.status, status.clips = FAILED, []
            status.cause = getattr(fault, "cause", "features")
            status.reason = " ".join(str(fault).split()) or type(fault).__name__
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
        """All clips in one pass: a clip's frames are held from its first to its last."""
        settings = self.extractor.settings
        pieces = pieces_of(video.rows, file.timeline, settings.clips.seconds)
        there = {row for piece in pieces for row in (piece.row, *piece.shared)}
        status.outside = [row.clip for n, row in enumerate(video.rows) if n not in there]
        if not pieces:
            raise VideoFault(
                "clips after its end",
                f"{file.name}: lasts {file.timeline.seconds:.2f} s, its clips begin later",
            )
        plans = [plan(piece, file.timeline, settings) for piece in pieces]
        gathering = _Gathering(self.extractor, plans)
        done: dict[int, Done] = {}
        for number, frame in file.take(gathering.wanted):
            for place, gathered in gathering.add(number, frame):
                clip, is_empty = self.extractor.clip(plans[place], gathered, video.name)
                done[place] = Done(plans[place], clip, is_empty)
        return [done[place] for place in range(len(plans))]


class _Gathering:
    """Hands frames to the clips that need them."""

    def __init__(self, extractor: Extractor, plans: list[ClipPlan]) -> None:
        self.extractor = extractor
        self.needs = [extractor.frames_of(each) for each in plans]
        ends = [max(regions | actions) for regions, actions in self.needs]
        self.starting: dict[int, list[int]] = {}
        self.ending: dict[int, list[int]] = {}
        for place, (regions, actions) in enumerate(self.needs):
            self.starting.setdefault(min(regions | actions), []).append(place)
            self.ending.setdefault(ends[place], []).append(place)
        self.wanted = sorted(set().union(*(each for need in self.needs for each in need)))
        self.open: dict[int, Gathered] = {}

    def add(self, number: int, frame: object) -> list[tuple[int, Gathered]]:
        """Keeps a frame where it is needed; returns the clips that are complete with it."""
        for place in self.starting.get(number, ()):
            self.open[place] = Gathered()
        reduced = None
        for place, gathered in self.open.items():
            regions, actions = self.needs[place]
            if number in regions:
                gathered.regions[number] = frame  # type: ignore[assignment]
            if number in actions:
                if reduced is None:
                    reduced = self.extractor.motion.reduce(frame)  # type: ignore[arg-type]
                gathered.actions[number] = reduced
        return [(place, self.open.pop(place)) for place in self.ending.get(number, ())]
