"""A frame at a small size, measured pixel by pixel: what regions and their vectors share."""

from __future__ import annotations

import weakref
from functools import cached_property

import numpy as np

from paddlevideo.extract.classical.colours import named_colours
from paddlevideo.extract.images import smaller
from paddlevideo.utils.opencv import cv2

PATTERNS = 10


class Planes:
    """Planes (h, w) of a frame whose long side is ``side`` pixels at most.

    ``lab`` (h, w, 3) is float32 with a and b around 0.
    """

    def __init__(self, frame: np.ndarray, side: int) -> None:
        self.small = smaller(frame, side)
        self.height, self.width = self.small.shape[:2]
        #: Small pixels for one of the frame, x and y.
        self.scale = np.array([self.width / frame.shape[1], self.height / frame.shape[0]])
        lab = cv2.cvtColor(self.small, cv2.COLOR_BGR2LAB)
        self.grey = np.ascontiguousarray(lab[..., 0])
        self.lab = lab.astype(np.float32)
        self.lab[..., 1:] -= 128.0

    @cached_property
    def colour(self) -> np.ndarray:
        """Indices of named colours, uint8."""
        return named_colours(self.small)

    @cached_property
    def gradient(self) -> tuple[np.ndarray, np.ndarray]:
        """The lightness's gradient, in levels a pixel, along x and along y."""
        across, along = (cv2.Sobel(self.grey, cv2.CV_32F, *step) / 8 for step in ((1, 0), (0, 1)))
        return np.asarray(across), np.asarray(along)

    @cached_property
    def pattern(self) -> np.ndarray:
        """Local binary patterns, 0 to 9: the number of the eight neighbours that are clearly
        brighter, 9 where bright and dark ones alternate.
        """
        around = np.pad(self.grey, 1, mode="edge")
        offsets = ((0, 1), (0, 0), (1, 0), (2, 0), (2, 1), (2, 2), (1, 2), (0, 2))
        limit = np.minimum(self.grey, 251) + 4
        brighter = np.stack(
            [around[y : y + self.height, x : x + self.width] > limit for y, x in offsets]
        )
        changes = (brighter != np.roll(brighter, 1, axis=0)).sum(axis=0, dtype=np.uint8)
        count = brighter.sum(axis=0, dtype=np.uint8)
        return np.where(changes <= 2, count, PATTERNS - 1)

    @cached_property
    def detail(self) -> tuple[np.ndarray, np.ndarray]:
        """Differences of lightness at a fine and at a coarse scale."""
        light = self.grey.astype(np.float32)
        soft = cv2.GaussianBlur(light, (0, 0), 1.5)
        return light - soft, soft - cv2.GaussianBlur(light, (0, 0), 4)

    @cached_property
    def outstanding(self) -> np.ndarray:
        """Pixels, bool, whose colour is unlike that of the frame's rim."""
        rim = [self.lab[:2], self.lab[-2:], self.lab[:, :2], self.lab[:, -2:]]
        pixels = np.concatenate([part.reshape(-1, 3) for part in rim])
        spread = np.cov(pixels.T) + 20 * np.eye(3)
        whitening = np.linalg.cholesky(np.linalg.inv(spread)).astype(np.float32)
        away = (self.lab - pixels.mean(axis=0)).reshape(-1, 3) @ whitening
        distance = np.sqrt((away**2).sum(axis=1)).reshape(self.height, self.width)
        levels = cv2.medianBlur(np.minimum(distance * 32, 255).astype(np.uint8), 5)
        _, mask = cv2.threshold(levels, 0, 255, cv2.THRESH_OTSU)
        return np.asarray(mask) > 0


class PlaneCache:
    """The planes of the last frames: detector and vectors look at the same ones."""

    SIZE = 8

    def __init__(self) -> None:
        self._known: dict[tuple[int, int], tuple[weakref.ref[np.ndarray], Planes]] = {}

    def __call__(self, frame: np.ndarray, side: int) -> Planes:
        """Returns the planes of a frame (h, w, 3) uint8 BGR."""
        key = id(frame), side
        known = self._known.pop(key, None)
        if known is None or known[0]() is not frame:
            known = weakref.ref(frame), Planes(frame, side)
        self._known[key] = known  # the newest is last
        while len(self._known) > self.SIZE:
            del self._known[next(iter(self._known))]
        return known[1]
