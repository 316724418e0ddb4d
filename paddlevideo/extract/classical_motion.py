"""Action vectors without weights: optical flow by place, direction and half of the time."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from paddlevideo.extract.images import smaller
from paddlevideo.extract.schema import ClassicalActions
from paddlevideo.utils.opencv import cv2

DIRECTIONS, CELLS = 8, 3
WIDTH = 2 * CELLS * CELLS * DIRECTIONS + 14
#: Long sides of the frame a second: slower is noise.
SLOW = 0.03

KINDS = ("still", "left", "right", "up", "down", "towards", "away", "mixed")


class ClassicalMotion:
    """Vectors (m, 158) and the dominant kind of motion of each piece of a clip."""

    names: list[str] | None = list(KINDS)

    def __init__(self, settings: ClassicalActions) -> None:
        self.side = settings.side

    def reduce(self, frame: np.ndarray) -> np.ndarray:
        """What is kept of a frame until its piece is complete."""
        return np.asarray(cv2.cvtColor(smaller(frame, self.side), cv2.COLOR_BGR2GRAY))

    def describe(
        self, windows: Sequence[np.ndarray], interval: float
    ) -> tuple[np.ndarray, np.ndarray]:
        """Vectors (m, 158) float32 and classes (m,) of windows (T, h, w), ``interval`` seconds
        between their frames.
        """
        rows, kinds = [], []
        for window in windows:
            flow = _flow(window, interval)
            rows.append(np.concatenate([*_histograms(flow), _summary(flow, window)]))
            kinds.append(KINDS.index(_kind(flow)))
        return np.stack(rows).astype(np.float32), np.array(kinds, np.int64)


def _flow(window: np.ndarray, interval: float) -> np.ndarray:
    """(T - 1, h, w, 2): x and y in long sides of the frame a second."""
    none = np.zeros((*window.shape[1:3], 2), np.float32)
    steps = [
        # A frame that is repeated, because the video has too few, has not moved.
        none
        if first is second or np.array_equal(first, second)
        else cv2.calcOpticalFlowFarneback(first, second, none.copy(), 0.5, 2, 9, 2, 5, 1.1, 0)
        for first, second in zip(window, window[1:], strict=False)
    ]
    return np.stack(steps) / (max(window.shape[1:3]) * interval)


def _histograms(flow: np.ndarray) -> list[np.ndarray]:
    """Two of (72,): mean flow by direction in 3 x 3 cells, of each half of the time."""
    height, width = flow.shape[1:3]
    row = np.minimum(np.arange(height) * CELLS // height, CELLS - 1)
    column = np.minimum(np.arange(width) * CELLS // width, CELLS - 1)
    cell = row[:, None] * CELLS + column[None]
    found = []
    for half in np.array_split(flow, 2):
        x, y = half[..., 0], half[..., 1]
        direction = ((np.arctan2(y, x) + np.pi) * (DIRECTIONS / (2 * np.pi))).astype(
            int
        ) % DIRECTIONS
        bins = (cell[None] * DIRECTIONS + direction).ravel()
        sums = np.bincount(bins, np.hypot(x, y).ravel(), CELLS * CELLS * DIRECTIONS)
        found.append(_damped(sums * CELLS * CELLS / max(x.size, 1)))
    return found


def _damped(values: np.ndarray) -> np.ndarray:
    """Speeds differ by powers of ten: their square roots are kept."""
    return np.sign(values) * np.sqrt(np.abs(values))


def _summary(flow: np.ndarray, window: np.ndarray) -> np.ndarray:
    """(14,): mean way, speed, spread and turn of the whole frame, and how its light changes."""
    speed = np.hypot(flow[..., 0], flow[..., 1])
    way = flow.mean(axis=(0, 1, 2))
    spread = _slope(flow[..., 0], axis=2) + _slope(flow[..., 1], axis=1)
    turn = _slope(flow[..., 1], axis=2) - _slope(flow[..., 0], axis=1)
    side = max(window.shape[1:3])
    signed = [way[0], way[1], spread.mean() * side, turn.mean() * side]
    light = window.mean(axis=(1, 2)) / 255
    jumps = np.abs(np.diff(light))
    rest = np.array([jumps.max(), light[-1] - light[0], (speed > SLOW).mean()])
    parts = [_damped(np.maximum([*signed, *np.negative(signed)], 0))]
    parts += [_damped(np.array([speed.mean(), speed.std(), speed.mean(axis=(1, 2)).std()])), rest]
    return np.concatenate(parts)


def _slope(values: np.ndarray, axis: int) -> np.ndarray:
    """The gradient along an axis; 0 where a very flat picture leaves one pixel of it."""
    return np.gradient(values, axis=axis) if values.shape[axis] > 1 else np.zeros_like(values)


def _kind(flow: np.ndarray) -> str:
    """The dominant motion of what moves at all."""
    speed = np.hypot(flow[..., 0], flow[..., 1])
    moving = speed > SLOW
    if moving.mean() < 0.01:
        return "still"
    way, mean = flow[moving].mean(axis=0), float(speed[moving].mean())
    outward = _outward(flow, moving) / mean
    if np.hypot(*way) / mean >= max(0.5, abs(outward)):
        axis = int(abs(way[1]) > abs(way[0]))
        return (("left", "right"), ("up", "down"))[axis][int(way[axis] > 0)]
    if abs(outward) >= 0.4:
        return "towards" if outward > 0 else "away"
    return "mixed"


def _outward(flow: np.ndarray, moving: np.ndarray) -> float:
    """Mean speed of what moves away from the middle of what moves: what grows comes nearer."""
    time, y, x = np.nonzero(moving)
    dx, dy = x - x.mean(), y - y.mean()
    length = np.maximum(np.hypot(dx, dy), 1e-6)
    u, v = flow[time, y, x].T
    return float(((u * dx + v * dy) / length).mean())
