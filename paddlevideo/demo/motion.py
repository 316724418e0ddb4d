"""Describes how things move: from where they are found, and from optical flow."""

from __future__ import annotations

import numpy as np

from paddlevideo.demo.tracks import Track, Video
from paddlevideo.utils.opencv import cv2

DIRECTIONS = 8
# Where the parts of a thing's motion are.
WAY, REVERSALS, INSIDE = slice(8, 12), slice(14, 16), slice(18, 22)
SIZE, STRENGTH, GONE = slice(22, 25), slice(25, 28), 28
MOTION_WIDTH = 30
ACTION_WIDTH = MOTION_WIDTH + DIRECTIONS + 11
CHUNKS = ((0.0, 1.0), (0.0, 0.5), (0.5, 1.0))  # of a clip: the whole, and its halves
CLASSES = (
    "still",
    "left",
    "right",
    "up",
    "down",
    "back and forth",
    "up and down",
    "turn left",
    "turn right",
    "expand",
    "contract",
    "appear",
    "vanish",
    "flash",
)


def optical_flow(video: Video) -> np.ndarray:
    """Dense flow between neighbouring frames, (T - 1, H / 2, W / 2, 2), in full pixels a frame."""
    height, width = video.side
    grey = [
        cv2.resize(cv2.cvtColor(frame, cv2.COLOR_BGR2GRAY), (width // 2, height // 2))
        for frame in video.frames
    ]
    start = np.zeros((height // 2, width // 2, 2), np.float32)
    flows = [
        cv2.calcOpticalFlowFarneback(a, b, start.copy(), 0.5, 2, 9, 2, 5, 1.1, 0)
        for a, b in zip(grey, grey[1:], strict=False)
    ]
    return np.stack(flows) * 2


def direction_histogram(dx: np.ndarray, dy: np.ndarray) -> np.ndarray:
    """Lengths of the vectors by direction, (8,); neighbouring directions share a vector."""
    angle = np.arctan2(dy, dx) * (DIRECTIONS / (2 * np.pi))
    low = np.floor(angle).astype(int)
    part, length = angle - low, np.hypot(dx, dy)
    return np.bincount(low % DIRECTIONS, length * (1 - part), DIRECTIONS) + np.bincount(
        (low + 1) % DIRECTIONS, length * part, DIRECTIONS
    )


def turn_and_spread(flow: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Curl and divergence of (T, h, w, 2) flow, each (T, h, w), per frame."""
    dx_x, dx_y = np.gradient(flow[..., 0], 2, axis=(2, 1))
    dy_x, dy_y = np.gradient(flow[..., 1], 2, axis=(2, 1))
    return dy_x - dx_y, dx_x + dy_y


def track_motion(
    track: Track, flow: np.ndarray, other: Track | None, start: int, stop: int
) -> np.ndarray:
    """(30,) float32 description of one thing between two frames, in parts of the frame's side."""
    side = float(track.masks.shape[1])
    seen = np.flatnonzero(track.seen[start:stop]) + start
    if len(seen) < 2:
        return np.zeros(MOTION_WIDTH, np.float32)
    places = track.centres[seen] / side
    steps = np.diff(places, axis=0)
    way = places[-1] - places[0]
    length = np.hypot(*steps.T).sum()
    values = [
        direction_histogram(steps[:, 0], steps[:, 1]),
        np.maximum([way[0], -way[0], way[1], -way[1]], 0),
        [length, np.hypot(*way) / (length + 0.1), *_reversals(steps), *places.std(0)],
        _inside(track, flow, start, stop),
        _change(np.sqrt(track.areas[seen]) / side),
        _change(track.strengths[seen] / 60),
        [_missing(track.seen[start:stop])],
        [_closeness(track, other, start, stop, side)],
    ]
    return np.concatenate(values).astype(np.float32)


def _reversals(steps: np.ndarray) -> list[float]:
    """How often x and y turn back; steps below a third of a pixel or so are noise."""
    turns = []
    for axis in range(2):
        step = steps[np.abs(steps[:, axis]) > 0.006, axis]
        turns.append(float((step[1:] * step[:-1] < 0).sum()) / 4)
    return turns


def _change(values: np.ndarray) -> list[float]:
    """Slope (growth, decline) over the stretch and deviation from it."""
    time = np.linspace(-0.5, 0.5, len(values))
    slope = float((values * time).sum() / (time**2).sum())
    scale = float(values.mean()) + 0.02
    rest = float((values - values.mean() - slope * time).std())
    return [max(slope, 0) / scale, max(-slope, 0) / scale, rest / scale]


def _missing(seen: np.ndarray) -> float:
    """Number of times a thing goes or comes back."""
    return float(np.abs(np.diff(seen.astype(int))).sum()) / 4


def _closeness(track: Track, other: Track | None, start: int, stop: int, side: float) -> float:
    """1 where the thing comes as near to another as their sizes allow, and from afar."""
    if other is None:
        return 0.0
    both = track.seen[start:stop] & other.seen[start:stop]
    if not both.any():
        return 0.0
    away = (track.centres - other.centres)[start:stop][both] / side
    radii = (np.sqrt(track.areas) + np.sqrt(other.areas))[start:stop][both] / side / 2
    gap = np.hypot(*away.T) - radii
    return float(np.exp(-12 * max(gap.min(), 0)) * min(gap.max() - gap.min(), 0.4) * 2.5)


def _inside(track: Track, flow: np.ndarray, start: int, stop: int) -> list[float]:
    """Mean turn, its two directions and the spread of the flow inside the thing."""
    half = track.masks[start : stop - 1, ::2, ::2]
    piece = flow[start : stop - 1, : half.shape[1], : half.shape[2]]
    if not half.any():
        return [0.0] * 4
    curl, divergence = turn_and_spread(piece)
    turn, spread = float(curl[half].mean()), float(divergence[half].mean())
    return [max(turn, 0), max(-turn, 0), spread, float(np.abs(curl[half]).mean())]


def action_features(video: Video, tracks: list[Track], flow: np.ndarray) -> np.ndarray:
    """(3, 49) float32: the whole clip and its two halves; the motions of its things add up."""
    rows = []
    for begin, end in CHUNKS:
        start, stop = (round(part * len(video.frames)) for part in (begin, end))
        moved = np.zeros(MOTION_WIDTH, np.float32)
        for index, track in enumerate(tracks):
            other = tracks[1 - index] if len(tracks) == 2 else None
            moved += track_motion(track, flow, other, start, stop)
        rows.append(np.concatenate([moved, _whole_frame(video, flow, start, stop)]))
    return np.stack(rows).astype(np.float32)


def _whole_frame(video: Video, flow: np.ndarray, start: int, stop: int) -> np.ndarray:
    """(19,): flow directions, salient area and light over the stretch, without tracking."""
    salient = video.salient[start:stop]
    moving = flow[start : stop - 1][salient[:-1, ::2, ::2]]
    histogram = direction_histogram(moving[:, 0], moving[:, 1]) / (len(moving) + 1)
    area = np.sqrt(salient.mean((1, 2)))
    light = video.lab[start:stop, ::2, ::2, 0].mean((1, 2)) / 255
    strength = np.where(salient, video.chroma[start:stop], 0).mean((1, 2)) / 10
    jumps = np.abs(np.diff(area))
    return np.concatenate(
        [histogram, [jumps.mean(), jumps.max()], _change(area), _change(strength), _change(light)]
    )


def action_classes(features: np.ndarray) -> np.ndarray:
    """The strongest motion of each row of :func:`action_features`, as an index of ``CLASSES``."""
    right, left, down, up = features[:, WAY].T * 3
    clockwise, anticlockwise = features[:, INSIDE].T[:2] * 6
    across, along = features[:, REVERSALS].T * 1.2
    growth, decline = features[:, SIZE].T[:2]
    appears, vanishes = features[:, STRENGTH].T[:2]
    flashes = features[:, GONE] * 2
    still = np.full(len(features), 0.35, np.float32)
    scores = [still, left, right, up, down, across, along, anticlockwise, clockwise]
    scores += [growth, decline, appears, vanishes, flashes]
    return np.argmax(scores, 0).astype(np.int64)
