"""Action vectors by networks: of the frames of a window at once, or of single frames."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from paddlevideo.extract.images import clip_batch, fitted, image_batch
from paddlevideo.extract.network import Network
from paddlevideo.extract.schema import FrameActions, NetworkActions
from paddlevideo.extract.settings import class_names
from paddlevideo.utils.errors import DataError

WHERE = "actions.vectors.model"


class _NetworkMotion:
    def __init__(self, settings: NetworkActions | FrameActions, threads: int = 0) -> None:
        self.settings: Any = settings
        self.names = class_names(settings.classes)
        outputs = settings.outputs
        names = [outputs.vector]
        # The only output of a classifier is both.
        if outputs.scores or (self.names and outputs.vector is None):
            names.append(outputs.scores)
        self.network = Network(settings.model, names, WHERE, settings.input.name, threads)

    def reduce(self, frame: np.ndarray) -> np.ndarray:
        """Returns what is kept of a frame until its window is complete."""
        return fitted(frame, self.settings.input)

    def _classes(self, scores: Sequence[np.ndarray], rows: int) -> np.ndarray:
        """Returns the likeliest class (m,) of outputs (m, K); -1 without scores."""
        if not scores:
            return np.full(rows, -1, np.int64)
        (table,) = scores
        if self.names is not None and table.shape[1] != len(self.names):
            raise DataError(
                f"{WHERE}: {table.shape[1]} scores of the output {self.network.outputs[-1]}, "
                f"but {len(self.names)} class names"
            )
        return table.argmax(axis=1).astype(np.int64)


class NetworkMotion(_NetworkMotion):
    """Vectors (m, G), and the most likely class of each window where the network gives scores."""

    def describe(
        self, windows: Sequence[np.ndarray], interval: float
    ) -> tuple[np.ndarray, np.ndarray]:
        """Returns vectors (m, G) and classes (m,), -1 without scores, of windows (T, h, w, 3).

        Raises DataError where the network fails.
        """
        clips = np.concatenate([clip_batch(window, self.settings.input) for window in windows])
        outputs = self.network.run_rows(clips, self.settings.batch)
        vectors, *scores = [averaged(output, len(windows)) for output in outputs]
        return vectors, self._classes(scores, len(windows))


class FrameMotion(_NetworkMotion):
    """Vectors (m, G) or (m, 2 G) of windows by a network that sees single frames."""

    def describe(
        self, windows: Sequence[np.ndarray], interval: float
    ) -> tuple[np.ndarray, np.ndarray]:
        """Returns vectors and classes (m,), -1 without scores, of windows (T, h, w, 3).

        A vector is the mean of the frames' vectors, followed by the mean of the second half minus
        that of the first (of an odd number of frames, the middle one is in neither). Raises
        DataError where the network fails.
        """
        frames = [frame for window in windows for frame in window]
        images = image_batch(frames, self.settings.input)
        outputs = self.network.run_rows(images, self.settings.batch)
        count, length = len(windows), len(windows[0])
        vectors, *scores = [  # count, length, G or K
            averaged(output, len(frames)).reshape(count, length, -1) for output in outputs
        ]
        rows, half = vectors.mean(axis=1), length // 2
        if self.settings.change:
            change = vectors[:, -half:].mean(axis=1) - vectors[:, :half].mean(axis=1)
            rows = np.concatenate([rows, change], axis=1)
        return rows, self._classes([each.mean(axis=1) for each in scores], count)


def averaged(output: np.ndarray, rows: int) -> np.ndarray:
    """Returns an output (rows, F, ...) as (rows, F): further dimensions are averaged."""
    if output.ndim < 2 or len(output) != rows:
        raise DataError(f"an output of shape {output.shape}, where ({rows}, features) is expected")
    return output.reshape(*output.shape[:2], -1).mean(axis=2)
