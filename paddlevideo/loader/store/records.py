"""A clip as bytes and back: safetensors with a checksum before it, so that reading runs no code.

n regions of width F in C classes, m actions of width G.
"""

from __future__ import annotations

import json
import math
import operator
import struct
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from paddlevideo.loader.regions import as_float32
from paddlevideo.utils.errors import DataError

#: Of a safetensors file that this reads: the tensors' types by their names there.
TYPES: dict[str, np.dtype[Any]] = {
    "F16": np.dtype("<f2"),
    "F32": np.dtype("<f4"),
    "I32": np.dtype("<i4"),
    "U16": np.dtype("<u2"),
}
#: Before the safetensors bytes: their CRC32, and the record's version; 8 bytes keep arrays aligned.
PREFIX = struct.Struct("<II")
VERSION = 1
HEADER = struct.Struct("<Q")
#: Pixels: a larger image is a mistake, or an attack on whoever multiplies its sides.
LARGEST_SIDE = 1 << 20
#: Share of a row's probability that its kept classes hold at least.
KEPT_MASS = 0.999


@dataclass(frozen=True)
class ClassTargets:
    """Class distributions (n, C) of which only the likeliest classes of each row are kept.

    Of the others it is known what they hold together, so that each of them gets its even share:
    with zeros there the region loss would change more than twice as much (docs/performance.md).
    """

    counts: np.ndarray  # n, int: kept classes of each row
    classes: np.ndarray  # sum(counts), int
    mass: np.ndarray  # sum(counts), float: their probabilities, likeliest first in each row
    width: int  # C
    rest: np.ndarray | None = None  # n, float: the probability of the other classes; None: 0

    @classmethod
    def of(cls, rows: np.ndarray, kept_mass: float = KEPT_MASS) -> ClassTargets:
        """Keeps the fewest classes of each row (n, C) that hold ``kept_mass`` of its sum."""
        order = np.argsort(-rows, axis=1, kind="stable")
        ranked = np.take_along_axis(rows, order, axis=1).astype(np.float64)
        total = ranked.sum(axis=1, keepdims=True)
        # Rows need not sum to 1; float16 would make others of 1e5, or of 1e-9, infinite or 0.
        far = ((total < 0.5) | (total > 2)) & (total > 0)
        ranked /= np.where(far, total, 1.0)
        total = np.where(far, 1.0, total)
        before = np.cumsum(ranked, axis=1) - ranked  # what the classes before it hold
        kept = (before < kept_mass * total) & (ranked > 0)
        rest = np.where(kept, 0.0, ranked).sum(axis=1)
        return cls(
            kept.sum(axis=1), order[kept], ranked[kept], rows.shape[1], rest if rest.any() else None
        )

    def dense(self) -> np.ndarray:
        """(n, C) float32; the classes that were not kept share evenly what is left for them."""
        rows = np.empty((len(self.counts), self.width), np.float32)
        others = 0.0 if self.rest is None else self.rest / np.maximum(self.width - self.counts, 1)
        rows.T[:] = others  # a row's own number into each of its places
        starts = np.arange(len(self.counts)) * self.width
        # Places in the flat array: half the time of an index for each dimension.
        rows.reshape(-1)[np.repeat(starts, self.counts) + self.classes] = self.mass
        return rows

    def totals(self) -> np.ndarray:
        """The sum (n,) of each row."""
        row = np.repeat(np.arange(len(self.counts)), self.counts)
        kept = np.bincount(row, self.mass, minlength=len(self.counts))
        return kept if self.rest is None else kept + self.rest

    def lost(self) -> np.ndarray:
        """The share (n,) of each row's probability whose classes were not kept."""
        if self.rest is None or not len(self.counts):
            return np.zeros(len(self.counts))
        return self.rest / self.totals()

    def rounded(self, dtype: np.dtype) -> ClassTargets:
        """As a record of ``dtype`` holds it."""
        rest = None if self.rest is None else self.rest.astype(dtype)
        return replace(self, mass=self.mass.astype(dtype), rest=rest)


@dataclass
class Clip:
    """What is known of a clip. Training needs the classes too; retrieval does not.

    ``captions``: texts that describe it, or are said in it; ``times``: start and end of each in
    seconds from the start of the ``video``, where they are known. ``source``: the path of the video
    file that its features come from; ``span``: its own start and end there in seconds, None for all
    of the video.
    """

    id: str
    regions: np.ndarray  # n, F
    boxes: np.ndarray  # n, 4: x1 y1 x2 y2 in pixels
    image_h: int
    image_w: int
    actions: np.ndarray  # m, G
    action_classes: np.ndarray | None = None  # m; -1: none
    region_classes: ClassTargets | None = None
    captions: Sequence[str] = ()
    times: Sequence[tuple[float, float]] = ()
    video: str = ""
    extra: Mapping[str, str] = field(default_factory=dict)
    source: str = ""
    span: tuple[float, float] | None = None


@dataclass(frozen=True)
class About:
    """What a record says of its clip beside the arrays; see ``records.Clip``."""

    id: str
    captions: Sequence[str]
    times: Sequence[tuple[float, float]]
    video: str
    source: str = ""
    span: tuple[float, float] | None = None


def encode(clip: Clip, dtype: str = "float16") -> bytes:
    """The record of a clip, features as ``dtype``; DataError where that cannot hold them."""
    from safetensors.numpy import save

    half = np.dtype(dtype)
    tensors = {
        "regions": as_features(clip.regions, half, "regions", clip.id),
        "boxes": np.ascontiguousarray(clip.boxes, np.float32),
        "actions": as_features(clip.actions, half, "actions", clip.id),
    }
    if clip.action_classes is not None:
        tensors["action_classes"] = np.ascontiguousarray(clip.action_classes, np.int32)
    if clip.region_classes is not None:
        targets = clip.region_classes
        tensors["class_counts"] = np.ascontiguousarray(targets.counts, np.int32)
        small = np.uint16 if targets.width <= 1 << 16 else np.int32
        tensors["classes"] = np.ascontiguousarray(targets.classes, small)
        tensors["class_mass"] = np.ascontiguousarray(targets.mass, half)
        if targets.rest is not None:
            tensors["class_rest"] = np.ascontiguousarray(targets.rest, half)
    about: dict[str, Any] = {
        "id": clip.id,
        "size": [operator.index(clip.image_h), operator.index(clip.image_w)],
        "captions": list(clip.captions),
        "times": [[float(second) for second in time] for time in clip.times],
        "video": clip.video,
        "extra": dict(clip.extra),
    }
    if clip.source:
        about["source"] = clip.source
    if clip.span is not None:
        about["span"] = [float(second) for second in clip.span]
    if clip.region_classes is not None:
        about["region_classes"] = clip.region_classes.width
    text = json.dumps(about, ensure_ascii=False, separators=(",", ":"))
    try:
        body = save(tensors, {"clip": text})
    except UnicodeEncodeError as fault:
        raise DataError(f"clip {clip.id!r}: a text that UTF-8 cannot hold ({fault})") from None
    return PREFIX.pack(zlib.crc32(body), VERSION) + body


def as_features(array: np.ndarray, dtype: np.dtype, name: str, clip: str) -> np.ndarray:
    """``array`` (rows, width) as ``dtype``. Raises DataError naming the clip if a value is lost."""
    with np.errstate(over="ignore"):
        stored = np.ascontiguousarray(array, dtype)
    if not np.isfinite(stored).all():
        bad = np.argwhere(~np.isfinite(stored))[0]
        value = np.asarray(array)[tuple(bad)]
        advice = "store float32" if np.isfinite(value) else "compute the features again"
        raise DataError(f'clip "{clip}": {name}[{bad[0]}, {bad[1]}] is {value}: {advice}')
    return stored


def decode(record: Any, where: str) -> Clip:
    """The clip of a record (bytes or a buffer). Its arrays are copies, features float32.

    Raises DataError, beginning with ``where``, if the record is damaged.
    """
    view = memoryview(record)
    with _damage(where):
        tensors, about = _parse(view)
        return _clip(tensors, about)


def decode_about(record: Any, where: str) -> About:
    """What stands beside the arrays of a record. The arrays are not read, nor the checksum made.

    Raises DataError, beginning with ``where``, if the record is damaged.
    """
    with _damage(where):
        _, about, _ = _head(memoryview(record))
        return About(*texts_of(about), *origin_of(about))


_DAMAGE = (
    *(KeyError, ValueError, TypeError, IndexError, AttributeError),
    *(OverflowError, RecursionError, struct.error),
)


@contextmanager
def _damage(where: str) -> Iterator[None]:
    """What reading a damaged record raises becomes a DataError."""
    try:
        yield
    except _DAMAGE as fault:
        raise DataError(
            f"{where}: the record is damaged ({type(fault).__name__}: {fault}). "
            "Write it again: tools/prepare_data.py validate --fix leaves it out"
        ) from None


def _head(view: memoryview) -> tuple[dict[str, Any], dict[str, Any], memoryview]:
    """A record's tensors by name, what stands beside them, and the tensors' bytes."""
    _, version = PREFIX.unpack_from(view)
    if version != VERSION:
        raise ValueError(f"version {version}, where {VERSION} is known")
    body = view[PREFIX.size :]
    (length,) = HEADER.unpack_from(body)
    start = HEADER.size + length
    if start > len(body):
        raise ValueError(f"a header of {length} bytes in a record of {len(body)}")
    header = json.loads(bytes(body[HEADER.size : start]))
    about = json.loads(header.pop("__metadata__")["clip"])
    return header, about, body[start:]


def _parse(view: memoryview) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Arrays that lie in ``view``, and what stands beside them. Raises ValueError and its like."""
    expected, _ = PREFIX.unpack_from(view)
    if zlib.crc32(view[PREFIX.size :]) != expected:
        raise ValueError("its checksum differs")
    header, about, data = _head(view)
    tensors = {}
    for name, entry in header.items():
        first, last = entry["data_offsets"]
        kind = TYPES[entry["dtype"]]
        count = math.prod(entry["shape"])
        if not 0 <= first <= last <= len(data) or last - first != count * kind.itemsize:
            raise ValueError(f"{name} of shape {entry['shape']} lies at {first} to {last}")
        tensors[name] = np.frombuffer(data[first:last], kind).reshape(entry["shape"])
    return tensors, about


def _matrix(tensors: Mapping[str, np.ndarray], name: str, dimensions: int) -> np.ndarray:
    array = tensors[name]
    if array.ndim != dimensions:
        raise ValueError(f"{name} has {array.ndim} dimensions, not {dimensions}")
    return array


def _targets(tensors: Mapping[str, np.ndarray], width: int, rows: int) -> ClassTargets:
    counts = _matrix(tensors, "class_counts", 1).astype(np.int64)
    classes = _matrix(tensors, "classes", 1).astype(np.int64)
    mass = _matrix(tensors, "class_mass", 1).astype(np.float32)
    rest = None
    if "class_rest" in tensors:
        rest = _matrix(tensors, "class_rest", 1).astype(np.float32)
    fits = len(counts) == rows and (counts >= 0).all() and counts.sum() == len(classes)
    if not fits or len(mass) != len(classes) or (rest is not None and len(rest) != rows):
        raise ValueError("the kept classes do not fit the regions")
    if len(classes) and not 0 <= classes.min() <= classes.max() < width:
        raise ValueError(f"a kept class beyond the {width} that there are")
    return ClassTargets(counts, classes, mass, width, rest)


def texts_of(about: Mapping[str, Any]) -> tuple[str, list[str], list[tuple[float, float]], str]:
    """Id, captions, times and video, of the types that they must have. Raises ValueError."""
    name, captions, times, video = (about[key] for key in ("id", "captions", "times", "video"))
    if not isinstance(captions, list) or not isinstance(times, list):
        raise ValueError("captions or times are no list")
    for text in (name, video, *captions):
        if not isinstance(text, str):
            raise ValueError(f"{text!r:.40} where a text belongs")
        text.encode()  # a lone surrogate raises UnicodeEncodeError, a ValueError
    if len(times) not in (0, len(captions)):
        raise ValueError(f"{len(times)} times of {len(captions)} captions")
    spans = [(float(start), float(end)) for start, end in times]
    if not all(math.isfinite(start) and math.isfinite(end) for start, end in spans):
        raise ValueError("times that are not finite")
    return name, captions, spans, video


def origin_of(about: Mapping[str, Any]) -> tuple[str, tuple[float, float] | None]:
    """Source and span; older records have none. Raises ValueError."""
    source, span = about.get("source", ""), about.get("span")
    if not isinstance(source, str):
        raise ValueError(f"{source!r:.40} under source")
    source.encode()
    if span is None:
        return source, None
    start, end = (float(second) for second in span)
    if not (math.isfinite(start) and math.isfinite(end)):
        raise ValueError("a span that is not finite")
    return source, (start, end)


def _clip(tensors: Mapping[str, np.ndarray], about: Mapping[str, Any]) -> Clip:
    name, captions, times, video = texts_of(about)
    source, span = origin_of(about)
    regions = _matrix(tensors, "regions", 2)
    height, width = (operator.index(side) for side in about["size"])
    if not (0 < height < LARGEST_SIDE and 0 < width < LARGEST_SIDE):
        raise ValueError(f"an image of {height} x {width} pixels")
    extra = about["extra"]
    if not isinstance(extra, dict):
        raise ValueError(f"{extra!r:.40} under extra")
    targets = None
    if "classes" in tensors:
        classes = operator.index(about["region_classes"])
        targets = _targets(tensors, classes, len(regions))
    actions = None
    if "action_classes" in tensors:
        actions = _matrix(tensors, "action_classes", 1).astype(np.int64)
    return Clip(
        id=name,
        regions=copied(regions),
        boxes=copied(_matrix(tensors, "boxes", 2)),
        image_h=height,
        image_w=width,
        actions=copied(_matrix(tensors, "actions", 2)),
        action_classes=actions,
        region_classes=targets,
        captions=captions,
        times=times,
        video=video,
        extra=extra,
        source=source,
        span=span,
    )


def copied(array: np.ndarray) -> np.ndarray:
    """A float32 copy: nothing that is returned may lie in the store's memory."""
    return array.copy() if array.dtype == np.float32 else as_float32(array)
