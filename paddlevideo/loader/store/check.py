"""What every clip of a store must be: asked when it is written, read for use, and validated."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from paddlevideo.loader.regions import check_boxes
from paddlevideo.loader.store.manifest import Sizes
from paddlevideo.loader.store.records import ClassTargets, Clip
from paddlevideo.utils.errors import DataError


def check_clip(clip: Clip, sizes: Sizes, where: str) -> None:
    """Raises DataError, beginning with ``where``, if the clip does not fit a store of ``sizes``."""
    for _, text in clip_faults(clip, sizes):
        raise DataError(f"{where}: {text}")


def is_sound(clip: Clip, sizes: Sizes) -> bool:
    """Whether a clip that was decoded is beyond doubt: 55 us, where asking for its faults takes 90.

    What shapes a record has was seen to when it was decoded. False: ask :func:`clip_faults`.
    """
    regions, actions = clip.regions, clip.actions
    widths = (regions.shape[1], actions.shape[1]) == (sizes.region, sizes.action)
    if not widths or not len(regions) or clip.boxes.shape != (len(regions), 4):
        return False
    # NaN and infinity survive a product with itself.
    squares = [np.dot(flat, flat) for flat in (regions.reshape(-1), actions.reshape(-1))]
    if not math.isfinite(sum(squares)) or not _is_within(
        clip.action_classes, -1, sizes.action_classes - 1, len(actions)
    ):
        return False
    if clip.region_classes is not None and not _is_sound_target(clip.region_classes, sizes):
        return False
    try:
        check_boxes(clip.boxes, clip.image_h, clip.image_w, "")
    except DataError:
        return False
    spans = clip.times if clip.span is None else [*clip.times, clip.span]
    return all(start <= end for start, end in spans)


def _is_within(classes: np.ndarray | None, low: int, high: int, count: int) -> bool:
    if classes is None:
        return True
    fits = len(classes) == count
    return fits and (not count or bool(low <= classes.min() and classes.max() <= high))


def _is_sound_target(targets: ClassTargets, sizes: Sizes) -> bool:
    if targets.width != sizes.region_classes or targets.counts.min(initial=1) == 0:
        return False
    firsts = np.cumsum(targets.counts) - targets.counts
    sound = _are_probabilities(targets.mass) and _are_probabilities(targets.rest)
    return sound and bool(targets.mass[firsts].min(initial=1) > 0)


def clip_faults(clip: Clip, sizes: Sizes) -> Iterator[tuple[str, str]]:
    """Kind and description of everything that is wrong with a clip.

    Kinds: "size", "not finite", "box", "class", "caption" and "span".
    """
    features = {"regions": (clip.regions, sizes.region), "actions": (clip.actions, sizes.action)}
    for name, (array, width) in {**features, "boxes": (clip.boxes, 4)}.items():
        if np.ndim(array) != 2 or array.shape[1] != width:
            shape = np.shape(array)
            yield "size", f"{name} of shape {shape}, where (any, {width}) belongs in this store"
        elif not _is_finite(array):
            row, column = np.argwhere(~np.isfinite(array))[0]
            yield "not finite", f"{name}[{row}, {column}] is {array[row, column]}"
    if not len(clip.regions):
        yield "size", "has no regions. Leave the clip out"
    elif len(clip.boxes) != len(clip.regions):
        yield "size", f"{len(clip.boxes)} boxes for {len(clip.regions)} regions"
    elif np.shape(clip.boxes)[1:] == (4,) and _is_finite(clip.boxes):
        try:
            check_boxes(np.asarray(clip.boxes), clip.image_h, clip.image_w, "")
        except DataError as fault:
            yield "box", str(fault).removeprefix(": ")
    yield from _action_faults(clip, sizes)
    if clip.region_classes is not None:
        yield from _target_faults(clip.region_classes, len(clip.regions), sizes)
    yield from _caption_faults(clip)


def _is_finite(array: np.ndarray) -> bool:
    """In one cheap pass in the usual case: NaN and infinity survive a product with itself."""
    flat = np.ascontiguousarray(array).reshape(-1)
    with np.errstate(all="ignore"):
        return math.isfinite(np.dot(flat, flat)) or bool(np.isfinite(array).all())


def _action_faults(clip: Clip, sizes: Sizes) -> Iterator[tuple[str, str]]:
    classes = clip.action_classes
    if classes is None:
        return
    classes = np.asarray(classes)
    if classes.shape != (len(clip.actions),) or classes.dtype.kind not in "iu":
        yield "class", f"{classes.size} classes of {len(clip.actions)} actions"
        return
    outside = (classes < -1) | (classes >= sizes.action_classes)
    if outside.any():
        bad = classes[outside][0]
        yield "class", f"action class {bad}, where there are {sizes.action_classes}"


def _target_faults(targets: ClassTargets, regions: int, sizes: Sizes) -> Iterator[tuple[str, str]]:
    if targets.width != sizes.region_classes:
        wanted = f"{sizes.region_classes} belong in this store"
        yield "class", f"{targets.width} region classes, where {wanted}"
    elif len(targets.counts) != regions:
        yield "class", f"class probabilities of {len(targets.counts)} regions for {regions}"
    elif len(targets.classes) and not (
        0 <= targets.classes.min() <= targets.classes.max() < targets.width
    ):
        yield "class", f"region classes beyond the {targets.width} of the store"
    elif not _are_probabilities(targets.mass) or not _are_probabilities(targets.rest):
        yield "class", "a class probability is negative or not finite"
    elif not _has_mass(targets):
        yield "class", "a region's class probabilities are all zero"


def _are_probabilities(held: np.ndarray | None) -> bool:
    if held is None or not len(held):
        return True
    return bool(held.min() >= 0) and bool(held.max() < np.inf)  # NaN is neither


def _has_mass(targets: ClassTargets) -> bool:
    """Whether every row holds something; its likeliest class, which stands first, tells."""
    if not len(targets.counts) or targets.counts.min() == 0:
        return bool((targets.totals() > 0).all())
    firsts = np.cumsum(targets.counts) - targets.counts
    return bool((targets.mass[firsts] > 0).all()) or bool((targets.totals() > 0).all())


def _caption_faults(clip: Clip) -> Iterator[tuple[str, str]]:
    if isinstance(clip.captions, str):
        yield "caption", "captions are one text, where a list of texts belongs"
    elif len(clip.times) not in (0, len(clip.captions)):
        yield "caption", f"{len(clip.times)} times of {len(clip.captions)} captions"
    elif not all(0 <= end - start < math.inf for start, end in clip.times):
        yield "caption", "a caption's times are no start and end in seconds"
    if clip.span is not None and not 0 <= clip.span[1] - clip.span[0] < math.inf:
        yield "span", f"its span {clip.span} is not a start and an end in seconds"
