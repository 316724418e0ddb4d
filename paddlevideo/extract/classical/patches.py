"""Boxes of a frame as patches of one size, all at once: what they look like can be counted."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from paddlevideo.extract.classical.planes import Planes

#: Samples along a side of a box, and of the margin around it that its surroundings are taken from.
INNER, MARGIN = 24, 4
GRID = INNER + 2 * MARGIN
#: Variance of each channel that is assumed at least: noise and compression.
NOISE = 20.0
#: Squared Mahalanobis distance from which a pixel is unlike its surroundings.
UNLIKE = 16.0
#: Shares of a box, and of a whole frame, below which its figure cannot be told from the ground:
#: then all of it is described.
LEAST_FIGURE, LEAST_SCENE = 0.05, 0.2
#: Samples inside of a figure's outline that its texture is told from.
LEAST_INSIDE = 24
#: Samples of the margin that are needed inside of the frame.
LEAST_AROUND = 32


@dataclass
class Patches:
    """Boxes (n, 4) of a frame, sampled on a grid: what is around is not part of a patch."""

    #: (n, INNER * INNER, 3) float32 Lab, a and b around 0.
    lab: np.ndarray
    #: (n, INNER * INNER) bool: the pixels that are unlike what is around the box. For a box without
    #: surroundings, the whole frame, they are what does not stand out in it: the scene.
    figure: np.ndarray
    #: (n, INNER * INNER) bool: the samples in the box; the rest fills it up to a square.
    box: np.ndarray
    #: Where the samples are in the planes: rows (n, INNER, 1) and columns (n, 1, INNER).
    at: tuple[np.ndarray, np.ndarray]

    @classmethod
    def of(cls, planes: Planes, boxes: np.ndarray) -> Patches:
        """Samples boxes (n, 4) in pixels of the frame."""
        scaled = np.asarray(boxes, float).reshape(-1, 4) * np.tile(planes.scale, 2)
        side = np.maximum(scaled[:, 2:] - scaled[:, :2], 1.0).max(axis=1)
        columns, box_x, seen_x = _samples(scaled[:, 0], scaled[:, 2], side, planes.width)
        rows, box_y, seen_y = _samples(scaled[:, 1], scaled[:, 3], side, planes.height)
        grid = planes.lab[rows[:, :, None], columns[:, None, :]]
        box = box_y[:, :, None] & box_x[:, None, :]
        around = seen_y[:, :, None] & seen_x[:, None, :] & ~box
        box = box[:, MARGIN:-MARGIN, MARGIN:-MARGIN].reshape(len(scaled), -1)
        at = rows[:, MARGIN:-MARGIN, None], columns[:, None, MARGIN:-MARGIN]
        lab = grid[:, MARGIN:-MARGIN, MARGIN:-MARGIN].reshape(len(scaled), -1, 3)
        figure = _unlike(lab, grid, around) & box
        is_scene = around.sum(axis=(1, 2)) < LEAST_AROUND
        if is_scene.any():
            scene = ~planes.outstanding[at[0][is_scene], at[1][is_scene]]
            figure[is_scene] = scene.reshape(len(scene), -1) & box[is_scene]
        least = np.where(is_scene, LEAST_SCENE, LEAST_FIGURE) * box.sum(axis=1)
        is_unclear = figure.sum(axis=1) <= least
        figure[is_unclear] = box[is_unclear]
        return cls(lab, figure, box, at)

    @cached_property
    def inside(self) -> np.ndarray:
        """The figure without its outline, (n, INNER * INNER) bool; all of it where it is thin."""
        inside = self.figure
        for _ in range(2):
            inner = _eroded(inside.reshape(-1, INNER, INNER)).reshape(inside.shape)
            is_thin = inner.sum(axis=1) < LEAST_INSIDE
            inner[is_thin] = inside[is_thin]
            inside = inner
        return inside

    def sample(self, plane: np.ndarray) -> np.ndarray:
        """Returns a plane (h, w) of the frame at the samples: (n, INNER * INNER)."""
        values = plane[self.at]
        return values.reshape(len(values), -1)


def histogram(
    bins: np.ndarray, count: int, where: np.ndarray, weights: np.ndarray | None = None
) -> np.ndarray:
    """Returns (n, count): means of ``weights``, else shares, by bin of the samples ``where``.

    All of them are (n, samples).
    """
    index = (bins + count * np.arange(len(bins))[:, None])[where]
    given = None if weights is None else weights[where]
    sums = np.bincount(index, given, len(bins) * count).reshape(-1, count)
    return sums / where.sum(axis=1, keepdims=True)


def means(values: np.ndarray, where: np.ndarray) -> np.ndarray:
    """Returns (n, k): means over the samples ``where`` (n, samples) of values (n, samples, k)."""
    share = (where / where.sum(axis=1, keepdims=True)).astype(np.float32)
    averaged: np.ndarray = (share[:, None] @ values)[:, 0]
    return averaged


def _eroded(grid: np.ndarray) -> np.ndarray:
    """Returns masks (n, h, w) without the samples at their rims."""
    inner = np.zeros_like(grid)
    inner[:, 1:-1, 1:-1] = (
        grid[:, 1:-1, 1:-1]
        & (grid[:, :-2, 1:-1] & grid[:, 2:, 1:-1])
        & (grid[:, 1:-1, :-2] & grid[:, 1:-1, 2:])
    )
    return inner


def _samples(
    low: np.ndarray, high: np.ndarray, side: np.ndarray, size: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns pixel indices (n, GRID) along one axis of squares around boxes, and whether each is
    inside of its box and of the frame.
    """
    steps = (np.arange(GRID) + 0.5 - GRID / 2) / INNER
    positions = (low + high)[:, None] / 2 + side[:, None] * steps
    half = np.maximum(high - low, side * (2 / INNER))[:, None] / 2
    in_box = np.abs(side[:, None] * steps) < half
    in_frame = (positions >= 0) & (positions < size)
    return np.clip(positions, 0, size - 1).astype(int), in_box, in_frame


def _unlike(lab: np.ndarray, grid: np.ndarray, around: np.ndarray) -> np.ndarray:
    """Returns (n, INNER * INNER) bool: what differs from the distribution of what is around."""
    weights = around.reshape(len(grid), -1).astype(np.float32)
    weights /= np.maximum(weights.sum(axis=1, keepdims=True), 1)
    pixels = grid.reshape(len(grid), -1, 3)
    mean = np.einsum("np,npc->nc", weights, pixels)
    centred = pixels - mean[:, None]
    covariance = (centred * weights[..., None]).transpose(0, 2, 1) @ centred
    whitening = np.linalg.cholesky(np.linalg.inv(covariance + NOISE * np.eye(3, dtype=np.float32)))
    away = (lab - mean[:, None]) @ whitening
    return (away**2).sum(axis=2) > UNLIKE
