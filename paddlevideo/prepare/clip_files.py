"""A clip in a file of its own, .npz or .npy, read without trusting it."""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from paddlevideo import safe_pickle
from paddlevideo.loader.regions import as_count, as_matrix, check_boxes
from paddlevideo.loader.store import ClassTargets, Clip
from paddlevideo.loader.store.manifest import LARGEST
from paddlevideo.utils.errors import DataError

NEEDED = ("regions", "boxes", "image_h", "image_w", "actions")
CLASSES = ("region_classes", "action_classes")
#: What PaddleVideo's records call them.
ALIASES = {"features": "regions", "action_features": "actions"}
#: An array may unpack to so many times its size in the file, but for small ones, and to so much.
_RATIO, _SMALL, _MOST = 1000, 64 << 20, 4 << 30


def read_arrays(path: Path, names: Sequence[str]) -> dict[str, np.ndarray]:
    """Those of the arrays called ``names`` that the file has.

    Of an .npz no other is unpacked. Raises DataError where the file is damaged, or an array
    pretends to be far larger than it.
    """
    if not path.is_file():
        what = "is not a regular file" if path.exists() else "there is no such file"
        raise DataError(f"{path}: {what}")
    return (_saved if path.suffix.lower() == ".npy" else _zipped)(path, names)


def _saved(path: Path, names: Sequence[str]) -> dict[str, np.ndarray]:
    """Of a dictionary that np.save wrote, under these names or PaddleVideo's."""
    array = safe_pickle.load_npy(path)
    held = array[()] if array.dtype == object and array.ndim == 0 else None
    if not isinstance(held, dict):
        raise DataError(
            f"{path}: holds one array. A clip's .npy is a dictionary of arrays that np.save wrote"
        )
    known = {ALIASES.get(key, key): value for key, value in held.items()}
    return {name: np.asarray(known[name]) for name in names if name in known}


def _zipped(path: Path, names: Sequence[str]) -> dict[str, np.ndarray]:
    try:
        with zipfile.ZipFile(path) as archive:
            held = set(archive.namelist())
            size = path.stat().st_size
            return {
                name: _array(archive, f"{name}.npy", size)
                for name in names
                if f"{name}.npy" in held
            }
    except Exception as fault:
        # What zipfile, its decompressors and NumPy's header parser raise on damage has no common
        # class: zlib.error, RuntimeError (encrypted), TokenError, MemoryError, and others.
        text = str(fault) or type(fault).__name__
        raise DataError(f"{path}: is not a whole .npz of plain arrays ({text})") from None


def _array(archive: zipfile.ZipFile, name: str, size: int) -> np.ndarray:
    entry = archive.getinfo(name)
    if entry.file_size > min(max(_RATIO * min(entry.compress_size, size), _SMALL), _MOST):
        raise ValueError(f"{name} would unpack to {entry.file_size} bytes")
    with archive.open(entry) as file:
        return np.lib.format.read_array(file, allow_pickle=False)


def read_clip(path: Path, name: str, kept_mass: float) -> Clip:
    """The clip of a file.

    Raises DataError where the file is damaged, lacks an array, or one is not what it should be.
    """
    arrays, where = read_arrays(path, (*NEEDED, *CLASSES)), str(path)
    absent = [key for key in NEEDED if key not in arrays]
    if absent:
        raise DataError(f"{where}: lacks {', '.join(absent)}")
    regions, actions = (_rows(arrays[key], key, where) for key in ("regions", "actions"))
    clip = Clip(
        id=name,
        regions=as_matrix(regions, "regions", where, len(regions), None),
        boxes=as_matrix(arrays["boxes"], "boxes", where, len(regions), 4),
        image_h=as_count(arrays["image_h"][()], "image_h", where),
        image_w=as_count(arrays["image_w"][()], "image_w", where),
        actions=as_matrix(actions, "actions", where, len(actions), None),
    )
    if not len(regions):
        raise DataError(f"{where}: has no regions. Leave the clip out")
    check_boxes(clip.boxes, clip.image_h, clip.image_w, where)
    if "region_classes" in arrays:
        dense = as_matrix(arrays["region_classes"], "region_classes", where, len(regions), None)
        if dense.min(initial=0) < 0 or not dense.any(axis=1).all():
            raise DataError(f"{where}: a class distribution has negative entries or is all zero")
        clip.region_classes = ClassTargets.of(dense, kept_mass)
    if "action_classes" in arrays:
        clip.action_classes = _class_numbers(arrays["action_classes"], len(actions), where)
    return clip


def _rows(array: np.ndarray, name: str, where: str) -> np.ndarray:
    if array.ndim != 2:
        raise DataError(f"{where}: {name} has shape {array.shape}, where two dimensions belong")
    return array


def _class_numbers(array: np.ndarray, count: int, where: str) -> np.ndarray:
    if array.dtype.kind not in "iu" or array.shape != (count,):
        raise DataError(f"{where}: action_classes are not {count} whole numbers")
    check_action_classes(array, where)
    return array.astype(np.int64)


def check_action_classes(classes: np.ndarray, where: str) -> None:
    """Raises DataError, beginning with ``where``, for a number that no store can hold."""
    bad = _first_bad(classes)
    if bad is not None:
        raise DataError(
            f"{where}: action class {bad}, where -1 (none) to {LARGEST - 1} belong. Number the "
            "classes from 0 on, or leave the clip out"
        )


def largest_class(classes: np.ndarray) -> int:
    """The largest number; -1 for none, and for numbers that are refused when the clip is read."""
    usable = classes.dtype.kind in "iu" and classes.size and _first_bad(classes) is None
    return int(classes.max()) if usable else -1


def _first_bad(classes: np.ndarray) -> int | None:
    for number in (classes.min(initial=0), classes.max(initial=0)):
        if not -1 <= int(number) < LARGEST:
            return int(number)
    return None
