"""Regions without weights: patches of one colour, what stands out, and what moves.

Their classes are named colours and textures. This finds things that differ from what is around
them; it knows no kinds of things.
"""

from __future__ import annotations

import numpy as np

from paddlevideo.extract.boxes import Detections, areas, inside, suppress
from paddlevideo.extract.classical.colours import COLOURS
from paddlevideo.extract.classical.patches import Patches, histogram, means
from paddlevideo.extract.classical.planes import PlaneCache, Planes
from paddlevideo.extract.classical.vivid import find_vivid, label_hues
from paddlevideo.extract.schema import ClassicalDetector
from paddlevideo.utils.opencv import cv2

TEXTURES = ("plain", "lined", "patterned")
SMALLEST, LARGEST = 0.004, 0.8  # of the frame
OVERLAP = 0.4
#: Most regions of a frame, and the number below which its quarters are added.
MOST, FEW = 12, 2
#: Levels of grey by which a pixel that moves differs in the later frame.
MOVED = 12
#: Hues that are told apart among vivid pixels.
MOST_HUES = 4
#: Patches of what moves are worth less: a thing that moves leaves strips where it was.
MOVED_WEIGHT = 0.7
#: Boxes stay that have this share of the best one's score.
LEAST_SCORE = 0.6
#: A box is a part of another with this share of its area in it; its score counts that much.
PART, PART_SCORE = 0.8, 0.6
QUARTERS = np.array([[0, 0, 1, 1], [1, 0, 2, 1], [0, 1, 1, 2], [1, 1, 2, 2]]) / 2


class ClassicalRegions:
    """Finds regions in a frame, with the help of a later frame."""

    follows = True
    names: list[str] | None = [
        f"{colour} {texture}" for colour in COLOURS for texture in TEXTURES
    ] + ["none"]

    def __init__(self, settings: ClassicalDetector, planes: PlaneCache | None = None) -> None:
        self.side, self.planes = settings.side, planes or PlaneCache()

    def find(self, frame: np.ndarray, after: np.ndarray) -> Detections:
        """Returns the regions of a frame (h, w, 3) uint8 BGR; ``after`` may be the same frame."""
        planes, later = self.planes(frame, self.side), self.planes(after, self.side)
        moved = _moved(planes, later)
        boxes, fills, weights = _candidates(planes, moved)
        scores = weights * _scores(planes, moved, boxes, fills)
        kept = suppress(boxes, scores, OVERLAP)
        boxes, scores = boxes[kept], _without_parts(boxes[kept], scores[kept])
        best = np.argsort(-scores, kind="stable")[:MOST]
        best = best[scores[best] >= LEAST_SCORE * scores.max(initial=0.0)]
        boxes, scores = boxes[best], scores[best]
        if len(boxes) < FEW:
            quarters = QUARTERS * np.tile([planes.width, planes.height], 2)
            boxes, scores = np.concatenate([boxes, quarters]), np.append(scores, [0.05] * 4)
        boxes = inside(boxes / np.tile(planes.scale, 2), *frame.shape[:2])
        return Detections(boxes, scores, _classes(planes, boxes, scores))

    def whole(self, frame: np.ndarray) -> np.ndarray:
        """Returns the class distribution (1, C + 1) of the whole frame."""
        box = np.array([[0, 0, frame.shape[1], frame.shape[0]]], np.float32)
        return _classes(self.planes(frame, self.side), box, np.ones(1))


def _moved(planes: Planes, later: Planes) -> np.ndarray:
    """Returns (h, w) bool: what differs in the later frame; nothing where the whole frame does."""
    first, second = (cv2.GaussianBlur(each.grey, (5, 5), 0) for each in (planes, later))
    moved = cv2.absdiff(first, second) > MOVED
    return np.asarray(moved) if moved.mean() < 0.5 else np.zeros_like(moved)


def _classes(planes: Planes, boxes: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """Returns (n, C + 1): the figure's named colours by the box's textures, and none."""
    patches = Patches.of(planes, boxes)
    colours = histogram(patches.sample(planes.colour), len(COLOURS), patches.figure)
    shares = colours[:, :, None] * _textures(patches, planes)[:, None, :]
    named = shares.reshape(len(boxes), -1) * scores[:, None]
    return np.concatenate([named, 1.0 - scores[:, None]], axis=1).astype(np.float32)


def _textures(patches: Patches, planes: Planes) -> np.ndarray:
    """Returns (n, 3): how plain, lined and patterned figures are; each row's sum is 1.

    Lined: edges run in one direction. The outline is left out: it is not texture.
    """
    across, along = (patches.sample(plane) for plane in planes.gradient)
    squares = [across**2 + along**2, across**2 - along**2, 2 * across * along]
    energy, difference, product = means(np.stack(squares, axis=2), patches.inside).T
    one_way = np.hypot(difference, product)
    coherent = one_way / (energy + 1.0)
    plain = np.exp(-energy / 60)
    rough = 1 - plain
    return np.stack([plain, rough * coherent, rough * (1 - coherent)], axis=1)


# -------------------------------------------------------------------------- candidates


def _candidates(planes: Planes, moved: np.ndarray) -> tuple[np.ndarray, ...]:
    """Returns boxes (n, 4) in small pixels, the share of each that its own pixels fill, and weights
    of their scores.
    """
    smooth = np.asarray(cv2.medianBlur(planes.colour, 5))
    counts = np.bincount(smooth.ravel())
    masks = [smooth == index for index in np.flatnonzero(counts > SMALLEST * smooth.size)]
    hues, number = label_hues(find_vivid(planes.lab[None]), MOST_HUES)
    masks += [_closed(hues[0] == index) for index in range(1, number + 1)]
    still = [_patches(mask) for mask in (*masks, planes.outstanding)]
    moving = _patches(cv2.dilate(moved.astype(np.uint8), np.ones((5, 5), np.uint8)))
    rows = np.concatenate([*still, moving])
    weights = np.repeat([1.0, MOVED_WEIGHT], [len(rows) - len(moving), len(moving)])
    share = rows[:, 4] / smooth.size
    kept = (share > SMALLEST) & (share < LARGEST)
    rows = rows[kept]
    fills = rows[:, 4] / np.maximum((rows[:, 2:4] - rows[:, :2]).prod(axis=1), 1)
    return rows[:, :4], fills, weights[kept]


def _closed(mask: np.ndarray) -> np.ndarray:
    return cv2.morphologyEx(mask.astype(np.uint8), cv2.MORPH_CLOSE, np.ones((3, 3), np.uint8))


def _patches(mask: np.ndarray) -> np.ndarray:
    """Returns (n, 5): x1 y1 x2 y2 and pixels of each connected patch."""
    _, _, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=4)
    left, top, width, height, area = np.asarray(stats[1:], float).T
    return np.stack([left, top, left + width, top + height, area], axis=1)


def _scores(planes: Planes, moved: np.ndarray, boxes: np.ndarray, fills: np.ndarray) -> np.ndarray:
    """Returns (n,), 0 to 1: contrast with the surroundings, how full a box is, how much moves."""
    stacked = np.concatenate([planes.lab, moved[..., None].astype(np.float32)], axis=2)
    sums = np.asarray(cv2.integral(stacked))
    limits = np.tile([planes.width, planes.height], 2)
    margin = np.tile((boxes[:, 2:] - boxes[:, :2]) * 0.3 + 2, 2) * [-1, -1, 1, 1]
    around = np.clip(np.round(boxes + margin), 0, limits).astype(int)
    inner, outer = _box_sums(sums, boxes.astype(int)), _box_sums(sums, around)
    area = np.prod(boxes[:, 2:] - boxes[:, :2], axis=1)[:, None]
    ring = np.prod(around[:, 2:] - around[:, :2], axis=1)[:, None] - area
    inside_means, ring_means = inner / area, (outer - inner) / np.maximum(ring, 1)
    # Shadows and seams differ in lightness: it counts half.
    distance = np.linalg.norm((inside_means - ring_means)[:, :3] * [0.5, 1, 1], axis=1)
    contrast = distance / (distance + 20)
    moving = np.clip(2 * inside_means[:, 3], 0, 1)
    at_edge = (boxes == [0, 0, 0, 0]) | (boxes == np.where([0, 0, 1, 1], limits, -1))
    # A box along several edges of the frame is a piece of the background.
    share = 1 - 0.2 * at_edge.reshape(-1, 4).sum(axis=1)
    return np.clip(0.45 * contrast + 0.25 * fills + 0.3 * moving, 0.0, 1.0) * share


def _without_parts(boxes: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """Returns the scores (n,), lower for boxes inside of one with a better score: its parts."""
    low = np.maximum(boxes[:, None, :2], boxes[None, :, :2])
    high = np.minimum(boxes[:, None, 2:], boxes[None, :, 2:])
    share = np.maximum(high - low, 0).prod(axis=2) / areas(boxes)[:, None]
    is_part = np.triu(share.T > PART, 1).any(axis=0)
    return np.where(is_part, scores * PART_SCORE, scores)


def _box_sums(sums: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    x1, y1, x2, y2 = boxes.T
    return sums[y2, x2] - sums[y1, x2] - sums[y2, x1] + sums[y1, x1]
