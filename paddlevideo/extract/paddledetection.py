"""The outputs of detectors as PaddleDetection exports them, with their post-processing."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from paddlevideo.extract.schema import RowsOutputs
from paddlevideo.utils.errors import DataError

COLUMNS = 6  # class, score, x1, y1, x2, y2


def recognized(outputs: Mapping[str, np.ndarray]) -> RowsOutputs:
    """Returns the names of the rows (n, 6) and of their number per image, by shapes and types.

    Raises DataError if no output has such rows.
    """
    rows = [name for name, each in outputs.items() if each.shape[1:] == (COLUMNS,)]
    if not rows:
        shapes = ", ".join(f"{name} {each.shape}" for name, each in outputs.items())
        raise DataError(
            "no output has rows of class, score, x1, y1, x2, y2, as an export with post-processing "
            f"has; the outputs are: {shapes}. Name them in outputs, or use another detector.name"
        )
    counts = [name for name, each in outputs.items() if each.ndim == 1 and each.dtype.kind == "i"]
    return RowsOutputs(rows[0], counts[0] if counts else None)


def rows_by_image(
    outputs: Mapping[str, np.ndarray], names: RowsOutputs, images: int
) -> list[np.ndarray] | None:
    """Returns the rows (n, 6) of each image; None where the counts are not those of the images.

    Raises DataError where the rows have another shape.
    """
    assert names.rows is not None
    rows = outputs[names.rows]
    if rows.ndim != 2 or rows.shape[1] != COLUMNS:
        raise DataError(
            f"the output {names.rows} has the shape {rows.shape}, where rows (n, {COLUMNS}) of "
            "class, score, x1, y1, x2, y2 are expected"
        )
    if names.count is None:
        return [rows] if images == 1 else None
    counts = outputs[names.count].reshape(-1).astype(np.int64)
    if len(counts) != images or counts.min(initial=0) < 0 or counts.sum() != len(rows):
        return None
    return np.split(rows, np.cumsum(counts)[:-1])
