"""Encodes clips as bytes: a checksum and safetensors, which are read without running code."""

from __future__ import annotations

import json
import math
import operator
import struct
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np

from paddlevideo.loader.clips.check import as_float32
from paddlevideo.loader.clips.clip import About, ClassTargets, Clip
from paddlevideo.utils.errors import DataError

#: Supported types of tensors by their names in safetensors files.
TYPES: dict[str, np.dtype[Any]] = {
    "F16": np.dtype("<f2"),
    "F32": np.dtype("<f4"),
    "I32": np.dtype("<i4"),
    "U16": np.dtype("<u2"),
}
#: CRC32 of the safetensors bytes, and version; 8 bytes keep the arrays aligned.
PREFIX = struct.Struct("<II")
VERSION = 1
HEADER = struct.Struct("<Q")
#: Pixels; guards width x height against overflow.
LARGEST_SIDE = 1 << 20


def encode(clip: Clip, dtype: str = "float16") -> bytes:
    """Returns the record of a clip. Raises DataError if ``dtype`` cannot represent a feature."""
    from safetensors.numpy import save

    tensors, text = parts_of(clip, dtype)
    body = save(tensors, {"clip": text})
    return PREFIX.pack(zlib.crc32(body), VERSION) + body


def parts_of(clip: Clip, dtype: str) -> tuple[dict[str, np.ndarray], str]:
    """Returns the tensors of a clip's record, and all else as JSON.

    Raises DataError if ``dtype`` cannot represent a feature, or UTF-8 a text.
    """
    targets = clip.with_targets().region_classes
    half = np.dtype(dtype)
    tensors = {
        "regions": as_features(clip.regions, half, "regions", clip.id),
        "boxes": np.ascontiguousarray(clip.boxes, np.float32),
        "actions": as_features(clip.actions, half, "actions", clip.id),
    }
    if clip.action_classes is not None:
        tensors["action_classes"] = np.ascontiguousarray(clip.action_classes, np.int32)
    if targets is not None:
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
    if targets is not None:
        about["region_classes"] = targets.width
    text = json.dumps(about, ensure_ascii=False, separators=(",", ":"))
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise DataError(f"clip {clip.id!r}: a text cannot be encoded as UTF-8 ({error})") from None
    return tensors, text


def as_features(array: np.ndarray, dtype: np.dtype, name: str, clip: str) -> np.ndarray:
    """Returns ``array`` (rows, width) as ``dtype``. Raises DataError if a value overflows."""
    with np.errstate(over="ignore"):
        stored = np.ascontiguousarray(array, dtype)
    if not np.isfinite(stored).all():
        bad = np.argwhere(~np.isfinite(stored))[0]
        value = np.asarray(array)[tuple(bad)]
        advice = "store float32" if np.isfinite(value) else "compute the features again"
        raise DataError(f'clip "{clip}": {name}[{bad[0]}, {bad[1]}] is {value}: {advice}')
    return stored


def decode(record: Any, where: str) -> Clip:
    """Returns the clip of a record (bytes or a buffer). Its arrays are copies, features float32.

    Raises DataError, beginning with ``where``, if the record is damaged.
    """
    view = memoryview(record)
    with damage(where):
        tensors, about = _parse(view)
        return clip_of(tensors, about)


def decode_about(record: Any, where: str) -> About:
    """Returns id, captions and origin of a clip. Does not read arrays or verify the checksum.

    Raises DataError, beginning with ``where``, if the record is damaged.
    """
    with damage(where):
        _, about, _ = _head(memoryview(record))
        return about_of(about)


_DAMAGE = (
    *(KeyError, ValueError, TypeError, IndexError, AttributeError),
    *(OverflowError, RecursionError, struct.error),
)


_LEAVE_OUT = "Write it again: tools/prepare_data.py validate --fix leaves it out"


@contextmanager
def damage(where: str, advice: str = _LEAVE_OUT) -> Iterator[None]:
    """Turns the exceptions of damaged records into a DataError."""
    try:
        yield
    except _DAMAGE as error:
        raise DataError(
            f"{where}: the record is damaged ({type(error).__name__}: {error}). {advice}"
        ) from None


def _head(view: memoryview) -> tuple[dict[str, Any], dict[str, Any], memoryview]:
    """Returns a record's tensor headers by name, its other entries, and the tensors' bytes."""
    _, version = PREFIX.unpack_from(view)
    if version != VERSION:
        raise ValueError(f"version {version}; expected {VERSION}")
    body = view[PREFIX.size :]
    (length,) = HEADER.unpack_from(body)
    start = HEADER.size + length
    if start > len(body):
        raise ValueError(f"a header of {length} bytes in a record of {len(body)}")
    header = json.loads(bytes(body[HEADER.size : start]))
    about = json.loads(header.pop("__metadata__")["clip"])
    return header, about, body[start:]


def _parse(view: memoryview) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Returns arrays that refer to ``view``, and the other entries. Raises one of ``_DAMAGE``."""
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
            raise ValueError(f"{name} of shape {entry['shape']} at bytes {first} to {last}")
        tensors[name] = np.frombuffer(data[first:last], kind).reshape(entry["shape"])
    return tensors, about


def about_of(entries: Mapping[str, Any]) -> About:
    """Returns id, captions and origin. Raises ValueError for wrong types."""
    name, captions, times, video = (entries[key] for key in ("id", "captions", "times", "video"))
    source, span = entries.get("source", ""), entries.get("span")  # older records have none
    if not isinstance(captions, list) or not isinstance(times, list):
        raise ValueError("captions or times are not a list")
    for text in (name, video, source, *captions):
        if not isinstance(text, str):
            raise ValueError(f"expected text, got {text!r:.40}")
        text.encode()  # a lone surrogate raises UnicodeEncodeError, a ValueError
    if len(times) not in (0, len(captions)):
        raise ValueError(f"{len(times)} times of {len(captions)} captions")
    timed = times if span is None else [*times, span]
    spans = [(float(start), float(end)) for start, end in timed]
    if not all(math.isfinite(start) and math.isfinite(end) for start, end in spans):
        raise ValueError("times are not finite")
    return About(
        name,
        captions,
        spans[: len(times)],
        video,
        source,
        spans[-1] if timed is not times else None,
    )


def clip_of(tensors: Mapping[str, np.ndarray], entries: Mapping[str, Any]) -> Clip:
    """Returns the clip of a record's tensors and other entries. Raises one of ``_DAMAGE``."""
    regions = _matrix(tensors, "regions")
    height, width = (operator.index(side) for side in entries["size"])
    if not (0 < height < LARGEST_SIDE and 0 < width < LARGEST_SIDE):
        raise ValueError(f"an image of {height} x {width} pixels")
    if not isinstance(entries["extra"], dict):
        raise ValueError(f"{entries['extra']!r:.40} under extra")
    clip = Clip(
        regions=regions,
        boxes=_matrix(tensors, "boxes"),
        image_h=height,
        image_w=width,
        actions=_matrix(tensors, "actions"),
        extra=entries["extra"],
        **vars(about_of(entries)),
    )
    if "classes" in tensors:
        clip.region_classes = _targets(tensors, operator.index(entries["region_classes"]))
    if (classes := tensors.get("action_classes")) is not None:
        if classes.ndim != 1:
            raise ValueError(f"action_classes has {classes.ndim} dimensions")
        clip.action_classes = classes.astype(np.int64)
    return clip


def _matrix(tensors: Mapping[str, np.ndarray], name: str) -> np.ndarray:
    """Returns a float32 copy, which does not refer to the store's memory."""
    array = tensors[name]
    if array.ndim != 2:
        raise ValueError(f"{name} has {array.ndim} dimensions")
    return array.copy() if array.dtype == np.float32 else as_float32(array)


def _targets(tensors: Mapping[str, np.ndarray], width: int) -> ClassTargets:
    counts, classes = (tensors[name].astype(np.int64) for name in ("class_counts", "classes"))
    mass, rest = tensors["class_mass"].astype(np.float32), tensors.get("class_rest")
    if len(counts) != len(tensors["regions"]):
        raise ValueError(f"classes of {len(counts)} regions for {len(tensors['regions'])}")
    return ClassTargets(
        counts, classes, mass, width, None if rest is None else rest.astype(np.float32)
    )
