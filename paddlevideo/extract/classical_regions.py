"""Regions without weights: patches of one colour, what stands out, and what moves.

Their classes are named colours and textures. This finds things that differ from what is around
them; it knows no kinds of things.
"""

from __future__ import annotations

import numpy as np

from paddlevideo.extract.boxes import Found, inside, suppress
from paddlevideo.extract.classical import COLOURS, PALETTE, TEXTURES, Measured
from paddlevideo.extract.images import smaller
from paddlevideo.extract.schema import ClassicalDetector
from paddlevideo.utils.opencv import cv2

SMALLEST, LARGEST = 0.004, 0.8  # of the frame
OVERLAP = 0.6
MOST, FEW = 24, 4  # regions of a frame; below FEW its quarters are added
RIM = 0.15  # of a region's sides, that its texture does not count
MOVED = 12  # levels of grey
QUARTERS = np.array([[0, 0, 1, 1], [1, 0, 2, 1], [0, 1, 1, 2], [1, 1, 2, 2]]) / 2


class ClassicalRegions:
    """Finds regions in a frame, with the help of the frame after it."""

    follows = True
    names: list[str] | None = [
        f"{colour} {texture}" for colour in COLOURS for texture in TEXTURES
    ] + ["none"]

    def __init__(self, settings: ClassicalDetector) -> None:
        self.side = settings.side

    def find(self, frame: np.ndarray, after: np.ndarray) -> Found:
        """The regions of a frame (h, w, 3) uint8 BGR; ``after`` is a later one, or the same."""
        measured, moved = Measured(frame, self.side), self._moved(frame, after)
        boxes, fills = _candidates(measured, moved)
        scores = _scores(measured, moved, boxes, fills)
        kept = suppress(boxes, scores, OVERLAP)[:MOST]
        boxes, scores = boxes[kept], scores[kept]
        if len(boxes) < FEW:
            quarters = QUARTERS * np.tile([measured.width, measured.height], 2)
            boxes, scores = np.concatenate([boxes, quarters]), np.append(scores, [0.05] * 4)
        boxes = inside(boxes / np.tile(measured.scale, 2), *frame.shape[:2])
        return Found(boxes, scores, self._classes(measured, boxes, scores))

    def whole(self, frame: np.ndarray) -> np.ndarray:
        """The class distribution (1, C + 1) of the whole frame."""
        box = np.array([[0, 0, frame.shape[1], frame.shape[0]]], np.float32)
        return self._classes(Measured(frame, self.side), box, np.ones(1))

    def _moved(self, frame: np.ndarray, after: np.ndarray) -> np.ndarray:
        """(h, w) bool: what differs in the frame after; nothing where the whole picture does."""
        first, second = (_grey(each, self.side) for each in (frame, after))
        moved = np.abs(first.astype(int) - second) > MOVED
        return moved if moved.mean() < 0.5 else np.zeros_like(moved)

    def _classes(self, measured: Measured, boxes: np.ndarray, scores: np.ndarray) -> np.ndarray:
        rows = np.zeros((len(boxes), len(COLOURS) * len(TEXTURES) + 1), np.float32)
        for row, box, score in zip(rows, boxes, scores, strict=True):
            window = measured.window(box)
            shares = np.bincount(measured.colour[window].ravel(), minlength=len(COLOURS))
            row[:-1] = score * np.outer(shares / shares.sum(), textures(measured, window)).ravel()
            row[-1] = 1.0 - score
        return rows


def textures(measured: Measured, window: tuple[slice, slice]) -> np.ndarray:
    """(3,): how plain, lined and patterned a part of a frame is; the sum is 1.

    Lined: its edges run in one direction. The rim is left out: a thing's outline is no texture.
    """
    rows, columns = (_inner(part) for part in window)
    across, along = (plane[rows, columns].ravel() for plane in (measured.across, measured.along))
    energy = float((across**2 + along**2).mean())
    one_way = np.hypot((across**2 - along**2).mean(), 2 * (across * along).mean())
    coherent = float(one_way / (energy + 1.0))
    plain = float(np.exp(-energy / 60))
    return np.array([plain, (1 - plain) * coherent, (1 - plain) * (1 - coherent)])


def _inner(part: slice) -> slice:
    rim = round((part.stop - part.start) * RIM)
    return slice(part.start + rim, max(part.stop - rim, part.start + rim + 1))


def _grey(frame: np.ndarray, side: int) -> np.ndarray:
    return np.asarray(
        cv2.GaussianBlur(cv2.cvtColor(smaller(frame, side), cv2.COLOR_BGR2GRAY), (5, 5), 0)
    )


def _candidates(measured: Measured, moved: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Boxes (n, 4) in small pixels, and the share of each that its own pixels fill."""
    smooth = np.asarray(cv2.medianBlur(measured.colour, 5))
    planes = [smooth == number for number in range(len(PALETTE))]
    planes += [
        _outstanding(measured),
        np.asarray(cv2.dilate(moved.astype(np.uint8), np.ones((5, 5), np.uint8))) > 0,
    ]
    found = [_patches(plane) for plane in planes if plane.any()]
    rows = np.concatenate([np.empty((0, 5)), *found])
    share = rows[:, 4] / smooth.size
    rows = rows[(share > SMALLEST) & (share < LARGEST)]
    sides = rows[:, 2:4] - rows[:, :2]
    return rows[:, :4], rows[:, 4] / np.maximum(sides.prod(axis=1), 1)


def _patches(plane: np.ndarray) -> np.ndarray:
    """(n, 5): x1 y1 x2 y2 and pixels of each connected patch."""
    _, _, stats, _ = cv2.connectedComponentsWithStats(plane.astype(np.uint8), connectivity=4)
    left, top, width, height, area = np.asarray(stats[1:], float).T
    return np.stack([left, top, left + width, top + height, area], axis=1)


def _outstanding(measured: Measured) -> np.ndarray:
    """(h, w) bool: pixels whose colour is unlike that of the frame's edges."""
    lab = measured.lab
    rim = np.concatenate([lab[:2].reshape(-1, 3), lab[-2:].reshape(-1, 3)])
    rim = np.concatenate([rim, lab[:, :2].reshape(-1, 3), lab[:, -2:].reshape(-1, 3)])
    spread = np.cov(rim.T) + 20 * np.eye(3)
    away = (lab - rim.mean(axis=0)).reshape(-1, 3)
    distance = np.sqrt(np.einsum("ij,jk,ik->i", away, np.linalg.inv(spread), away))
    levels = np.minimum(distance * 32, 255).astype(np.uint8).reshape(lab.shape[:2])
    _, mask = cv2.threshold(cv2.medianBlur(levels, 5), 0, 255, cv2.THRESH_OTSU)
    return np.asarray(mask) > 0


def _scores(
    measured: Measured, moved: np.ndarray, boxes: np.ndarray, fills: np.ndarray
) -> np.ndarray:
    """(n,), 0 to 1: contrast with what is around a box, how full it is, how much moves in it."""
    planes = np.concatenate([measured.lab, moved[..., None].astype(np.float32)], axis=2)
    sums = np.pad(planes.astype(np.float64), ((1, 0), (1, 0), (0, 0))).cumsum(0).cumsum(1)
    limits = np.tile([measured.width, measured.height], 2)
    margin = np.tile((boxes[:, 2:] - boxes[:, :2]) * 0.3 + 2, 2) * [-1, -1, 1, 1]
    around = np.clip(np.round(boxes + margin), 0, limits).astype(int)
    inner, outer = _box_sums(sums, boxes.astype(int)), _box_sums(sums, around)
    area = np.prod(boxes[:, 2:] - boxes[:, :2], axis=1)[:, None]
    ring = np.prod(around[:, 2:] - around[:, :2], axis=1)[:, None] - area
    inside_means, ring_means = inner / area, (outer - inner) / np.maximum(ring, 1)
    distance = np.linalg.norm((inside_means - ring_means)[:, :3], axis=1)
    contrast = distance / (distance + 20)
    moving = np.clip(2 * inside_means[:, 3], 0, 1)
    return np.clip(0.45 * contrast + 0.25 * fills + 0.3 * moving, 0.0, 1.0)


def _box_sums(sums: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    x1, y1, x2, y2 = boxes.T
    return sums[y2, x2] - sums[y1, x2] - sums[y2, x1] + sums[y1, x1]
