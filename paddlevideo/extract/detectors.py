"""Regions and their vectors by ONNX networks."""

from __future__ import annotations

from typing import Any

import numpy as np

from paddlevideo.extract.actions import averaged
from paddlevideo.extract.boxes import Detections, inside, one_class, suppress_by_class, with_none
from paddlevideo.extract.images import cropped, image_batch, pooled, to_frame, to_input
from paddlevideo.extract.network import Network
from paddlevideo.extract.picodet import decode_heads
from paddlevideo.extract.schema import BoxesDetector, CropVectors, MapVectors, PicodetDetector
from paddlevideo.extract.settings import class_names
from paddlevideo.utils.errors import DataError

DETECTOR, VECTORS = "regions.detector.model", "regions.vectors.model"
SMALLEST = 1.0  # pixels on a side: a smaller box is not a region


class OnnxRegions:
    """A detector; ``classes`` is known once it has run."""

    follows = False

    def __init__(self, settings: PicodetDetector | BoxesDetector, threads: int = 0) -> None:
        self.settings = settings
        names = class_names(settings.classes)
        self.names = None if names is None else [*names, "none"]
        self.network = Network(
            settings.model, self._outputs(), DETECTOR, settings.input.name, threads
        )
        #: The number of classes without "none".
        self.classes = len(names) if names else 0

    def _outputs(self) -> list[str]:
        if isinstance(self.settings, PicodetDetector):
            return [*self.settings.outputs.scores, *self.settings.outputs.boxes]
        return [name for name in vars(self.settings.outputs).values() if name]

    def find(self, frame: np.ndarray, after: np.ndarray) -> Detections:
        """Returns the regions of a frame (h, w, 3) uint8 BGR. Raises DataError."""
        settings = self.settings
        outputs = self.network.run(image_batch([frame], settings.input))
        if isinstance(settings, PicodetDetector):
            half = len(settings.strides)
            boxes, scores = decode_heads(
                outputs[:half], outputs[half:], settings.strides, settings.input.size
            )
            vectors = None
        else:
            boxes, scores, vectors = self._parse(settings, outputs)
        self._check_classes(scores.shape[1])
        boxes = inside(to_frame(boxes, frame.shape, settings.input), *frame.shape[:2])
        is_large = ((boxes[:, 2:] - boxes[:, :2]) >= SMALLEST).all(axis=1)
        kept = suppress_by_class(
            boxes, np.where(is_large[:, None], scores, -1.0), settings.score_threshold, settings.nms
        )
        best = scores[kept].max(axis=1, initial=0.0)
        detections = Detections(boxes[kept], best, with_none(scores[kept]))
        if vectors is None:
            return detections
        overall = vectors.mean(axis=0) if len(vectors) else np.zeros(vectors.shape[1], np.float32)
        return detections._replace(vectors=vectors[kept], overall=overall)

    def whole(self, frame: np.ndarray) -> np.ndarray:
        """Returns the class distribution (1, C + 1) of the whole frame: none."""
        return one_class(1, self.classes, -1)

    def _check_classes(self, classes: int) -> None:
        if self.names is not None and classes != len(self.names) - 1:
            raise DataError(
                f"{DETECTOR}: scores of {classes} classes, but {len(self.names) - 1} class names"
            )
        self.classes = classes

    def _parse(
        self, settings: BoxesDetector, outputs: list[np.ndarray]
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
        """Returns boxes (n, 4) in the input's pixels, scores (n, C) and vectors of all outputs."""
        keys = [key for key, name in vars(settings.outputs).items() if name]
        rows = dict(zip(keys, outputs, strict=True))
        for key, array in rows.items():
            dimensions = 1 if key == "classes" else 2
            while array.ndim > dimensions and len(array) == 1:
                array = array[0]
            rows[key] = array
        boxes = rows["boxes"].reshape(-1, 4).astype(np.float64)
        scores = self._scores(rows["scores"], rows.get("classes"), len(boxes))
        vectors = rows.get("vectors")
        if vectors is not None and (vectors.ndim != 2 or len(vectors) != len(boxes)):
            raise DataError(f"{DETECTOR}: vectors {vectors.shape} for {len(boxes)} boxes")
        if settings.box_units == "relative":
            boxes = boxes * np.tile(settings.input.size[::-1], 2)
        return _as_corners(boxes, settings.box_format), scores, vectors

    def _scores(self, scores: np.ndarray, classes: np.ndarray | None, count: int) -> np.ndarray:
        """Returns (n, C): where scores are of the best class alone, each row has one entry."""
        if classes is None:
            if scores.ndim == 2 and len(scores) == count:
                return scores
            if scores.size == count and self.classes <= 1:
                return scores.reshape(count, 1)
            raise DataError(
                f"{DETECTOR}: scores of shape {scores.shape} for {count} boxes: name the output "
                "with their classes too"
            )
        indices, flat = classes.reshape(-1).astype(int), scores.reshape(-1)
        if not len(indices) == len(flat) == count:
            raise DataError(
                f"{DETECTOR}: {len(flat)} scores, {len(indices)} classes, {count} boxes"
            )
        if not self.classes:
            raise DataError(f"{DETECTOR}: give the class names: only they say how many there are")
        rows = np.zeros((count, self.classes), np.float32)
        known = (indices >= 0) & (indices < self.classes)  # padding has -1
        rows[np.flatnonzero(known), indices[known]] = flat[known]
        return rows


def _as_corners(boxes: np.ndarray, kind: str) -> np.ndarray:
    if kind == "yxyx":
        return boxes[:, [1, 0, 3, 2]]
    if kind == "cxcywh":
        half = boxes[:, 2:] / 2
        return np.concatenate([boxes[:, :2] - half, boxes[:, :2] + half], axis=1)
    return boxes


class NetworkVectors:
    """Vectors of boxes by a network with one output."""

    def __init__(self, settings: CropVectors | MapVectors, threads: int = 0) -> None:
        self.settings: Any = settings
        name = settings.input.name
        self.network = Network(settings.model, [settings.output], VECTORS, name, threads)


class CropRegions(NetworkVectors):
    """Vectors of boxes, each seen as an image of its own."""

    def describe(self, frame: np.ndarray, boxes: np.ndarray) -> np.ndarray:
        """Returns (n, F) for boxes (n, 4) in pixels of a frame. Raises DataError."""
        settings = self.settings
        images = [cropped(frame, box, settings.margin) for box in boxes]
        rows = []
        for start in range(0, len(images), settings.batch):
            batch = images[start : start + settings.batch]
            (output,) = self.network.run(image_batch(batch, settings.input))
            rows.append(averaged(output, len(batch)))
        return np.concatenate(rows)


class MapRegions(NetworkVectors):
    """Vectors of boxes: the map of the whole frame, averaged in each."""

    def describe(self, frame: np.ndarray, boxes: np.ndarray) -> np.ndarray:
        """Returns (n, F) for boxes (n, 4) in pixels of a frame. Raises DataError."""
        settings = self.settings
        (plane,) = self.network.run(image_batch([frame], settings.input))
        if plane.ndim != 4 or len(plane) != 1:
            raise DataError(
                f"{VECTORS}: the output {settings.output} has shape {plane.shape}, where a map "
                "(1, F, h, w) is expected"
            )
        placed = to_input(boxes, frame.shape, settings.input)
        cells = np.array([plane.shape[3], plane.shape[2]]) / settings.input.size[::-1]
        return pooled(plane[0], placed * np.tile(cells, 2), settings.points)
