"""Images for networks: resized, normalised, laid out; and coordinates in them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from paddlevideo.extract.schema import ImageInput
from paddlevideo.utils.opencv import cv2


def smaller(frame: np.ndarray, side: int) -> np.ndarray:
    """Returns a frame (h, w, 3) with at most ``side`` pixels on its long side."""
    scale = side / max(frame.shape[:2])
    if scale >= 1:
        return frame
    size = (max(round(frame.shape[1] * scale), 1), max(round(frame.shape[0] * scale), 1))
    return np.asarray(cv2.resize(frame, size, interpolation=cv2.INTER_AREA))


def fitted(frame: np.ndarray, settings: ImageInput) -> np.ndarray:
    """Returns a frame as (height, width, 3) uint8 BGR of the network's size."""
    height, width = settings.size
    if settings.fit == "stretch":
        return _resized(frame, (height, width))
    scale = _scale(frame.shape, settings)
    inner = tuple(max(round(side * scale), 1) for side in frame.shape[:2])
    sized = _resized(frame, (inner[0], inner[1]))
    if settings.fit == "crop":
        top, left = (max(inner[0] - height, 0) // 2, max(inner[1] - width, 0) // 2)
        sized = sized[top : top + height, left : left + width]
    canvas = np.zeros((height, width, 3), np.uint8)
    canvas[: sized.shape[0], : sized.shape[1]] = sized[:height, :width]
    return canvas


def _scale(shape: Sequence[int], settings: ImageInput) -> float:
    ratios = [target / side for target, side in zip(settings.size, shape[:2], strict=True)]
    return max(ratios) if settings.fit == "crop" else min(ratios)


def _resized(frame: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    shrinks = size[0] < frame.shape[0]
    kind = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(frame, (size[1], size[0]), interpolation=kind))


def mapping(shape: Sequence[int], settings: ImageInput) -> tuple[np.ndarray, np.ndarray]:
    """Returns ``scale`` and ``shift``, x y each: a point p of a frame is at p * scale + shift."""
    if settings.fit == "stretch":
        height, width = settings.size
        return np.array([width / shape[1], height / shape[0]]), np.zeros(2)
    scale = _scale(shape, settings)
    shift = np.zeros(2)
    if settings.fit == "crop":
        sides = [max(round(side * scale), 1) for side in shape[:2]]
        shift = -np.array(
            [max(sides[axis] - settings.size[axis], 0) // 2 for axis in (1, 0)], float
        )
    return np.array([scale, scale]), shift


def to_frame(boxes: np.ndarray, shape: Sequence[int], settings: ImageInput) -> np.ndarray:
    """Returns boxes (n, 4) in pixels of the input in pixels of a frame of ``shape``."""
    scale, shift = mapping(shape, settings)
    return (boxes - np.tile(shift, 2)) / np.tile(scale, 2)


def to_input(boxes: np.ndarray, shape: Sequence[int], settings: ImageInput) -> np.ndarray:
    """Returns boxes (n, 4) in pixels of a frame of ``shape`` in pixels of the input."""
    scale, shift = mapping(shape, settings)
    return boxes * np.tile(scale, 2) + np.tile(shift, 2)


def normalised(images: np.ndarray, settings: ImageInput) -> np.ndarray:
    """Returns images (n, h, w, 3) uint8 BGR normalised, float32, in the network's channel order."""
    if settings.colour == "rgb":
        images = images[..., ::-1]
    mean, std = (np.array(values, np.float32) for values in (settings.mean, settings.std))
    return (images.astype(np.float32) * np.float32(settings.scale) - mean) / std


def image_batch(images: Sequence[np.ndarray], settings: ImageInput) -> np.ndarray:
    """Returns images of any size as a batch (n, 3, h, w) or (n, h, w, 3), by the layout."""
    batch = normalised(np.stack([fitted(image, settings) for image in images]), settings)
    return batch if settings.layout == "NHWC" else batch.transpose(0, 3, 1, 2)


def clip_batch(frames: np.ndarray, settings: ImageInput) -> np.ndarray:
    """Returns frames (T, h, w, 3) uint8 of the network's size as a batch of one clip."""
    clip = normalised(frames, settings)[None]
    orders = {"NTHWC": (0, 1, 2, 3, 4), "NTCHW": (0, 1, 4, 2, 3), "NCTHW": (0, 4, 1, 2, 3)}
    return clip.transpose(orders[settings.layout])


def cropped(frame: np.ndarray, box: np.ndarray, margin: float) -> np.ndarray:
    """Returns a box (4,) of a frame with ``margin`` of its sides around it; at least one pixel."""
    grow = np.array([box[2] - box[0], box[3] - box[1]]) * margin
    x1, y1 = np.floor(box[:2] - grow).astype(int)
    x2, y2 = np.ceil(box[2:] + grow).astype(int)
    height, width = frame.shape[:2]
    left, top = (min(max(low, 0), size - 1) for low, size in ((x1, width), (y1, height)))
    return frame[top : max(min(y2, height), top + 1), left : max(min(x2, width), left + 1)]


def pooled(plane: np.ndarray, boxes: np.ndarray, points: int) -> np.ndarray:
    """Returns (n, F): a map (F, h, w) averaged over ``points`` x ``points`` positions in each box.

    ``boxes`` (n, 4) in cells of the map; values are interpolated between cells.
    """
    steps = (np.arange(points) + 0.5) / points
    rows = []
    for x1, y1, x2, y2 in boxes:
        x, y = x1 + steps * (x2 - x1) - 0.5, y1 + steps * (y2 - y1) - 0.5
        rows.append(
            (_weights(y, plane.shape[1]).T @ plane @ _weights(x, plane.shape[2])).mean((1, 2))
        )
    return np.stack(rows) if rows else np.empty((0, len(plane)), np.float32)


def _weights(positions: np.ndarray, cells: int) -> np.ndarray:
    """Returns (cells, points): weights of linear interpolation."""
    positions = np.clip(positions, 0, cells - 1)
    low = np.floor(positions).astype(int)
    share = positions - low
    weights = np.zeros((cells, len(positions)), np.float32)
    columns = np.arange(len(positions))
    np.add.at(weights, (low, columns), 1 - share)
    np.add.at(weights, (np.minimum(low + 1, cells - 1), columns), share)
    return weights
