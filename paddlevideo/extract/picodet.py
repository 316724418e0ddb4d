"""The raw heads of PicoDet: for each cell of a few grids, class scores and four distributions.

A cell's box is given by the distances of its four sides from the cell's centre; each distance is
the mean of a distribution over 0, 1, ..., bins - 1 strides.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from paddlevideo.utils.errors import DataError


def decode_heads(
    scores: Sequence[np.ndarray],
    distances: Sequence[np.ndarray],
    strides: Sequence[int],
    size: tuple[int, int],
) -> tuple[np.ndarray, np.ndarray]:
    """Returns boxes (n, 4) in pixels of the input, and scores (n, C), of all cells and strides.

    ``scores``: for each stride (1, cells, C), 0 to 1; ``distances``: (1, cells, 4 * bins) before
    the softmax; ``size``: the input's height and width. Raises DataError where the cells do not
    fit the strides.
    """
    boxes = []
    for stride, head in zip(strides, distances, strict=True):
        centres = grid_centres(stride, size)
        logits = head.reshape(-1, head.shape[-1])
        if len(logits) != len(centres) or logits.shape[1] % 4:
            raise DataError(
                f"a head of shape {head.shape} for stride {stride}: {len(centres)} cells with "
                "four distributions each were expected. Are strides and input size right, and are "
                "the outputs named in that order?"
            )
        sides = expectations(logits.reshape(len(logits), 4, -1)) * stride
        boxes.append(np.concatenate([centres - sides[:, :2], centres + sides[:, 2:]], axis=1))
    rows = [head.reshape(-1, head.shape[-1]) for head in scores]
    if [len(head) for head in rows] != [len(head) for head in boxes]:
        shapes = ", ".join(str(head.shape) for head in scores)
        raise DataError(f"scores of shapes {shapes} do not fit the boxes: is the order the same?")
    return np.concatenate(boxes), np.concatenate(rows)


def grid_centres(stride: int, size: tuple[int, int]) -> np.ndarray:
    """Returns (cells, 2): x and y of the centres of a grid's cells, row by row."""
    height, width = (-(-side // stride) for side in size)
    y, x = np.mgrid[:height, :width]
    return (np.stack([x.ravel(), y.ravel()], axis=1) + 0.5) * stride


def expectations(logits: np.ndarray) -> np.ndarray:
    """Returns means (...) of distributions over 0 to bins - 1, from logits (..., bins)."""
    powers = np.exp(logits.astype(np.float64) - logits.max(axis=-1, keepdims=True))
    shares = powers / powers.sum(axis=-1, keepdims=True)
    return shares @ np.arange(logits.shape[-1])
