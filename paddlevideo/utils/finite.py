"""Finds NaN and infinity in arrays."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np


def fault_of(array: Any) -> str | None:
    """Describes what is not finite: "holds NaN (3 of 256 values, the first at [0, 5])".

    Returns None for a finite array, and for one that does not hold floating-point numbers.
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


def first_fault(arrays: Mapping[str, Any]) -> str | None:
    """Returns the name of the first array that is not finite and its fault; None if all are."""
    faults = ((name, fault_of(array)) for name, array in arrays.items())
    return next((f"{name} {fault}" for name, fault in faults if fault), None)
