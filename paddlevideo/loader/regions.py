"""Checks of what a clip's record holds, and the vectors that describe its boxes."""

from __future__ import annotations

import operator
from functools import cache
from typing import Any

import numpy as np

from paddlevideo.utils.errors import DataError

#: A box may leave the image by this many pixels: detectors round outwards.
BOX_TOLERANCE = 1.0


def as_count(value: Any, name: str, where: str) -> int:
    """``value`` as a whole number >= 0. Raises DataError naming it otherwise."""
    try:
        count = operator.index(value.item() if isinstance(value, np.generic) else value)
    except TypeError:
        raise DataError(f"{where}: {name} is {value!r:.60}, where a whole number belongs") from None
    if count < 0:
        raise DataError(f"{where}: {name} is {count}, where a number >= 0 belongs")
    return count


def as_matrix(array: Any, name: str, where: str, rows: int, width: int | None) -> np.ndarray:
    """``array`` as finite float32 of shape (rows, width); any width for None.

    float16 is converted, float32 is not copied. Raises DataError on another type or shape and
    on NaN or infinity.
    """
    if not isinstance(array, np.ndarray) or array.dtype.kind not in "fiu":
        raise DataError(f"{where}: {name} is not an array of numbers")
    expected = (rows, array.shape[-1] if width is None and array.ndim else width)
    if array.shape != expected:
        wanted = f"({rows}, {'any' if width is None else width})"
        raise DataError(f"{where}: {name} has shape {array.shape}, where {wanted} belongs")
    matrix = as_float32(array)
    # One cheap pass in the usual case: NaN and infinity survive a sum.
    with np.errstate(all="ignore"):
        suspicious = not np.isfinite(matrix.sum())
    if suspicious and not np.isfinite(matrix).all():
        row, column = np.argwhere(~np.isfinite(matrix))[0]
        raise DataError(
            f"{where}: {name}[{row}, {column}] is {matrix[row, column]}. "
            "Compute the features again or leave the clip out"
        )
    return matrix


@cache
def _half_values() -> np.ndarray:
    """The float32 value of every float16 bit pattern."""
    return np.arange(1 << 16, dtype=np.uint16).view(np.float16).astype(np.float32)


def as_float32(array: np.ndarray) -> np.ndarray:
    """``array`` as float32; float32 itself is not copied."""
    if array.dtype == np.float16 and array.flags.c_contiguous:
        # Three times as fast as astype, and exact. Patterns are 16 bits: none is clipped.
        return _half_values().take(array.view(np.uint16), mode="clip")
    return np.asarray(array, np.float32)


def check_boxes(boxes: np.ndarray, height: int, width: int, where: str) -> None:
    """Raises DataError unless all boxes (n, 4), x1 y1 x2 y2 in pixels, lie in the image."""
    if height < 1 or width < 1:
        raise DataError(f"{where}: an image of {height} x {width} pixels")
    if not len(boxes):
        return
    ordered = boxes.min() >= -BOX_TOLERANCE and (boxes[:, 2:] >= boxes[:, :2]).all()
    right, bottom = boxes[:, 2].max(), boxes[:, 3].max()
    if ordered and right <= width + BOX_TOLERANCE and bottom <= height + BOX_TOLERANCE:
        return
    limits = np.array([width, height, width, height]) + BOX_TOLERANCE
    bad = ((boxes < -BOX_TOLERANCE) | (boxes > limits)).any(axis=1)
    bad |= (boxes[:, 2:] < boxes[:, :2]).any(axis=1)
    number = int(np.argmax(bad))
    raise DataError(
        f"{where}: box {number} is {boxes[number].tolist()}, which is not x1 y1 x2 y2 in an "
        f"image {width} pixels wide and {height} high"
    )


def box_vectors(boxes: np.ndarray, height: int, width: int) -> np.ndarray:
    """Boxes (n, 4) in pixels to (n, 5) float32: x1/W, y1/H, x2/W, y2/H, area/(W*H)."""
    vectors = np.empty((len(boxes), 5), np.float32)
    vectors[:, 0:4:2] = boxes[:, 0::2] / width
    vectors[:, 1:4:2] = boxes[:, 1::2] / height
    sides = boxes[:, 2:] - boxes[:, :2]
    vectors[:, 4] = sides[:, 0] * sides[:, 1] / (width * height)
    return vectors


def as_caption(value: Any, where: str) -> str:
    """``value`` as text that is not blank. Raises DataError otherwise."""
    if not isinstance(value, str) or not value.strip():
        raise DataError(f"{where}: the caption is {value!r:.60}, where text belongs")
    return str(value)
