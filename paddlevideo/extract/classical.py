"""A small frame measured pixel by pixel: what the classical regions and vectors are made of."""

from __future__ import annotations

from functools import cache

import numpy as np

from paddlevideo.extract.images import smaller
from paddlevideo.utils.opencv import cv2

#: Named colours, blue green red, as they look on a screen.
PALETTE = {
    "black": (20, 20, 20),
    "grey": (128, 128, 128),
    "white": (235, 235, 235),
    "red": (40, 40, 200),
    "orange": (30, 130, 235),
    "brown": (45, 75, 120),
    "yellow": (50, 220, 230),
    "green": (60, 150, 60),
    "cyan": (200, 190, 60),
    "blue": (190, 90, 40),
    "purple": (150, 50, 120),
    "pink": (180, 140, 235),
}
COLOURS = tuple(PALETTE)
TEXTURES = ("plain", "lined", "patterned")
HUES, LIGHTS, DIRECTIONS, PATTERNS = 8, 4, 8, 10
_LEVELS = 32  # of a channel, for the table of colours


class Measured:
    """Planes (h, w) of a frame at a small size.

    ``lab`` (h, w, 3) float32 with a and b around 0; ``colour``: number of the named colour;
    ``hue``, ``light``, ``direction``, ``pattern``: numbers of bins; ``chroma``, ``edge``: lengths.
    """

    def __init__(self, frame: np.ndarray, side: int) -> None:
        small = smaller(frame, side)
        self.height, self.width = small.shape[:2]
        #: Small pixels for one of the frame, x and y.
        self.scale = np.array([self.width / frame.shape[1], self.height / frame.shape[0]])
        self.grey = np.asarray(cv2.cvtColor(small, cv2.COLOR_BGR2GRAY))
        self.lab = np.asarray(cv2.cvtColor(small, cv2.COLOR_BGR2LAB), np.float32)
        self.lab[..., 1:] -= 128.0
        levels = (small.astype(np.int32) * _LEVELS) >> 8
        codes = (levels[..., 0] * _LEVELS + levels[..., 1]) * _LEVELS + levels[..., 2]
        self.colour = _colour_table()[codes]
        self.chroma = np.hypot(self.lab[..., 1], self.lab[..., 2])
        self.hue = _bins(np.arctan2(self.lab[..., 2], self.lab[..., 1]), HUES)
        self.light = np.minimum((self.lab[..., 0] * LIGHTS / 256).astype(int), LIGHTS - 1)
        light = np.ascontiguousarray(self.lab[..., 0])
        across, along = (cv2.Sobel(light, cv2.CV_32F, *step) / 8 for step in ((1, 0), (0, 1)))
        self.across, self.along = np.asarray(across), np.asarray(along)
        self.edge = np.hypot(self.across, self.along)
        self.direction = _bins(np.arctan2(self.along, self.across), DIRECTIONS)
        self.pattern = _patterns(light)

    def window(self, box: np.ndarray) -> tuple[slice, slice]:
        """Rows and columns of a box (4,) in pixels of the frame: at least two of each."""
        x1, y1, x2, y2 = np.asarray(box, float) * np.tile(self.scale, 2)
        return _span(y1, y2, self.height), _span(x1, x2, self.width)


def _span(low: float, high: float, size: int) -> slice:
    start = min(max(int(low + 0.5), 0), max(size - 2, 0))
    return slice(start, min(max(int(high + 0.5), start + 2), size))


def _bins(angles: np.ndarray, count: int) -> np.ndarray:
    """Angles in -pi to pi as numbers of ``count`` equal sectors."""
    return ((angles + np.pi) * (count / (2 * np.pi))).astype(int) % count


def _patterns(light: np.ndarray) -> np.ndarray:
    """(h, w) in 0..9: how many of eight neighbours are clearly brighter, 9 where they alternate."""
    offsets = ((0, 1), (1, 1), (1, 0), (1, -1), (0, -1), (-1, -1), (-1, 0), (-1, 1))
    brighter = np.stack([np.roll(light, offset, (0, 1)) > light + 4 for offset in offsets])
    changes = (brighter != np.roll(brighter, 1, axis=0)).sum(axis=0)
    return np.where(changes <= 2, brighter.sum(axis=0), PATTERNS - 1)


@cache
def _colour_table() -> np.ndarray:
    """For each of 32 x 32 x 32 colours the number of the nearest named one, in Lab."""
    steps = ((np.arange(_LEVELS) + 0.5) * 256 / _LEVELS).astype(np.uint8)
    grid = np.stack(np.meshgrid(steps, steps, steps, indexing="ij"), axis=-1)
    every = cv2.cvtColor(grid.reshape(1, -1, 3), cv2.COLOR_BGR2LAB)[0].astype(np.float32)
    named = np.array([list(PALETTE.values())], np.uint8)
    wanted = cv2.cvtColor(named, cv2.COLOR_BGR2LAB)[0].astype(np.float32)
    distance = ((every[:, None] - wanted[None]) ** 2).sum(axis=2)
    return distance.argmin(axis=1).astype(np.uint8)
