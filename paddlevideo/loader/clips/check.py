"""Validity of clips: the types of a file's values, and the values themselves.

Values are checked when a clip is read for use, when a store is written, and when it is validated.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from typing import Any

import numpy as np

from paddlevideo.loader.clips.clip import LARGEST, ClassTargets, Clip, Sizes
from paddlevideo.utils.errors import DataError

#: Number of pixels by which a box may leave the image: detectors round outwards.
BOX_TOLERANCE = 1.0
#: A file's own names for the fields of a clip, for messages.
Names = Mapping[str, str]
Faults = Iterator[tuple[str, str]]  # kind and description


def as_clip(
    fields: Mapping[str, Any],
    where: str,
    names: Names,
    sizes: Sizes | None = None,
    counts: tuple[Any, Any] | None = None,
) -> Clip:
    """Returns the checked clip of a file's values, given by the names of ``Clip``.

    ``region_classes`` and ``action_classes`` may be absent. ``sizes``: those of all clips of the
    file; ``counts``: of regions and actions, if the file has them. float16 becomes float32,
    float32 is not copied. Raises DataError, beginning with ``where``.
    """
    name = {key: names.get(key, key) for key in (*fields, "n", "m")}
    regions, actions = (
        [_as_count(count, each, where) for count, each in zip(counts, "nm", strict=True)]
        if counts
        else [_row_count(fields[key], name[key], where) for key in ("regions", "actions")]
    )
    if not regions:
        raise DataError(f"{where}: has no regions. Leave the clip out")
    wanted = sizes or Sizes(0, 0)
    clip = Clip(
        id=fields["id"],
        regions=_as_matrix(fields, "regions", name, where, (regions, wanted.region)),
        boxes=_as_matrix(fields, "boxes", name, where, (regions, 4)),
        image_h=_as_count(fields["image_h"], name["image_h"], where),
        image_w=_as_count(fields["image_w"], name["image_w"], where),
        actions=_as_matrix(fields, "actions", name, where, (actions, wanted.action)),
    )
    if "region_classes" in fields:
        shape = (regions, wanted.region_classes)
        clip.distributions = _as_matrix(fields, "region_classes", name, where, shape)
    if "action_classes" in fields:
        classes = fields["action_classes"]
        clip.action_classes = _as_classes(classes, actions, name["action_classes"], where)
    check_clip(clip, None, where, names)
    return clip


def _row_count(array: Any, name: str, where: str) -> int:
    if not isinstance(array, np.ndarray) or array.ndim != 2:
        raise DataError(f"{where}: {name} is not a two-dimensional array")
    return len(array)


def _as_count(value: Any, name: str, where: str) -> int:
    try:
        count = operator.index(value.item() if hasattr(value, "item") else value)
    except (TypeError, ValueError):
        raise DataError(f"{where}: {name} is {value!r:.60}; expected a whole number") from None
    if count < 0:
        raise DataError(f"{where}: {name} is {count}; expected a number >= 0")
    return count


def _as_matrix(
    fields: Mapping[str, Any], key: str, name: Names, where: str, shape: tuple[int, int]
) -> np.ndarray:
    """Returns the array under ``key`` as float32; a width of 0 allows any."""
    array, (rows, width) = fields[key], shape
    if not isinstance(array, np.ndarray) or array.dtype.kind not in "fiu":
        raise DataError(f"{where}: {name[key]} is not an array of numbers")
    if array.ndim != 2 or len(array) != rows or width not in (0, array.shape[1]):
        wanted = f"({rows}, {width or 'any'})"
        raise DataError(f"{where}: {name[key]} has shape {array.shape}; expected {wanted}")
    return as_float32(array)


@cache
def _half_values() -> np.ndarray:
    """Returns the float32 value of every float16 bit pattern."""
    return np.arange(1 << 16, dtype=np.uint16).view(np.float16).astype(np.float32)


def as_float32(array: np.ndarray) -> np.ndarray:
    """Returns ``array`` as float32, without a copy if it is float32."""
    if array.dtype == np.float16 and array.flags.c_contiguous:
        # Three times as fast as astype, and exact. 16-bit patterns are never clipped.
        return _half_values().take(array.view(np.uint16), mode="clip")
    return np.asarray(array, np.float32)


def _as_classes(array: Any, count: int, name: str, where: str) -> np.ndarray:
    if not isinstance(array, np.ndarray) or array.dtype.kind not in "iu":
        raise DataError(f"{where}: {name} are not an array of whole numbers")
    if array.shape != (count,):
        raise DataError(f"{where}: {name} have shape {array.shape}, not ({count},)")
    # A number beyond 63 bits is not converted: the check of values reports it.
    return array if max(_range(array)) >= LARGEST else array.astype(np.int64)


def as_caption(value: Any, where: str) -> str:
    """Returns ``value`` if it is text and not blank. Raises DataError otherwise."""
    if not isinstance(value, str) or not value.strip():
        raise DataError(f"{where}: the caption is {value!r:.60}; expected text")
    return str(value)


def count_classes(columns: Iterable[Any]) -> int:
    """Returns the largest class number plus one; ignores wrong columns, which reading reports."""
    usable = (each for each in columns if isinstance(each, np.ndarray) and each.dtype.kind in "iu")
    ranges = (low_high for low_high in map(_range, usable) if low_high[0] >= -1)
    return 1 + max((high for _, high in ranges if high < LARGEST), default=-1)


def _range(classes: np.ndarray) -> tuple[int, int]:
    """Returns the smallest and the largest number; (0, -1) if there are none."""
    return (int(classes.min()), int(classes.max())) if classes.size else (0, -1)


# --------------------------------------------------------------------------------------- values


def check_clip(clip: Clip, sizes: Sizes | None, where: str, names: Names | None = None) -> None:
    """Raises DataError, beginning with ``where``, with the first of :func:`clip_faults`."""
    for kind, text in clip_faults(clip, sizes, names):
        advice = ". Compute the features again or leave the clip out" * (kind == "not finite")
        raise DataError(f"{where}: {text}{advice}")


def clip_faults(clip: Clip, sizes: Sizes | None, names: Names | None = None) -> Faults:
    """Yields kind and description of each fault of a clip.

    Kinds: "size", "not finite", "box", "class", "caption" and "span". ``sizes``: those of its
    store; None allows any.
    """
    names = names or {}
    region, action = (sizes.region, sizes.action) if sizes else (None, None)
    yield from _matrix_faults(names.get("regions", "regions"), clip.regions, region)
    yield from _matrix_faults(names.get("actions", "actions"), clip.actions, action)
    if not len(clip.regions):
        yield "size", "has no regions. Leave the clip out"
    elif len(clip.boxes) != len(clip.regions):
        yield "size", f"{len(clip.boxes)} boxes for {len(clip.regions)} regions"
    yield from _box_faults(clip)
    if clip.action_classes is not None:
        known = sizes.action_classes if sizes else LARGEST
        yield from _action_faults(np.asarray(clip.action_classes), len(clip.actions), known)
    if clip.region_classes is not None:
        yield from _target_faults(clip.region_classes, len(clip.regions), sizes)
    if clip.distributions is not None:
        yield from _distribution_faults(clip.distributions, names)
    yield from _caption_faults(clip)


def _matrix_faults(name: str, array: np.ndarray, width: int | None) -> Faults:
    if np.ndim(array) != 2 or width not in (None, array.shape[1]):
        yield (
            "size",
            f"{name} has shape {np.shape(array)}; expected (any, {width}) in this store",
        )
    elif not _is_finite(array):
        row, column = np.argwhere(~np.isfinite(array))[0]
        yield "not finite", f"{name}[{row}, {column}] is {array[row, column]}"


def _is_finite(array: np.ndarray) -> bool:
    """Whether all values are finite. NaN and infinity survive in the sum of all squares.

    That is one pass, half the time of ``isfinite``, which decides if large values overflow.
    """
    return math.isfinite(np.vdot(array, array)) or bool(np.isfinite(array).all())


def _box_faults(clip: Clip) -> Faults:
    """Yields a fault unless all boxes are x1 y1 x2 y2 in pixels of the image."""
    boxes, height, width = clip.boxes, clip.image_h, clip.image_w
    if height < 1 or width < 1:
        yield "box", f"an image of {height} x {width} pixels"
        return
    if np.ndim(boxes) == 2 and boxes.shape[1] == 4 and _are_inside(boxes, height, width):
        return
    faults = list(_matrix_faults("boxes", boxes, 4))
    yield from faults
    if not faults:
        limits = np.array([width, height, width, height]) + BOX_TOLERANCE
        bad = ((boxes < -BOX_TOLERANCE) | (boxes > limits)).any(axis=1)
        bad |= (boxes[:, 2:] < boxes[:, :2]).any(axis=1)
        index = int(np.argmax(bad))
        text = f"box {index} is {boxes[index].tolist()}, which is not x1 y1 x2 y2 in an image"
        yield "box", f"{text} {width} pixels wide and {height} high"


def _are_inside(boxes: np.ndarray, height: int, width: int) -> bool:
    if not len(boxes):
        return True
    ordered = boxes.min() >= -BOX_TOLERANCE and (boxes[:, 2:] >= boxes[:, :2]).all()
    right, bottom = boxes[:, 2].max(), boxes[:, 3].max()  # NaN fails each comparison
    return bool(ordered and right <= width + BOX_TOLERANCE and bottom <= height + BOX_TOLERANCE)


def _action_faults(classes: np.ndarray, actions: int, known: int) -> Faults:
    if classes.shape != (actions,) or classes.dtype.kind not in "iu":
        yield "class", f"{classes.size} classes of {actions} actions"
        return
    for number in _range(classes):
        if not -1 <= number < known:
            advice = "Number the classes from 0 on, -1 for none, or leave the clip out"
            yield "class", f"action class {number}, but there are {known}. {advice}"
            return


def _target_faults(targets: ClassTargets, regions: int, sizes: Sizes | None) -> Faults:
    if sizes and targets.width != sizes.region_classes:
        yield "class", f"{targets.width} region classes; the store has {sizes.region_classes}"
    elif len(targets.counts) != regions:
        yield "class", f"class probabilities of {len(targets.counts)} regions for {regions}"
    elif not all(
        each is None or not len(each) or (each.min() >= 0 and each.max() < np.inf)
        for each in (targets.mass, targets.rest)
    ):
        yield "class", "a class probability is negative or not finite"
    elif not _has_mass(targets):
        yield "class", "a region's class probabilities are all zero"


def _has_mass(targets: ClassTargets) -> bool:
    """Whether every row has a positive probability. Usually every kept class of it has one."""
    if targets.counts.min(initial=1) > 0 and targets.mass.min(initial=1) > 0:
        return True
    return bool((targets.totals() > 0).all())


def _distribution_faults(rows: np.ndarray, names: Names) -> Faults:
    name = names.get("region_classes", "region_classes")
    largest = rows.max(axis=1, initial=0)
    if rows.min(initial=0) >= 0 and largest.min() > 0 and largest.max() < np.inf:
        return  # NaN fails each comparison
    if not _is_finite(rows):
        yield from _matrix_faults(name, rows, None)
    else:
        yield "class", f"a {name} has negative entries or is all zero. It should be probabilities"


def _caption_faults(clip: Clip) -> Faults:
    if isinstance(clip.captions, str):
        yield "caption", "captions are one text; expected a list"
    elif len(clip.times) not in (0, len(clip.captions)):
        yield "caption", f"{len(clip.times)} times of {len(clip.captions)} captions"
    elif not all(0 <= end - start < math.inf for start, end in clip.times):
        yield "caption", "a caption's times are not a start and an end in seconds"
    if clip.span is not None and not 0 <= clip.span[1] - clip.span[0] < math.inf:
        yield "span", f"its span {clip.span} is not a start and an end in seconds"
