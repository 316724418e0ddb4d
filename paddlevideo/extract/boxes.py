"""Boxes (n, 4), x1 y1 x2 y2 in pixels: overlap, suppression, class distributions."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np


class Detections(NamedTuple):
    """The regions of a frame: n of them in C classes and "none"."""

    boxes: np.ndarray  # n, 4 in pixels of the frame
    scores: np.ndarray  # n: 0 to 1, the best first
    classes: np.ndarray  # n, C + 1: the last one is none
    vectors: np.ndarray | None = None  # n, F, where the detector gives them
    overall: np.ndarray | None = None  # F: the mean of all vectors, for the whole frame


def overlaps(box: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """Returns (n,): intersection over union of a box (4,) and others (n, 4); 0 for empty ones."""
    low = np.maximum(box[:2], boxes[:, :2])
    high = np.minimum(box[2:], boxes[:, 2:])
    common = np.prod(np.maximum(high - low, 0), axis=1)
    together = areas(box[None])[0] + areas(boxes) - common
    return common / np.maximum(together, 1e-9)


def areas(boxes: np.ndarray) -> np.ndarray:
    """Returns (n,): areas of boxes (n, 4)."""
    return np.prod(np.maximum(boxes[:, 2:] - boxes[:, :2], 0), axis=1)


def suppress(boxes: np.ndarray, scores: np.ndarray, limit: float) -> np.ndarray:
    """Returns indices of boxes to keep, the best first: none overlaps a better one over ``limit``.

    Of equal scores the earlier box is the better one.
    """
    waiting = np.argsort(-scores, kind="stable")
    kept: list[int] = []
    while len(waiting):
        best, waiting = waiting[0], waiting[1:]
        kept.append(int(best))
        waiting = waiting[overlaps(boxes[best], boxes[waiting]) <= limit]
    return np.array(kept, np.int64)


def suppress_by_class(
    boxes: np.ndarray, scores: np.ndarray, threshold: float, limit: float
) -> np.ndarray:
    """Returns indices of boxes to keep, the best first, for scores (n, C).

    A box belongs to its most likely class, if that reaches ``threshold``; boxes suppress each other
    within a class.
    """
    best, classes = scores.max(axis=1, initial=0.0), scores.argmax(axis=1)
    kept = [
        chosen[suppress(boxes[chosen], best[chosen], limit)]
        for index in np.unique(classes[best >= threshold])
        if len(chosen := np.flatnonzero((classes == index) & (best >= threshold)))
    ]
    if not kept:
        return np.empty(0, np.int64)
    indices = np.concatenate(kept)
    return indices[np.argsort(-best[indices], kind="stable")]


def with_none(scores: np.ndarray) -> np.ndarray:
    """Returns scores (n, C) as distributions (n, C + 1): none has what the best score leaves of 1.

    The best score is divided in proportion to the squares: of eighty independent scores the
    small ones would together outweigh the one that counts.
    """
    scores = np.clip(scores, 0.0, 1.0).astype(np.float64)
    best, squares = scores.max(axis=1, keepdims=True, initial=0.0), scores**2
    shares = best * squares / np.maximum(squares.sum(axis=1, keepdims=True), 1e-12)
    return np.concatenate([shares, 1.0 - best], axis=1).astype(np.float32)


def one_class(count: int, classes: int, index: int) -> np.ndarray:
    """Returns (count, classes + 1): each row is class ``index`` alone; -1 is none."""
    rows = np.zeros((count, classes + 1), np.float32)
    rows[:, index] = 1.0
    return rows


def inside(boxes: np.ndarray, height: int, width: int) -> np.ndarray:
    """Returns boxes clipped at the frame's edges, (n, 4) float32."""
    return np.clip(boxes, 0, [width, height, width, height]).astype(np.float32)
