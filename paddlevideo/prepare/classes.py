"""Numbers of action classes on their way into a store: which it can hold."""

from __future__ import annotations

import numpy as np

from paddlevideo.loader.store.manifest import LARGEST
from paddlevideo.utils.errors import DataError


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
