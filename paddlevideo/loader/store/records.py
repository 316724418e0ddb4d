"""A clip as bytes and back: safetensors with a checksum before it, so that reading runs no code.

n regions of width F in C classes, m actions of width G.
"""

from __future__ import annotations

import json
import math
import struct
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
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
        before = np.cumsum(ranked, axis=1) - ranked  # what the classes before it hold
        kept = (before < kept_mass * total) & (ranked > 0)
        rest = np.where(kept, 0.0, ranked).sum(axis=1)
        return cls(
            kept.sum(axis=1),
            order[kept],
            ranked[kept],
            rows.shape[1],
            rest if rest.any() else None,
        )

    def dense(self) -> np.ndarray:
        """(n, C) float32; the classes that were not kept share evenly what is left for them."""
        rows = np.zeros((len(self.counts), self.width), np.float32)
        if self.rest is not None:
            rows += (self.rest / np.maximum(self.width - self.counts, 1))[:, None]
        rows[np.repeat(np.arange(len(self.counts)), self.counts), self.classes] = self.mass
        return rows

    def lost(self) -> np.ndarray:
        """The share (n,) of each row's probability whose classes were not kept."""
        if self.rest is None or not len(self.counts):
            return np.zeros(len(self.counts))
        row = np.repeat(np.arange(len(self.counts)), self.counts)
        kept = np.bincount(row, self.mass, minlength=len(self.counts))
        return self.rest / (kept + self.rest)


@dataclass
class Clip:
    """What is known of a clip. Training needs the classes too; retrieval does not.

    ``captions``: texts that describe it, or are said in it; ``times``: start and end of each in
    seconds from the start of the ``video``, where they are known.
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


@dataclass(frozen=True)
class About:
    """What a record says of its clip beside the arrays; see :class:`Clip`."""

    id: str
    captions: Sequence[str]
    times: Sequence[tuple[float, float]]
    video: str


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
        "size": [clip.image_h, clip.image_w],
        "captions": list(clip.captions),
        "times": [list(time) for time in clip.times],
        "video": clip.video,
        "extra": dict(clip.extra),
    }
    if clip.region_classes is not None:
        about["region_classes"] = clip.region_classes.width
    body = save(tensors, {"clip": json.dumps(about, ensure_ascii=False, separators=(",", ":"))})
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
        times = [tuple(time) for time in about["times"]]
        return About(about["id"], about["captions"], times, about["video"])


@contextmanager
def _damage(where: str) -> Iterator[None]:
    """What reading a damaged record raises becomes a DataError."""
    try:
        yield
    except (KeyError, ValueError, TypeError, struct.error, IndexError, RecursionError) as fault:
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


def _clip(tensors: Mapping[str, np.ndarray], about: Mapping[str, Any]) -> Clip:
    targets = None
    if "classes" in tensors:
        rest = tensors.get("class_rest")
        targets = ClassTargets(
            tensors["class_counts"].astype(np.int64),
            tensors["classes"].astype(np.int64),
            tensors["class_mass"].astype(np.float32),
            int(about["region_classes"]),
            None if rest is None else rest.astype(np.float32),
        )
        rows = len(tensors["regions"])
        fits = targets.counts.sum() == len(targets.classes) and len(targets.counts) == rows
        if not fits or (rest is not None and rest.shape != (rows,)):
            raise ValueError("the kept classes do not fit the regions")
    classes = tensors.get("action_classes")
    height, width = about["size"]
    return Clip(
        id=about["id"],
        regions=copied(tensors["regions"]),
        boxes=copied(tensors["boxes"]),
        image_h=int(height),
        image_w=int(width),
        actions=copied(tensors["actions"]),
        action_classes=None if classes is None else classes.astype(np.int64),
        region_classes=targets,
        captions=about["captions"],
        times=[tuple(time) for time in about["times"]],
        video=about["video"],
        extra=about["extra"],
    )


def copied(array: np.ndarray) -> np.ndarray:
    """A float32 copy: nothing that is returned may lie in the store's memory."""
    return array.copy() if array.dtype == np.float32 else as_float32(array)
