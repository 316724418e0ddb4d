"""Small networks with the inputs and outputs of PaddleDetection's, PaddleClas's and PaddleVideo's.

Exported as those projects do, with ``paddle.jit.save``: by Paddle 2.6 and 3 as a ``.pdmodel``, by
Paddle 3 also as a ``.json``.
"""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path

import paddle
from paddle import nn
from paddle.static import InputSpec

#: The endings that this Paddle can export and run.
FORMS = (".pdmodel",) if paddle.__version__.startswith("2.") else (".pdmodel", ".json")


class _Scaled(nn.Layer):
    """Has a parameter, without which nothing is exported: a factor of 1."""

    def __init__(self):
        super().__init__()
        self.factor = self.create_parameter([1], default_initializer=nn.initializer.Constant(1.0))


class Detector(_Scaled):
    """Two boxes in each image, the left and the right half: class 0 as red as the image, 1 as blue.

    Like PP-YOLOE it divides boxes by ``scale_factor``, and like Faster R-CNN needs ``im_shape``.
    ``fixed``: as exported for single images.
    """

    def __init__(self, fixed: bool = False):
        super().__init__()
        self.count = 1 if fixed else -1

    def forward(self, image, im_shape, scale_factor):
        means = (image * self.factor).mean([2, 3])  # N, 3
        sides = im_shape.flip(1) / scale_factor.flip(1)
        zero, one = paddle.zeros_like(means[:, 0]), paddle.ones_like(means[:, 0])
        width, height = sides[:, 0], sides[:, 1]
        rows = [
            paddle.stack([zero, means[:, 0], zero, zero, width / 2, height], axis=1),
            paddle.stack([one, means[:, 2], width / 2, zero, width, height], axis=1),
        ]
        rows = paddle.stack(rows, axis=1)  # N, 2, 6
        counts = paddle.full_like(means[:, 0], 2, dtype="int32")
        if self.count == 1:
            return rows.reshape([-1, 6]), counts[:1]
        return rows.reshape([-1, 6]), counts


class Classifier(nn.Layer):
    """Features (n, 8) and probabilities (n, 4) of images; ``single``: the latter alone."""

    def __init__(self, single: bool = False):
        super().__init__()
        self.stem = nn.Conv2D(3, 8, 3, stride=2, padding=1)
        self.head = nn.Linear(8, 4)
        self.single = single

    def forward(self, image):
        features = nn.functional.relu(self.stem(image)).mean([2, 3])
        scores = nn.functional.softmax(self.head(features))
        return scores if self.single else (features, scores)


class Map(_Scaled):
    """The mean colours of an image's blocks of 8 x 8: (n, 3, h / 8, w / 8)."""

    def forward(self, image):
        return nn.functional.avg_pool2d(image * self.factor, 8, 8)


class VideoNetwork(nn.Layer):
    """Scores (n, 3) of clips (n, T, 3, h, w), as those of PP-TSM: frames are rows of a batch."""

    def __init__(self, frames: int = 4):
        super().__init__()
        self.frames, self.stem = frames, nn.Conv2D(3, 6, 3, stride=2, padding=1)
        self.head = nn.Linear(6, 3)

    def forward(self, data_batch):
        height, width = data_batch.shape[3:]
        images = data_batch.reshape([-1, 3, height, width])
        features = nn.functional.relu(self.stem(images)).mean([2, 3])
        return self.head(features.reshape([-1, self.frames, 6]).mean(1))


class Rootless(_Scaled):
    """The square roots (n, 3) of mean colours minus a half: NaN for dark images."""

    def forward(self, image):
        return (image.mean([2, 3]) * self.factor - 0.5).sqrt()


def export(layer: nn.Layer, path: Path, form: str, *shapes) -> Path:
    """Exports a layer for inputs of these shapes, named as ``forward`` names them; the program."""
    names = layer.forward.__code__.co_varnames[1 : layer.forward.__code__.co_argcount]
    spec = [InputSpec(shape, "float32", name) for shape, name in zip(shapes, names, strict=True)]
    layer.eval()
    is_old = form == ".pdmodel" and ".json" in FORMS
    with paddle.pir_utils.DygraphOldIrGuard() if is_old else nullcontext():
        paddle.jit.save(layer, str(path), input_spec=spec)
    return path.with_suffix(form)


def export_detector(path: Path, form: str, fixed: bool = False) -> Path:
    """Exports a detector for frames of 48 x 64."""
    shapes = [[-1, 3, 48, 64], [-1, 2], [-1, 2]]
    return export(Detector(fixed), path, form, *shapes)
