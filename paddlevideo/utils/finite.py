"""Finds NaN and infinity in arrays."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np


def describe_non_finite(array: Any) -> str | None:
    """Describes values that are not finite: "holds NaN (3 of 256 values, the first at [0, 5])".

    Returns None for a finite array, and for one of other than floating-point numbers.
    """
    array = np.asarray(array)
    if array.dtype.kind != "f":
        return None
    bad = ~np.isfinite(array)
    if not bad.any():
        return None
    first = np.argwhere(bad)[0].tolist()
    kind = "NaN" if np.isnan(array).any() else "infinity"
    return f"holds {kind} ({bad.sum()} of {array.size} values, the first at {first})"


def first_non_finite(arrays: Mapping[str, Any]) -> str | None:
    """Returns name and description of the first array that is not finite; None if all are."""
    described = ((name, describe_non_finite(array)) for name, array in arrays.items())
    return next((f"{name} {text}" for name, text in described if text), None)
