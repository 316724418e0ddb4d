"""What is extracted, and how: the YAML files of ``configs/extract/``, checked key by key.

The dataclasses are the schema: their names, type hints and defaults are what is checked. The maps
``detector`` and ``vectors`` name their kind with the key ``name``.
"""

from __future__ import annotations

import dataclasses
import os
import typing
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

from paddlevideo.config.arguments import AtLeast, Fault, argument_faults, below, unknown
from paddlevideo.config.files import load_config
from paddlevideo.config.tree import Config, KeyPath, dotted, position_of, value_at
from paddlevideo.registry import InputPath
from paddlevideo.utils.errors import ConfigError, DataError

Count = Annotated[int, AtLeast(1)]
Positive = Annotated[float, AtLeast(1e-3)]
NotNegative = Annotated[float, AtLeast(0)]
Triple = tuple[float, float, float]
#: Class names, or the path of a text file with one a line; None where they are not known.
Names = list[str] | str | None


@dataclass(frozen=True)
class ImageInput:
    """How a picture becomes a network's input: (pixel * scale - mean) / std for each channel."""

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
    """The same for T frames at once."""

    layout: Literal["NCTHW", "NTCHW", "NTHWC"] = "NCTHW"  # type: ignore[assignment]


@dataclass(frozen=True)
class PicodetOutputs:
    """Names of outputs, one for each stride: (1, cells, classes) and (1, cells, 4 * bins)."""

    scores: list[str]
    boxes: list[str]


@dataclass(frozen=True)
class BoxesOutputs:
    """Names of outputs, with or without a first dimension of 1.

    boxes (n, 4); scores (n,) of the best class or (n, classes); classes (n,) numbers; vectors
    (n, F).
    """

    boxes: str
    scores: str
    classes: str | None = None
    vectors: str | None = None


@dataclass(frozen=True)
class ActionOutputs:
    """Names of outputs: vector (1, G) and scores (1, K); further dimensions are averaged."""

    vector: str
    scores: str | None = None


@dataclass(frozen=True)
class ClassicalDetector:
    """Regions by colour, saliency and motion, without weights."""

    #: Pixels on the long side of the frame that is looked at.
    side: Count = 160


@dataclass(frozen=True)
class PicodetDetector:
    """An ONNX network with the raw heads of PicoDet."""

    model: InputPath
    input: ImageInput
    outputs: PicodetOutputs
    strides: list[Count] = field(default_factory=lambda: [8, 16, 32, 64])
    score_threshold: NotNegative = 0.4
    #: Of two boxes of a class that overlap by more, the better one stays.
    nms: NotNegative = 0.6
    classes: Names = None


@dataclass(frozen=True)
class BoxesDetector:
    """An ONNX network that gives boxes itself."""

    model: InputPath
    input: ImageInput
    outputs: BoxesOutputs
    box_format: Literal["xyxy", "yxyx", "cxcywh"] = "xyxy"
    #: input: pixels of the network's input; relative: 0 to 1 of it.
    box_units: Literal["input", "relative"] = "input"
    score_threshold: NotNegative = 0.4
    nms: NotNegative = 0.6
    classes: Names = None


@dataclass(frozen=True)
class ClassicalVectors:
    """Colours, directions of edges and texture of a box, without weights."""

    side: Count = 160


@dataclass(frozen=True)
class CropVectors:
    """An ONNX network that sees each box as a picture of its own."""

    model: InputPath
    input: ImageInput
    #: Name of the output: (n, F); further dimensions are averaged.
    output: str
    #: Boxes that go through the network at once.
    batch: Count = 16
    #: A box grows by this share of its sides.
    margin: NotNegative = 0.0


@dataclass(frozen=True)
class MapVectors:
    """An ONNX network that sees the whole frame once; its map is averaged in each box."""

    model: InputPath
    input: ImageInput
    #: Name of the output: (1, F, h, w).
    output: str
    #: The map is sampled at so many points of a box in each direction.
    points: Count = 7


@dataclass(frozen=True)
class DetectorVectors:
    """The vectors that the detector gives with its boxes: its ``outputs.vectors``."""


@dataclass(frozen=True)
class ClassicalActions:
    """Optical flow by place and direction, without weights."""

    side: Count = 80


@dataclass(frozen=True)
class OnnxActions:
    """An ONNX network that sees the frames of a piece at once."""

    model: InputPath
    input: ClipInput
    outputs: ActionOutputs
    classes: Names = None


@dataclass(frozen=True)
class ClipSettings:
    """How videos become clips."""

    #: Length of a piece; null: the whole video is one clip.
    seconds: Positive | None = None


@dataclass(frozen=True)
class RegionSettings:
    """Which frames of a clip are looked at for regions, and how."""

    detector: Any
    vectors: Any
    frames: Count = 4
    max_regions: Count = 36
    #: The whole middle frame is region 0.
    whole_frame: bool = False


@dataclass(frozen=True)
class ActionSettings:
    """Which frames of a clip are looked at for actions, and how."""

    vectors: Any
    #: Frames a second, and how many of them make one piece: one action vector.
    frame_rate: Positive = 8.0
    frames: Annotated[int, AtLeast(2)] = 16
    #: At most; they are spread evenly over the clip.
    pieces: Count = 5


@dataclass(frozen=True)
class Settings:
    """A whole YAML file."""

    clips: ClipSettings
    regions: RegionSettings
    actions: ActionSettings


Kinds = Mapping[str, type]
DETECTORS: Kinds = {
    "classical": ClassicalDetector,
    "picodet": PicodetDetector,
    "boxes": BoxesDetector,
}
VECTORS: Kinds = {
    "classical": ClassicalVectors,
    "crops": CropVectors,
    "feature_map": MapVectors,
    "detector": DetectorVectors,
}
ACTIONS: Kinds = {"classical": ClassicalActions, "onnx": OnnxActions}
#: Each section, and those of its keys that are maps with a ``name``.
SECTIONS: Mapping[str, tuple[type, Mapping[str, Kinds]]] = {
    "clips": (ClipSettings, {}),
    "regions": (RegionSettings, {"detector": DETECTORS, "vectors": VECTORS}),
    "actions": (ActionSettings, {"vectors": ACTIONS}),
}


def load_settings(path: str | os.PathLike[str], overrides: Iterable[str] = ()) -> Settings:
    """The settings in a YAML file; a name that is no file is looked up in ``configs/``.

    Raises ConfigError with a line ``file:line: KEY.PATH: what is wrong`` for each fault.
    """
    config = load_config(path, overrides)
    faults = list(_faults(config)) or list(_disagreements(config))
    lines = [_line(config, fault) for fault in faults]
    if len(lines) > 1:
        raise ConfigError("\n  ".join([f"the configuration has {len(lines)} faults:", *lines]))
    if lines:
        raise ConfigError(lines[0])
    sections = {name: _section(name, config.get(name) or {}) for name in SECTIONS}
    return Settings(**sections)


def describe(part: Any) -> dict[str, Any]:
    """Everything that is set, defaults too, as plain values; each map names its class."""
    values = {item.name: getattr(part, item.name) for item in dataclasses.fields(part)}
    plain = {
        name: describe(value) if dataclasses.is_dataclass(value) else value
        for name, value in values.items()
    }
    return {"kind": type(part).__name__, **plain}


def expanded(path: str) -> Path:
    """A path that a user gave, with ``~`` as the home folder."""
    return Path(path).expanduser()


def class_names(names: Names) -> list[str] | None:
    """The names of classes, read where a file has them. Raises DataError if it cannot be read."""
    if not isinstance(names, str):
        return names
    try:
        lines = expanded(names).read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as fault:
        raise DataError(f"{names}: cannot be read as a list of class names ({fault})") from None
    return [line.strip() for line in lines if line.strip()]


# ------------------------------------------------------------------------- the check


def _line(config: Config, fault: Fault) -> str:
    position = position_of(config, fault.path)
    where = (str(position) if position else "", dotted(fault.path), fault.message)
    return ": ".join(part for part in where if part)


def _faults(config: Config) -> Iterator[Fault]:
    for name in config:
        if name not in SECTIONS:
            yield Fault((name,), unknown("section", name, list(SECTIONS)))
    for name, (schema, kinds) in SECTIONS.items():
        section = config.get(name)
        if section is None:
            section = {}
        if not isinstance(section, Mapping):
            yield Fault((name,), "expected a map")
            continue
        yield from below((name,), argument_faults(schema, section, checked=kinds))
        for key, choices in kinds.items():
            if key in section:
                yield from _kind_faults((name, key), section[key], choices)


def _kind_faults(path: KeyPath, value: Any, kinds: Kinds) -> Iterator[Fault]:
    known = ", ".join(kinds)
    if not isinstance(value, Mapping) or not isinstance(value.get("name"), str):
        yield Fault(path, f'expected a map with the key "name", one of: {known}')
    elif value["name"] not in kinds:
        yield Fault((*path, "name"), unknown(str(path[-1]), value["name"], list(kinds)))
    else:
        given = {key: item for key, item in value.items() if key != "name"}
        yield from below(path, argument_faults(kinds[value["name"]], given))


def _disagreements(config: Config) -> Iterator[Fault]:
    """What no single key tells; asked for when the keys are right one by one."""
    for section, key in (("regions", "detector"), ("regions", "vectors"), ("actions", "vectors")):
        path = (section, key)
        if any(std == 0 for std in value_at(config, (*path, "input", "std")) or ()):
            yield Fault((*path, "input", "std"), "a channel cannot be divided by 0")
        for name in ("nms", "score_threshold"):
            if (value_at(config, (*path, name)) or 0) > 1:
                yield Fault((*path, name), "expected 1 or less")
    detector = value_at(config, ("regions", "detector"))
    outputs = detector.get("outputs") or {}
    if detector["name"] == "picodet":
        strides = detector.get("strides", [8, 16, 32, 64])
        if not len(strides) == len(outputs["scores"]) == len(outputs["boxes"]):
            place = ("regions", "detector", "outputs")
            yield Fault(place, f"expected {len(strides)} scores and boxes, one for each stride")
    wanted = value_at(config, ("regions", "vectors", "name")) == "detector"
    if wanted and not (detector["name"] == "boxes" and outputs.get("vectors")):
        message = "the detector has no outputs.vectors: choose other vectors, or name them"
        yield Fault(("regions", "vectors", "name"), message)


# ----------------------------------------------------------------------- the building


def _section(name: str, values: Mapping[str, Any]) -> Any:
    schema, kinds = SECTIONS[name]
    parts = {key: _kind(values[key], choices) for key, choices in kinds.items()}
    return schema(**{**values, **parts})


def _kind(values: Mapping[str, Any], kinds: Kinds) -> Any:
    given = {key: value for key, value in values.items() if key != "name"}
    return _built(kinds[values["name"]], given)


def _built(schema: Any, values: Mapping[str, Any]) -> Any:
    """A dataclass of a checked map, with the dataclasses in it."""
    hints = typing.get_type_hints(schema)
    inner = {
        name: _built(hints[name], value)
        for name, value in values.items()
        if dataclasses.is_dataclass(hints[name])
    }
    return schema(**{**values, **inner})
