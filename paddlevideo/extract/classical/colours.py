"""Named colours of pixels."""

from __future__ import annotations

from functools import cache

import numpy as np

from paddlevideo.utils.opencv import cv2

#: Blue, green, red, as they look on a screen.
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
_LEVELS = 32  # of each channel in the lookup table


def named_colours(frame: np.ndarray) -> np.ndarray:
    """Returns (h, w) uint8 indices into ``COLOURS`` for a frame (h, w, 3) uint8 BGR."""
    levels = (frame >> 3).astype(np.int32)
    codes = (levels[..., 0] * _LEVELS + levels[..., 1]) * _LEVELS + levels[..., 2]
    return _table()[codes]


@cache
def _table() -> np.ndarray:
    """Returns the nearest named colour, in Lab, of each of 32 x 32 x 32 colours."""
    steps = ((np.arange(_LEVELS) + 0.5) * 256 / _LEVELS).astype(np.uint8)
    grid = np.stack(np.meshgrid(steps, steps, steps, indexing="ij"), axis=-1)
    colours = cv2.cvtColor(grid.reshape(1, -1, 3), cv2.COLOR_BGR2LAB)[0].astype(np.float32)
    palette = np.array([list(PALETTE.values())], np.uint8)
    named = cv2.cvtColor(palette, cv2.COLOR_BGR2LAB)[0].astype(np.float32)
    distance = ((colours[:, None] - named[None]) ** 2).sum(axis=2)
    return distance.argmin(axis=1).astype(np.uint8)
