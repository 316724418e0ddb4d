"""Samples to batches."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from paddlevideo.utils.errors import DataError

Batch = dict[str, Any]


class Collator:
    """Stacks samples into ``batch``: integers as int64, floats as float32, text as a list.

    >>> collator = Collator(len(samples))
    >>> for sample in samples:
    ...     collator.add(sample, lambda: "the clip's name")
    """

    def __init__(self, size: int):
        self.size, self.filled = size, 0
        self.batch: Batch = {}
        self.first: Callable[[], str] = str

    def add(self, sample: dict[str, Any], name: Callable[[], str]) -> None:
        """Copies a sample into the next row. ``name`` is only called for messages.

        Raises DataError naming key and clips if samples differ in keys or shapes.
        """
        if self.filled == 0:
            self.first = name
            self.batch = {key: self._space(np.asarray(value)) for key, value in sample.items()}
        elif sample.keys() != self.batch.keys():
            odd = sorted(sample.keys() ^ self.batch.keys())
            raise DataError(f'clip "{name()}" and clip "{self.first()}" differ in the keys {odd}')
        for key, value in sample.items():
            space = self.batch[key]
            if isinstance(space, list):
                space.append(value)
            elif np.shape(value) != space.shape[1:]:
                raise DataError(
                    f'{key} of clip "{name()}" has shape {np.shape(value)}, that of clip '
                    f'"{self.first()}" {space.shape[1:]}. A batch needs equal shapes: pad them in '
                    "the pipeline"
                )
            else:
                space[self.filled] = value
        self.filled += 1

    def _space(self, array: np.ndarray) -> np.ndarray | list[Any]:
        if array.dtype.kind not in "biuf":
            return []
        dtype = np.float32 if array.dtype.kind == "f" else np.int64
        return np.empty((self.size, *array.shape), dtype)
