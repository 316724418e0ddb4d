"""What a clip must be: the types of what files hold, and the one rule about their values.

The rule is applied when a clip is read for use, when a store is written, and when it is validated.
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

#: A box may leave the image by this many pixels: detectors round outwards.
BOX_TOLERANCE = 1.0
NO_REGIONS = "has no regions. Leave the clip out"
#: What a file calls the fields of a clip, for messages, where it has other names.
Names = Mapping[str, str]


# --------------------------------------------------------------------------------- types


def as_count(value: Any, name: str, where: str) -> int:
    """``value`` as a whole number >= 0. Raises DataError naming it otherwise."""
    try:
        count = operator.index(value.item() if isinstance(value, np.generic) else value)
    except TypeError:
        raise DataError(f"{where}: {name} is {value!r:.60}, where a whole number belongs") from None
    if count < 0:
        raise DataError(f"{where}: {name} is {count}, where a number >= 0 belongs")
    return count


def as_matrix(
    array: Any, name: str, where: str, rows: int | None = None, width: int | None = None
) -> np.ndarray:
    """``array`` as float32 of shape (rows, width); any number for None.

    float16 is converted, float32 is not copied. Raises DataError on another type or shape.
    """
    if not isinstance(array, np.ndarray) or array.dtype.kind not in "fiu":
        raise DataError(f"{where}: {name} is not an array of numbers")
    if array.ndim != 2:
        raise DataError(f"{where}: {name} has shape {array.shape}, where two dimensions belong")
    expected = tuple(
        size if given is None else given
        for size, given in zip(array.shape, (rows, width), strict=True)
    )
    if array.shape != expected:
        wanted = ", ".join("any" if size is None else str(size) for size in (rows, width))
        raise DataError(f"{where}: {name} has shape {array.shape}, where ({wanted}) belongs")
    return as_float32(array)


@cache
def _half_values() -> np.ndarray:
    """The float32 value of every float16 bit pattern."""
    return np.arange(1 << 16, dtype=np.uint16).view(np.float16).astype(np.float32)


def as_float32(array: np.ndarray) -> np.ndarray:
    """``array`` as float32; float32 itself is not copied."""
    if array.dtype == np.float16 and array.flags.c_contiguous:
        # Three times as fast as astype, and exact. Patterns are 16 bits: none is clipped.
        return _half_values().take(array.view(np.uint16), mode="clip")
    return np.asarray(array, np.float32)


def as_classes(array: Any, count: int, name: str, where: str) -> np.ndarray:
    """``array`` (count,) as int64. Raises DataError on another type or shape."""
    if not isinstance(array, np.ndarray) or array.dtype.kind not in "iu":
        raise DataError(f"{where}: {name} are not an array of whole numbers")
    if array.shape != (count,):
        raise DataError(f"{where}: {name} have shape {array.shape}, not ({count},)")
    # A number beyond 63 bits stays one, for the message of the rule about values.
    return array.astype(np.int64) if largest_class(array) is not None else array


def as_caption(value: Any, where: str) -> str:
    """``value`` as text that is not blank. Raises DataError otherwise."""
    if not isinstance(value, str) or not value.strip():
        raise DataError(f"{where}: the caption is {value!r:.60}, where text belongs")
    return str(value)


def count_classes(columns: Iterable[Any]) -> int:
    """One more than the largest class number; a wrong column is reported when its clip is read."""
    usable = (each for each in columns if isinstance(each, np.ndarray) and each.dtype.kind in "iu")
    largest = map(largest_class, usable)
    return 1 + max((number for number in largest if number is not None), default=-1)


def largest_class(classes: np.ndarray) -> int | None:
    """The largest of class numbers, -1 for none; None where one is no class of a store."""
    low, high = _range(classes)
    return high if low >= -1 and high < LARGEST else None


def _range(classes: np.ndarray) -> tuple[int, int]:
    """The smallest and the largest number; (0, -1) of none."""
    return (int(classes.min()), int(classes.max())) if classes.size else (0, -1)


# -------------------------------------------------------------------------------- values


def check_clip(clip: Clip, sizes: Sizes | None, where: str, names: Names | None = None) -> None:
    """Raises DataError, beginning with ``where``, with the first of :func:`clip_faults`."""
    for kind, text in clip_faults(clip, sizes, names):
        advice = ". Compute the features again or leave the clip out" * (kind == "not finite")
        raise DataError(f"{where}: {text}{advice}")


def clip_faults(
    clip: Clip, sizes: Sizes | None, names: Names | None = None
) -> Iterator[tuple[str, str]]:
    """Kind and description of everything that is wrong with a clip.

    Kinds: "size", "not finite", "box", "class", "caption" and "span". ``sizes``: those of its store
    or file; None allows any.
    """
    names = names or {}
    region, action = (sizes.region, sizes.action) if sizes else (None, None)
    yield from _matrix_faults(names.get("regions", "regions"), clip.regions, region)
    yield from _matrix_faults(names.get("actions", "actions"), clip.actions, action)
    if not len(clip.regions):
        yield "size", NO_REGIONS
    elif len(clip.boxes) != len(clip.regions):
        yield "size", f"{len(clip.boxes)} boxes for {len(clip.regions)} regions"
    yield from _box_faults(clip)
    if clip.action_classes is not None:
        yield from _action_faults(clip.action_classes, len(clip.actions), sizes)
    if clip.region_classes is not None:
        yield from _target_faults(clip.region_classes, len(clip.regions), sizes)
    if clip.distributions is not None:
        name = names.get("distributions", "region_classes")
        yield from _distribution_faults(clip.distributions, name, len(clip.regions), sizes)
    yield from _caption_faults(clip)


def _matrix_faults(name: str, array: np.ndarray, width: int | None) -> Iterator[tuple[str, str]]:
    if np.ndim(array) != 2 or width not in (None, array.shape[1]):
        wanted = f"(any, {'any' if width is None else width})"
        yield "size", f"{name} of shape {np.shape(array)}, where {wanted} belongs in this store"
    elif not _is_finite(array):
        row, column = np.argwhere(~np.isfinite(array))[0]
        yield "not finite", f"{name}[{row}, {column}] is {array[row, column]}"


def _is_finite(array: np.ndarray) -> bool:
    """Two passes of some microseconds each; NaN is the largest and the smallest number."""
    return not array.size or bool(array.min() > -np.inf and array.max() < np.inf)


def _box_faults(clip: Clip) -> Iterator[tuple[str, str]]:
    """Unless all boxes are x1 y1 x2 y2 in pixels of the image."""
    boxes, height, width = clip.boxes, clip.image_h, clip.image_w
    if height < 1 or width < 1:
        yield "box", f"an image of {height} x {width} pixels"
        return
    if np.ndim(boxes) != 2 or boxes.shape[1] != 4:
        yield from _matrix_faults("boxes", boxes, 4)
        return
    if not len(boxes):
        return
    ordered = boxes.min() >= -BOX_TOLERANCE and (boxes[:, 2:] >= boxes[:, :2]).all()
    right, bottom = boxes[:, 2].max(), boxes[:, 3].max()
    if ordered and right <= width + BOX_TOLERANCE and bottom <= height + BOX_TOLERANCE:
        return  # NaN would fail each of these
    if not np.isfinite(boxes).all():
        yield from _matrix_faults("boxes", boxes, 4)
        return
    limits = np.array([width, height, width, height]) + BOX_TOLERANCE
    bad = ((boxes < -BOX_TOLERANCE) | (boxes > limits)).any(axis=1)
    bad |= (boxes[:, 2:] < boxes[:, :2]).any(axis=1)
    index = int(np.argmax(bad))
    yield (
        "box",
        f"box {index} is {boxes[index].tolist()}, which is not x1 y1 x2 y2 in an image {width} "
        f"pixels wide and {height} high",
    )


def _action_faults(
    classes: np.ndarray, actions: int, sizes: Sizes | None
) -> Iterator[tuple[str, str]]:
    known = sizes.action_classes if sizes else LARGEST
    classes = np.asarray(classes)
    if classes.shape != (actions,) or classes.dtype.kind not in "iu":
        yield "class", f"{classes.size} classes of {actions} actions"
        return
    for number in _range(classes):
        if not -1 <= number < known:
            advice = "Number the classes from 0 on, -1 for none, or leave the clip out"
            yield "class", f"action class {number}, where there are {known}. {advice}"
            return


def _target_faults(
    targets: ClassTargets, regions: int, sizes: Sizes | None
) -> Iterator[tuple[str, str]]:
    yield from _class_shape_faults(targets.width, len(targets.counts), regions, sizes)
    if not _are_probabilities(targets.mass) or not _are_probabilities(targets.rest):
        yield "class", "a class probability is negative or not finite"
    elif not _has_mass(targets):
        yield "class", "a region's class probabilities are all zero"


def _distribution_faults(
    rows: np.ndarray, name: str, regions: int, sizes: Sizes | None
) -> Iterator[tuple[str, str]]:
    yield from _class_shape_faults(rows.shape[1], len(rows), regions, sizes)
    if not rows.size:
        return
    largest = rows.max(axis=1)
    if rows.min() >= 0 and largest.min() > 0 and largest.max() < np.inf:
        return  # NaN would fail each of these
    if not _is_finite(rows):
        yield from _matrix_faults(name, rows, None)
    else:
        yield "class", f"a {name} has negative entries or is all zero. It should hold probabilities"


def _class_shape_faults(
    width: int, rows: int, regions: int, sizes: Sizes | None
) -> Iterator[tuple[str, str]]:
    if sizes and width != sizes.region_classes:
        yield "class", f"{width} region classes, where {sizes.region_classes} belong in this store"
    elif rows != regions:
        yield "class", f"class probabilities of {rows} regions for {regions}"


def _are_probabilities(held: np.ndarray | None) -> bool:
    if held is None or not len(held):
        return True
    return bool(held.min() >= 0) and bool(held.max() < np.inf)  # NaN is neither


def _has_mass(targets: ClassTargets) -> bool:
    """Whether every row holds something; its likeliest class, which stands first, tells."""
    if not len(targets.counts) or targets.counts.min() == 0:
        return bool((targets.totals() > 0).all())
    firsts = np.cumsum(targets.counts) - targets.counts
    return bool(targets.mass[firsts].min() > 0) or bool((targets.totals() > 0).all())


def _caption_faults(clip: Clip) -> Iterator[tuple[str, str]]:
    if isinstance(clip.captions, str):
        yield "caption", "captions are one text, where a list of texts belongs"
    elif len(clip.times) not in (0, len(clip.captions)):
        yield "caption", f"{len(clip.times)} times of {len(clip.captions)} captions"
    elif not all(0 <= end - start < math.inf for start, end in clip.times):
        yield "caption", "a caption's times are no start and end in seconds"
    if clip.span is not None and not 0 <= clip.span[1] - clip.span[0] < math.inf:
        yield "span", f"its span {clip.span} is not a start and an end in seconds"
