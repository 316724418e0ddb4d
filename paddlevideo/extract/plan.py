"""Which frames of a video are looked at: counts and times to frame numbers, and no pixels."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from paddlevideo.extract.schema import ActionSettings, Settings
from paddlevideo.extract.videos import Row, seconds_text

#: The follower of a looked-at frame, for motion, comes so many seconds after it.
FOLLOWS = 0.15


@dataclass(frozen=True)
class Piece:
    """A clip: frames ``first`` to before ``stop`` of its video. ``row``: which of its rows."""

    id: str
    row: int
    first: int
    stop: int
    start: float | None = None
    end: float | None = None


@dataclass(frozen=True)
class ClipPlan:
    """The frames of a clip that are looked at."""

    piece: Piece
    #: For regions, and the frame that follows each.
    regions: list[int]
    followers: list[int]
    #: For actions: a list of frames for each vector; ``interval`` seconds lie between them.
    actions: list[list[int]]
    interval: float

    @property
    def middle(self) -> int:
        """The frame that stands for the clip."""
        return self.regions[len(self.regions) // 2]


def pieces_of(rows: Sequence[Row], count: int, rate: float, seconds: float | None) -> list[Piece]:
    """The clips of a video of ``count`` frames, ``rate`` of them a second.

    With ``seconds``, what a row asks for is cut into pieces of that length; a rest shorter than
    half of it stays with the piece before. A row that begins after the video's end has none.
    """
    pieces: list[Piece] = []
    for number, row in enumerate(rows):
        start, end = row.start or 0.0, min(row.end or math.inf, count / rate)
        if _frame(start, rate) >= count:
            continue
        if seconds is None:
            first, stop = _frame(start, rate), min(_frame(end, rate), count)
            whole = row.start is None and row.end is None
            times = (None, None) if whole else (start, end)
            pieces.append(Piece(row.clip, number, first, max(stop, first + 1), *times))
        else:
            pieces += _cut(row, number, (start, end), (count, rate), seconds)
    return pieces


def _cut(
    row: Row, number: int, span: tuple[float, float], video: tuple[int, float], seconds: float
) -> list[Piece]:
    (start, end), (count, rate) = span, video
    pieces = max(math.floor((end - start) / seconds + 0.5), 1)
    edges = [start + seconds * place for place in range(pieces)] + [end]
    # A name that says seconds already says the wrong ones for its pieces.
    spoken = [seconds_text(row.start or 0.0)] + ([] if row.end is None else [seconds_text(row.end)])
    base = (
        row.clip.removesuffix("_" + "_".join(spoken))
        if (row.start, row.end) != (None, None)
        else row.clip
    )
    cut = []
    for begin, stop in zip(edges, edges[1:], strict=False):
        first, last = _frame(begin, rate), min(_frame(stop, rate), count)
        name = f"{base}_{seconds_text(begin)}_{seconds_text(stop)}"
        if first < count:
            cut.append(Piece(name, number, first, max(last, first + 1), begin, stop))
    return cut


def _frame(second: float, rate: float) -> int:
    """The number of the frame that begins at or after a second; a hair of rounding is forgiven."""
    return math.ceil(second * rate - 1e-6) if second < math.inf else int(1e18)


def plan(piece: Piece, rate: float, settings: Settings) -> ClipPlan:
    """The frames to look at: for regions spread evenly, for actions in windows."""
    length = piece.stop - piece.first
    count = min(settings.regions.frames, length)
    middles = (np.arange(count) + 0.5) * length / count
    regions = [piece.first + int(place) for place in middles]
    ahead = max(round(FOLLOWS * rate), 1)
    followers = [_follower(frame, ahead, piece) for frame in regions]
    actions, interval = _windows(piece, rate, settings.actions)
    return ClipPlan(piece, regions, followers, actions, interval)


def _follower(frame: int, ahead: int, piece: Piece) -> int:
    """The frame ``ahead``, or as far before where the clip ends; a lone frame follows itself."""
    if frame + ahead < piece.stop:
        return frame + ahead
    return max(frame - ahead, piece.first)


def _windows(piece: Piece, rate: float, actions: ActionSettings) -> tuple[list[list[int]], float]:
    """Frames of each action vector, and the seconds between two frames.

    A clip shorter than one window is spread over it, its frames repeated where it has too few.
    """
    length = piece.stop - piece.first
    step = rate / actions.frame_rate
    span = step * actions.frames
    if length < span:
        step, span = length / actions.frames, float(length)
    pieces = min(actions.pieces, max(int(length / span + 1e-6), 1))
    starts = np.linspace(0.0, length - span, pieces) if pieces > 1 else [(length - span) / 2]
    offsets = np.arange(actions.frames) * step + step / 2
    windows = [
        [piece.first + min(int(start + offset), length - 1) for offset in offsets]
        for start in starts
    ]
    return windows, step / rate
