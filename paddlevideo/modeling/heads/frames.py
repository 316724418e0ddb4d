"""Labels of seconds from the states of the action stream.

B windows, A seconds, C classes, D the width of the action stream, W of the head.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import paddle
import paddle.nn.functional as F
from paddle import Tensor, nn

from paddlevideo.modeling.accuracy import Losses, class_hits
from paddlevideo.modeling.backbones.tangled import Streams
from paddlevideo.modeling.heads.task import Batch, Encode, TaskHead
from paddlevideo.modeling.layers import initial_range, linear
from paddlevideo.modeling.losses.actbert import IGNORED, class_loss
from paddlevideo.modeling.overlap import OverlapMean
from paddlevideo.registry import HEADS
from paddlevideo.utils.errors import ConfigError, WeightsError
from paddlevideo.utils.ranges import Count, NonNegative, Probability

if TYPE_CHECKING:
    from paddlevideo.modeling.backbones.actbert import BertForMultiModalPreTraining

NAMES = "class_names"
#: The largest change of a log probability that the smoothing loss sees.
LARGEST_CHANGE = 4.0


class VideoWindows(Protocol):
    """A video in windows; see ``paddlevideo.loader.timeline.windows.Windows``."""

    seconds: int

    def batches(self, size: int) -> Any:
        """Yields the first seconds of some windows, and their arrays."""


class DilatedLayer(nn.Layer):
    """A residual layer that sees the seconds t - d, t and t + d."""

    def __init__(self, width: int, dilation: int, dropout: float) -> None:
        super().__init__()
        self.dilation = dilation
        # A product of three shifted copies: Paddle's dilated convolution is slower on CPUs.
        self.mix = linear(3 * width, width)
        self.out = linear(width, width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """States (B, A, W) and mask (B, A, 1), 1 where a second is real -> (B, A, W)."""
        d, length = self.dilation, x.shape[1]
        padded = F.pad(x, [d, d], data_format="NLC")
        shifted = [padded[:, start : start + length] for start in (0, d, 2 * d)]
        mixed = F.relu(self.mix(paddle.concat(shifted, axis=-1)))
        return (x + self.dropout(self.out(mixed))) * mask


class Stage(nn.Layer):
    """Dilated layers, each of which sees twice as far as the one before, and a classifier."""

    def __init__(self, inputs: int, width: int, layers: int, classes: int, dropout: float) -> None:
        super().__init__()
        self.first = linear(inputs, width)
        self.layers = nn.LayerList([DilatedLayer(width, 2**i, dropout) for i in range(layers)])
        self.classifier = linear(width, classes)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """(B, A, inputs) and mask (B, A, 1) -> logits (B, A, C), float32."""
        x = self.first(x) * mask
        for layer in self.layers:
            x = layer(x, mask)
        return self.classifier(x).astype("float32")


class Stages(nn.Layer):
    """Stages, each of which takes the probabilities of the one before."""

    def __init__(self, sizes: Sequence[int], width: int, depth: int, dropout: float) -> None:
        """``sizes``: the width of the input, and then the classes once for each stage."""
        super().__init__()
        pairs = zip(sizes, sizes[1:], strict=False)
        self.stages = nn.LayerList([Stage(a, width, depth, b, dropout) for a, b in pairs])

    def forward(self, x: Tensor, mask: Tensor) -> list[Tensor]:
        """(B, A, inputs) and mask (B, A, 1) -> logits (B, A, C) of each stage."""
        every = []
        for stage in self.stages:
            every.append(stage(x, mask))
            x = F.softmax(every[-1], axis=-1) * mask
        return every


@HEADS.register()
class FrameHead(TaskHead):
    """Labels every second, with temporal convolutions in one or more stages.

    The action stream has no positions, so the head's own layers see the order of the seconds:
    dilated convolutions, in stages that each refine the probabilities of the one before, trained
    with cross-entropy and a loss on changes from second to second (Abu Farha and Gall 2019,
    "MS-TCN: Multi-stage temporal convolutional network for action segmentation").

    The names of the classes are those of the training data, and are saved with the weights, so that
    a test needs no file of them. ``width``, ``layers``, ``stages``: sizes;
    layer i of a stage sees 2^i seconds to both sides. ``members``: sets of stages that are trained
    side by side from other random weights, and whose probabilities are averaged; a few dozen videos
    are not enough for one. ``dropout``: rate in the layers. ``smoothing``: weight of the loss on
    changes. ``window_batch``: windows of a video that are predicted at once.
    """

    def __init__(
        self,
        width: Count = 64,
        layers: Count = 6,
        stages: Count = 2,
        members: Count = 1,
        dropout: Probability = 0.3,
        smoothing: NonNegative = 0.15,
        window_batch: Count = 8,
    ) -> None:
        super().__init__()
        self.names: tuple[str, ...] = ()
        self.width, self.depth, self.count, self.size = width, layers, stages, members
        self.dropout, self.smoothing, self.window_batch = dropout, smoothing, window_batch
        self.inputs = 0
        self.members: nn.LayerList = nn.LayerList([])

    def build(self, backbone: BertForMultiModalPreTraining) -> None:
        """Notes the width of the states: weights or training data bring the classes."""
        self.inputs = backbone.widths.actions

    def _create(self, names: Sequence[str]) -> None:
        self.names = tuple(names)
        text = json.dumps(self.names, ensure_ascii=False).encode("utf-8")
        self.register_buffer(NAMES, paddle.to_tensor(np.frombuffer(text, np.uint8).copy()))
        sizes = [self.inputs] + [len(self.names)] * self.count
        shape = (sizes, self.width, self.depth, self.dropout)
        with initial_range("fan_in"):
            self.members = nn.LayerList([Stages(*shape) for _ in range(self.size)])

    def receive(self, state: Mapping[str, np.ndarray]) -> None:
        """Takes the class names of the weights."""
        if NAMES in state:
            self._create(json.loads(np.asarray(state[NAMES], np.uint8).tobytes().decode("utf-8")))

    def set_up_from(self, dataset: Any) -> None:
        """Takes the class names of the data set.

        Raises WeightsError if the weights that were loaded have others, and ConfigError for data
        without classes.
        """
        if not hasattr(dataset, "classes"):
            raise ConfigError(
                f"DATASET: {type(dataset).__name__} has no classes, which FrameHead labels seconds "
                "with: use a data set of segmentation"
            )
        if not self.names:
            self._create(dataset.classes)
        elif tuple(dataset.classes) != self.names:
            raise WeightsError(
                f"{type(dataset).__name__} {difference(dataset.classes, self.names)}"
            )

    def logits(self, states: Streams[Tensor], mask: Tensor) -> list[list[Tensor]]:
        """Returns the logits (B, A, C) of every stage of every member."""
        if not self.names:
            raise ConfigError("MODEL.head has no classes yet: train it, or load trained weights")
        real = mask.unsqueeze(-1).astype("float32")
        return [member(states.actions, real) for member in self.members]

    def counts(self, batch: Batch) -> dict[str, float]:
        """Returns the number of labelled seconds, and of pairs of them that follow each other."""
        labelled = np.asarray(batch["second_labels"]) != IGNORED
        pairs = labelled[:, 1:] & labelled[:, :-1]
        return {"frame_loss": float(labelled.sum()), "smooth_loss": float(pairs.sum())}

    def losses(self, states: Streams[Tensor], batch: Batch, counts: Mapping[str, float]) -> Losses:
        """Returns "frame_loss" and "smooth_loss": sums over the stages, means over the members."""
        labels = batch["second_labels"]
        labelled = (labels != IGNORED).astype("float32")
        members = self.logits(states, batch["action_mask"])
        every = [logits for member in members for logits in member]
        frame = paddle.add_n([class_loss(x, labels, counts["frame_loss"]) for x in every])
        smooth = paddle.add_n([smoothing_loss(x, labelled) for x in every])
        frame = frame / self.size
        smooth = smooth * (self.smoothing / self.size / counts["smooth_loss"])
        hits = class_hits(mean_probabilities(members), labels, int(labelled.sum()))
        losses = {"frame_loss": frame, "smooth_loss": smooth, "loss": frame + smooth}
        return Losses(losses, {"frame_accuracy": hits})

    def run(self, encode: Encode, batch: Batch) -> dict[str, list[np.ndarray]]:
        """Returns "labels": the class of each second of each video, (T,) int64."""
        return {"labels": [self.label(encode, windows) for windows in batch["timeline"]]}

    def label(self, encode: Encode, windows: VideoWindows) -> np.ndarray:
        """Returns the class of each second of a video; overlapping windows are averaged."""
        mean, labels = OverlapMean(), []
        for starts, arrays in windows.batches(self.window_batch):
            probabilities = self.predict(*encode(arrays))
            for start, rows in zip(starts, probabilities, strict=True):
                labels.append(mean.add(start, rows).argmax(axis=-1))
        labels.append(mean.rest().argmax(axis=-1))
        return np.concatenate(labels)[: windows.seconds]

    def predict(self, states: Streams[Tensor], batch: Batch) -> np.ndarray:
        """Returns the probabilities (B, A, C) of the classes in each second of windows."""
        return mean_probabilities(self.logits(states, batch["action_mask"])).numpy()


def mean_probabilities(members: Sequence[Sequence[Tensor]]) -> Tensor:
    """Returns the mean (B, A, C) over members of the probabilities of their last stages."""
    last = [F.softmax(stages[-1], axis=-1) for stages in members]
    return paddle.add_n(last) / len(last)


def smoothing_loss(logits: Tensor, labelled: Tensor) -> Tensor:
    """Returns the sum over pairs of neighbouring seconds of the mean squared change of log p.

    Changes are cut off at ``LARGEST_CHANGE``, and the earlier second has no gradient (Abu Farha and
    Gall 2019, equations 8 to 11). ``logits`` (B, A, C); ``labelled`` (B, A) float32: 1 where a
    second counts.
    """
    log_p = F.log_softmax(logits, axis=-1)
    change = log_p[:, 1:] - log_p[:, :-1].detach()
    squared = paddle.clip(change * change, max=LARGEST_CHANGE**2).mean(axis=-1)
    return (squared * labelled[:, 1:] * labelled[:, :-1]).sum()


def difference(ours: Sequence[str], theirs: Sequence[str]) -> str:
    """Returns how the class names of data differ from those of weights, and what to do."""
    advice = "Use the file of classes that they were trained with"
    if len(ours) != len(theirs):
        return f"has {len(ours)} classes, but the weights have {len(theirs)}. {advice}"
    index = next(i for i, (a, b) in enumerate(zip(ours, theirs, strict=True)) if a != b)
    return f'has "{ours[index]}" as class {index}, but the weights "{theirs[index]}". {advice}'
