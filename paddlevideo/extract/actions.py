"""Action vectors by an ONNX network that sees the frames of a window at once."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from paddlevideo.extract.images import clip_batch, fitted
from paddlevideo.extract.network import Network
from paddlevideo.extract.schema import OnnxActions
from paddlevideo.extract.settings import class_names
from paddlevideo.utils.errors import DataError

WHERE = "actions.vectors.model"


class OnnxMotion:
    """Vectors (m, G), and the most likely class of each window where the network gives scores."""

    def __init__(self, settings: OnnxActions, threads: int = 0) -> None:
        self.settings, self.names = settings, class_names(settings.classes)
        outputs = settings.outputs
        names = [outputs.vector] + ([outputs.scores] if outputs.scores else [])
        self.network = Network(settings.model, names, WHERE, settings.input.name, threads)

    def reduce(self, frame: np.ndarray) -> np.ndarray:
        """Returns what is kept of a frame until its window is complete."""
        return fitted(frame, self.settings.input)

    def describe(
        self, windows: Sequence[np.ndarray], interval: float
    ) -> tuple[np.ndarray, np.ndarray]:
        """Returns vectors (m, G) and classes (m,), -1 without scores, of windows (T, h, w, 3).

        Raises DataError where the network fails.
        """
        vectors, classes = [], []
        for window in windows:
            vector, *scores = self.network.run(clip_batch(window, self.settings.input))
            vectors.append(averaged(vector, 1)[0])
            classes.append(self._class(scores[0]) if scores else -1)
        return np.stack(vectors), np.array(classes, np.int64)

    def _class(self, scores: np.ndarray) -> int:
        row = averaged(scores, 1)[0]
        if self.names is not None and len(row) != len(self.names):
            raise DataError(
                f"{WHERE}: {len(row)} scores of the output {self.settings.outputs.scores}, but "
                f"{len(self.names)} class names"
            )
        return int(row.argmax())


def averaged(output: np.ndarray, rows: int) -> np.ndarray:
    """Returns an output (rows, F, ...) as (rows, F): further dimensions are averaged."""
    if output.ndim == 1 and rows == 1:
        output = output[None]
    if output.ndim < 2 or len(output) != rows:
        raise DataError(f"an output of shape {output.shape}, where ({rows}, features) is expected")
    return output.reshape(*output.shape[:2], -1).mean(axis=2)
