"""The keys of the YAML files of ``configs/extract/``: names, type hints and defaults.

The maps ``detector`` and ``vectors`` name their kind with the key ``name``: DETECTORS, VECTORS and
ACTIONS are the registries of the kinds.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from paddlevideo.extract.models import OwnNetwork
from paddlevideo.registry import InputPath, NameOrPath, Registry
from paddlevideo.utils.ranges import Count, NonNegative, Probability, Range

#: Seconds and frame rates: a thousandth at least.
Positive = Annotated[float, Range(at_least=1e-3)]
#: An inference model of Paddle (its folder or a file), an ONNX model, or a network of this package.
Model = OwnNetwork | InputPath
Triple = tuple[float, float, float]
#: Class names, the path of a text file with one a line, or "imagenet"; None: not known.
Names = list[str] | NameOrPath | None

DETECTORS = Registry("detector")
VECTORS = Registry("kind of region vectors")
ACTIONS = Registry("kind of action vectors")


@dataclass(frozen=True)
class ImageInput:
    """How an image becomes a network's input: (pixel * scale - mean) / std for each channel."""

    #: Height and width in pixels.
    size: tuple[Count, Count]
    #: Order of the channels; mean and std are in this order.
    colour: Literal["rgb", "bgr"] = "rgb"
    scale: float = 1 / 255
    mean: Triple = (0.0, 0.0, 0.0)
    std: Triple = (1.0, 1.0, 1.0)
    #: stretch: to the size, whatever the shape; pad: shape kept, the rest black, right and below;
    #: crop: shape kept, the middle cut out.
    fit: Literal["stretch", "pad", "crop"] = "stretch"
    layout: Literal["NCHW", "NHWC"] = "NCHW"
    #: Name of the network's input; needed where it has several.
    name: str | None = None


@dataclass(frozen=True)
class ClipInput(ImageInput):
    """How T frames become a network's input."""

    layout: Literal["NCTHW", "NTCHW", "NTHWC"] = "NCTHW"  # type: ignore[assignment]


@dataclass(frozen=True)
class PicodetOutputs:
    """Names of outputs, one for each stride: (1, cells, classes) and (1, cells, 4 * bins)."""

    scores: list[str]
    boxes: list[str]


@dataclass(frozen=True)
class BoxesOutputs:
    """Names of outputs, with or without a first dimension of 1.

    boxes (n, 4); scores (n,) of the best class or (n, classes); classes (n,) indices; vectors
    (n, F).
    """

    boxes: str
    scores: str
    classes: str | None = None
    vectors: str | None = None


@dataclass(frozen=True)
class ActionOutputs:
    """Names of outputs: vector (n, G) and scores (n, K); further dimensions are averaged.

    Without names the only output is the vector and, where ``classes`` are given, the scores.
    """

    vector: str | None = None
    scores: str | None = None


@DETECTORS.register("classical")
@dataclass(frozen=True)
class ClassicalDetector:
    """Regions by colour, saliency and motion, without weights."""

    #: Pixels on the long side of the frame, resized.
    side: Count = 160


@dataclass(frozen=True)
class NetworkPart:
    """A network that sees images."""

    model: Model
    input: ImageInput


@dataclass(frozen=True, kw_only=True)
class NetworkDetector(NetworkPart):
    """A network that finds regions."""

    score_threshold: Probability = 0.4
    #: Of two boxes of a class that overlap by more, the better one stays.
    nms: Probability = 0.6
    classes: Names = None
    #: Frames that go through the network at once, where it takes several.
    batch: Count = 4


@DETECTORS.register("picodet")
@dataclass(frozen=True, kw_only=True)
class PicodetDetector(NetworkDetector):
    """A network with the raw heads of PicoDet."""

    outputs: PicodetOutputs
    strides: list[Count] = field(default_factory=lambda: [8, 16, 32, 64])


@DETECTORS.register("boxes")
@dataclass(frozen=True, kw_only=True)
class BoxesDetector(NetworkDetector):
    """A network that gives boxes itself."""

    outputs: BoxesOutputs
    box_format: Literal["xyxy", "yxyx", "cxcywh"] = "xyxy"
    #: input: pixels of the network's input; relative: 0 to 1 of it.
    box_units: Literal["input", "relative"] = "input"


@dataclass(frozen=True)
class RowsOutputs:
    """Names of outputs: rows (n, 6) of class, score, x1, y1, x2, y2, and their number per image.

    Without names they are recognized by their shapes.
    """

    rows: str | None = None
    count: str | None = None


@DETECTORS.register("paddledetection")
@dataclass(frozen=True, kw_only=True)
class PaddleDetector(NetworkDetector):
    """A network as PaddleDetection exports it, with its post-processing."""

    outputs: RowsOutputs = field(default_factory=RowsOutputs)
    #: Its post-processing has removed duplicates.
    nms: Probability = 1.0


@VECTORS.register("classical")
@dataclass(frozen=True)
class ClassicalVectors:
    """Colour, shape, texture and position of a box, without weights."""

    #: Pixels on the long side of the frame, resized.
    side: Count = 160


@VECTORS.register("crops")
@dataclass(frozen=True)
class CropVectors(NetworkPart):
    """A network that sees each box as an image of its own."""

    #: Name of the output: (n, F); further dimensions are averaged. None: the only one.
    output: str | None = None
    #: Name of the output (n, C) with scores of classes, which the regions then have: as they are
    #: if they are probabilities, else their softmax.
    scores: str | None = None
    classes: Names = None
    #: Boxes that go through the network at once.
    batch: Count = 16
    #: A box grows by this share of its sides.
    margin: NonNegative = 0.0


@VECTORS.register("feature_map")
@dataclass(frozen=True)
class MapVectors(NetworkPart):
    """A network that sees the whole frame once; its map is averaged in each box."""

    #: Name of the output: (1, F, h, w). None: the only one.
    output: str | None = None
    #: Frames that go through the network at once, where it takes several.
    batch: Count = 4
    #: Points of a box in each direction at which the map is sampled.
    points: Count = 7


@VECTORS.register("detector")
@dataclass(frozen=True)
class DetectorVectors:
    """The vectors that the detector gives with its boxes: its ``outputs.vectors``."""


@ACTIONS.register("classical")
@dataclass(frozen=True)
class ClassicalActions:
    """Motion of things and of the whole frame, without weights."""

    #: Pixels on the long side of the frames, resized.
    side: Count = 96


@ACTIONS.register("things")
@dataclass(frozen=True)
class ThingActions:
    """Motion and colour of each of two things, without weights: up to two vectors for a window."""

    #: Pixels on the long side of the frames, resized.
    side: Count = 96


@ACTIONS.register("onnx")
@ACTIONS.register("network")
@dataclass(frozen=True)
class NetworkActions:
    """A network that sees the frames of a window at once; ``onnx`` is its earlier name."""

    model: Model
    input: ClipInput
    outputs: ActionOutputs = field(default_factory=ActionOutputs)
    classes: Names = None
    #: Windows that go through the network at once.
    batch: Count = 4


@ACTIONS.register("frames")
@dataclass(frozen=True)
class FrameActions(NetworkPart):
    """A network that sees single frames: the mean of their vectors, and how they change."""

    outputs: ActionOutputs = field(default_factory=ActionOutputs)
    classes: Names = None
    #: Frames that go through the network at once.
    batch: Count = 16
    #: Also the mean of the second half of a window minus that of the first: vectors (m, 2 G).
    change: bool = True


@dataclass(frozen=True)
class ClipSettings:
    """How videos become clips."""

    #: Length of a clip; null: the whole video is one.
    seconds: Positive | None = None


@dataclass(frozen=True)
class RegionSettings:
    """The frames of a clip in which regions are detected, and how."""

    detector: Any
    vectors: Any
    frames: Count = 4
    max_regions: Count = 36
    #: The whole middle frame is region 0.
    whole_frame: bool = False


@dataclass(frozen=True)
class ActionSettings:
    """The frames of a clip that action vectors describe, and how."""

    vectors: Any
    #: Frames a second, and the number of them in a window, which gets one action vector.
    frame_rate: Positive = 8.0
    frames: Annotated[int, Range(at_least=2)] = 16
    #: At most this many windows, spread evenly over the clip.
    pieces: Count = 5


@dataclass(frozen=True)
class Settings:
    """The settings of a YAML file."""

    clips: ClipSettings
    regions: RegionSettings
    actions: ActionSettings
