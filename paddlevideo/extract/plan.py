"""Chooses the frames of a video from which features are extracted."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from paddlevideo.extract.schema import ActionSettings, Settings
from paddlevideo.extract.timeline import HAIR, Timeline
from paddlevideo.extract.videos import Row, seconds_text

#: Seconds between a frame and the next one that it is compared with, for motion.
FOLLOWS = 0.15


@dataclass(frozen=True)
class Piece:
    """A clip: frames ``first`` to ``stop`` - 1 of its video. ``row``: the index of its row."""

    id: str
    row: int
    first: int
    stop: int
    #: Ticks of the video's timeline: where the clip begins, and how long it is.
    begin: float
    length: float
    #: Seconds; None for a whole video.
    start: float | None = None
    end: float | None = None
    #: Further rows that request the same clip.
    shared: tuple[int, ...] = ()


@dataclass(frozen=True)
class ClipPlan:
    """The frames of a clip from which features are extracted."""

    piece: Piece
    #: For regions, and the frame that follows each.
    regions: list[int]
    followers: list[int]
    #: For actions: a list of frames for each vector; ``interval`` seconds between them.
    actions: list[list[int]]
    interval: float

    @property
    def middle(self) -> int:
        """The frame that stands for the clip."""
        return self.regions[len(self.regions) // 2]


def pieces_of(rows: Sequence[Row], timeline: Timeline, seconds: float | None) -> list[Piece]:
    """Returns the clips of a video.

    With ``seconds``, rows are cut into pieces of that length; a remainder shorter than half of it
    stays with the piece before. A clip that several rows request is made once. A row that begins
    after the video's end has none.
    """
    pieces: dict[str, Piece] = {}
    for index, row in enumerate(rows):
        for piece in _pieces_of_row(row, index, timeline, seconds):
            known = pieces.setdefault(piece.id, piece)
            if known is not piece:
                pieces[piece.id] = replace(known, shared=(*known.shared, index))
    return list(pieces.values())


def _pieces_of_row(
    row: Row, index: int, timeline: Timeline, seconds: float | None
) -> Iterator[Piece]:
    start, end = row.start or 0.0, min(row.end or math.inf, timeline.seconds)
    if not _begins_in(timeline, start):
        return
    if seconds is not None:
        yield from _cut(row, index, (start, end), timeline, seconds)
    elif row.start is None and row.end is None:
        yield _piece(row.clip, index, (0.0, math.inf), timeline, is_whole=True)
    else:
        yield _piece(row.clip, index, (start, end), timeline)


def _begins_in(timeline: Timeline, start: float) -> bool:
    """Returns whether the video still shows something at a second."""
    if timeline.ticks is None:
        return timeline.first_from(start) < timeline.count
    return start * timeline.rate < timeline.length - HAIR


def _piece(
    name: str, row: int, span: tuple[float, float], timeline: Timeline, is_whole: bool = False
) -> Piece:
    """Returns the clip of a span in seconds: at a constant rate the frames that begin in it.

    Otherwise also the frame that is shown at its start: it may be shown for long.
    """
    start, end = span
    times = (None, None) if is_whole else span
    first, stop = timeline.first_from(start), timeline.first_from(end)
    if timeline.ticks is None:
        stop = max(stop, first + 1)
        return Piece(name, row, first, stop, first, stop - first, *times)
    first = timeline.shown_at(start * timeline.rate)
    stop = max(stop, first + 1)
    begin = max(start * timeline.rate, timeline.begin(first))
    length = max(min(end * timeline.rate, timeline.length) - begin, HAIR)
    return Piece(name, row, first, stop, begin, length, *times)


def _cut(
    row: Row, index: int, span: tuple[float, float], timeline: Timeline, seconds: float
) -> Iterator[Piece]:
    start, end = span
    pieces = max(math.floor((end - start) / seconds + 0.5), 1)
    edges = [start + seconds * position for position in range(pieces)] + [end]
    # Seconds in the name are those of the whole row, and wrong for its pieces.
    named = [seconds_text(row.start or 0.0)] + ([] if row.end is None else [seconds_text(row.end)])
    base = (
        row.clip.removesuffix("_" + "_".join(named))
        if (row.start, row.end) != (None, None)
        else row.clip
    )
    for begin, stop in zip(edges, edges[1:], strict=False):
        name = f"{base}_{seconds_text(begin)}_{seconds_text(stop)}"
        if _begins_in(timeline, begin):
            yield _piece(name, index, (begin, stop), timeline)


def plan(piece: Piece, timeline: Timeline, settings: Settings) -> ClipPlan:
    """Returns the frames of a clip: for regions spread evenly in time, for actions in windows."""
    count = min(settings.regions.frames, piece.stop - piece.first)
    middles = (np.arange(count) + 0.5) * piece.length / count
    # A frame that is shown for long may be the one for several of them.
    regions = sorted({_frame(piece, timeline, float(offset)) for offset in middles})
    ahead = max(round(FOLLOWS * timeline.rate), 1)
    followers = [_follower(frame, ahead, piece, timeline) for frame in regions]
    actions, interval = _windows(piece, timeline, settings.actions)
    return ClipPlan(piece, regions, followers, actions, interval)


def _frame(piece: Piece, timeline: Timeline, offset: float) -> int:
    """Returns the frame of a clip that is shown ``offset`` ticks after its beginning."""
    if timeline.ticks is None:
        return piece.first + min(int(offset), piece.stop - piece.first - 1)
    return min(max(timeline.shown_at(piece.begin + offset), piece.first), piece.stop - 1)


def _follower(frame: int, ahead: int, piece: Piece, timeline: Timeline) -> int:
    """Returns the frame that is shown ``ahead`` ticks later, at least the next one.

    As far before where the clip ends; a lone frame follows itself.
    """
    after = max(timeline.shown_at(timeline.begin(frame) + ahead), frame + 1)
    if timeline.begin(frame) + ahead < piece.begin + piece.length and after < piece.stop:
        return after
    before = min(timeline.shown_at(timeline.begin(frame) - ahead), frame - 1)
    return max(before, piece.first)


def _windows(
    piece: Piece, timeline: Timeline, actions: ActionSettings
) -> tuple[list[list[int]], float]:
    """Returns frames of each action vector, and the seconds between two frames.

    A clip shorter than one window is spread over it, its frames repeated where it has too few.
    """
    length = piece.length
    step = timeline.rate / actions.frame_rate
    span = step * actions.frames
    if length < span:
        step, span = length / actions.frames, float(length)
    pieces = min(actions.pieces, max(int(length / span + 1e-6), 1))
    starts = np.linspace(0.0, length - span, pieces) if pieces > 1 else [(length - span) / 2]
    offsets = np.arange(actions.frames) * step + step / 2
    windows = [
        [_frame(piece, timeline, float(start + offset)) for offset in offsets] for start in starts
    ]
    return windows, step / timeline.rate
