"""Regions and their vectors by networks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from paddlevideo.extract.actions import averaged
from paddlevideo.extract.boxes import Detections, inside, one_class, suppress_by_class, with_none
from paddlevideo.extract.images import cropped, image_batch, pooled, to_frame, to_input
from paddlevideo.extract.network import Network
from paddlevideo.extract.paddledetection import recognized, rows_by_image
from paddlevideo.extract.picodet import decode_heads
from paddlevideo.extract.schema import (
    BoxesDetector,
    CropVectors,
    MapVectors,
    PaddleDetector,
    PicodetDetector,
    PicodetOutputs,
    RowsOutputs,
)
from paddlevideo.extract.settings import class_names
from paddlevideo.utils.errors import DataError

DETECTOR, VECTORS = "regions.detector.model", "regions.vectors.model"
SMALLEST = 1.0  # pixels on a side: a smaller box is not a region


#: Boxes (n, 4) in the input's pixels, scores (n, C), vectors (n, F) or None.
Found = tuple[np.ndarray, np.ndarray, np.ndarray | None]


class NetworkRegions:
    """A detector; ``classes`` is known once it has run."""

    follows = False

    def __init__(
        self, settings: PicodetDetector | BoxesDetector | PaddleDetector, threads: int = 0
    ) -> None:
        self.settings = settings
        names = class_names(settings.classes)
        self.names = None if names is None else [*names, "none"]
        self.network = Network(
            settings.model, self._outputs(), DETECTOR, settings.input.name, threads
        )
        #: The number of classes without "none".
        self.classes = len(names) if names else 0
        self._batch = settings.batch
        self._recognized: RowsOutputs | None = None

    def _outputs(self) -> list[str]:
        outputs = self.settings.outputs
        if isinstance(outputs, PicodetOutputs):
            return [*outputs.scores, *outputs.boxes]
        return [name for name in vars(outputs).values() if name]

    def find(self, frames: Sequence[np.ndarray]) -> list[Detections]:
        """Returns the regions of each frame (h, w, 3) uint8 BGR. Raises DataError."""
        settings = self.settings
        images = image_batch(frames, settings.input)
        if isinstance(settings, PicodetDetector):
            found = self._heads(settings, images)
        elif isinstance(settings, PaddleDetector):
            found = self._counted(settings, images)
        else:
            found = [self._parse(settings, self.network.run(image[None])) for image in images]
        return [self._detections(frame, *each) for frame, each in zip(frames, found, strict=True)]

    def _detections(
        self, frame: np.ndarray, boxes: np.ndarray, scores: np.ndarray, vectors: np.ndarray | None
    ) -> Detections:
        settings = self.settings
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

    def _heads(self, settings: PicodetDetector, images: np.ndarray) -> list[Found]:
        outputs = self.network.run_rows(images, self._batch)
        half = len(settings.strides)
        found: list[Found] = []
        for row in range(len(images)):
            heads = [output[row] for output in outputs]
            boxes, scores = decode_heads(
                heads[:half], heads[half:], settings.strides, settings.input.size
            )
            found.append((boxes, scores, None))
        return found

    def _counted(self, settings: PaddleDetector, images: np.ndarray) -> list[Found]:
        found: list[Found] = []
        while len(found) < len(images):
            batch = images[len(found) : len(found) + self._batch]
            outputs = dict(zip(self.network.outputs, self.network.run(batch), strict=True))
            try:
                by_image = rows_by_image(outputs, self._names(settings, outputs), len(batch))
            except DataError as error:
                raise DataError(f"{DETECTOR}: {settings.model}: {error}") from None
            if by_image is None and len(batch) > 1:
                self._batch = 1  # exported for single images
                continue
            if by_image is None:
                raise DataError(f"{DETECTOR}: {settings.model}: as many rows as it counts expected")
            for rows in by_image:
                scores = self._scores(rows[:, 1], rows[:, 0], len(rows))
                found.append((rows[:, 2:].astype(np.float64), scores, None))
        return found

    def _names(self, settings: PaddleDetector, outputs: Mapping[str, np.ndarray]) -> RowsOutputs:
        """Returns the names of outputs, in the settings or recognized at the first run."""
        if settings.outputs.rows is not None:
            return settings.outputs
        if self._recognized is None:
            names = self._recognized = recognized(outputs)
            counts = f', their number per image: "{names.count}"' if names.count else ""
            self.network.notes.append(
                f'{DETECTOR}: rows of boxes are the output "{names.rows}" of {settings.model}'
                f"{counts}"
            )
        return self._recognized

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


class Described(NamedTuple):
    """Vectors (n, F) of boxes, and their distributions over classes (n, C + 1), if known."""

    vectors: np.ndarray
    classes: np.ndarray | None = None


#: A frame (h, w, 3) uint8 BGR and boxes (n, 4) in its pixels.
Boxed = tuple[np.ndarray, np.ndarray]


class CropRegions:
    """Vectors of boxes, each seen as an image of its own; their classes too with ``scores``."""

    def __init__(self, settings: CropVectors, threads: int = 0) -> None:
        self.settings = settings
        self.gives_classes = settings.scores is not None
        names = class_names(settings.classes) if self.gives_classes else None
        self.names = None if names is None else [*names, "none"]
        outputs = [settings.output] + ([settings.scores] if settings.scores else [])
        self.network = Network(settings.model, outputs, VECTORS, settings.input.name, threads)

    def describe(self, boxed: Sequence[Boxed]) -> Described:
        """Returns vectors (n, F) of all boxes, and classes (n, C + 1). Raises DataError."""
        settings = self.settings
        images = [cropped(frame, box, settings.margin) for frame, boxes in boxed for box in boxes]
        batch = image_batch(images, settings.input)
        outputs = self.network.run_rows(batch, settings.batch)
        vectors, *scores = [averaged(output, len(images)) for output in outputs]
        return Described(vectors, self._distributions(scores[0]) if scores else None)

    def _distributions(self, scores: np.ndarray) -> np.ndarray:
        """Returns probabilities (n, C + 1), the last of them 0: a region is of some class."""
        if self.names is not None and scores.shape[1] != len(self.names) - 1:
            raise DataError(
                f"{VECTORS}: {scores.shape[1]} scores of the output {self.settings.scores}, but "
                f"{len(self.names) - 1} class names"
            )
        rows = scores if _are_distributions(scores) else _softmax(scores)
        return np.concatenate([rows, np.zeros((len(rows), 1), np.float32)], axis=1)


def _are_distributions(scores: np.ndarray) -> bool:
    return bool((scores >= 0).all() and np.allclose(scores.sum(axis=1), 1, atol=1e-2))


def _softmax(scores: np.ndarray) -> np.ndarray:
    powers = np.exp(scores - scores.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


class MapRegions:
    """Vectors of boxes: the map of the whole frame, averaged in each."""

    def __init__(self, settings: MapVectors, threads: int = 0) -> None:
        self.settings = settings
        name = settings.input.name
        self.network = Network(settings.model, [settings.output], VECTORS, name, threads)

    def describe(self, boxed: Sequence[Boxed]) -> Described:
        """Returns vectors (n, F) of all boxes. Raises DataError."""
        settings = self.settings
        images = image_batch([frame for frame, _ in boxed], settings.input)
        (planes,) = self.network.run_rows(images, settings.batch)
        if planes.ndim != 4:
            raise DataError(
                f"{VECTORS}: the output {self.network.outputs[0]} has shape {planes.shape}, where "
                "a map (1, F, h, w) is expected"
            )
        rows = []
        for plane, (frame, boxes) in zip(planes, boxed, strict=True):
            placed = to_input(boxes, frame.shape, settings.input)
            cells = np.array([plane.shape[2], plane.shape[1]]) / settings.input.size[::-1]
            rows.append(pooled(plane, placed * np.tile(cells, 2), settings.points))
        return Described(np.concatenate(rows))
