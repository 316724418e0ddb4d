"""Values of every kind that the reader of pickles accepts."""

from __future__ import annotations

from collections import OrderedDict

import numpy as np

PROTOCOLS = (2, 3, 4, 5)


def same(left, right) -> bool:
    if type(left) is not type(right):
        return False
    if isinstance(left, np.ndarray):
        if left.dtype != right.dtype or left.shape != right.shape:
            return False
        return (
            all(map(same, left.ravel(), right.ravel()))
            if left.dtype == object
            else (np.array_equal(left, right))
        )
    if isinstance(left, dict):
        return list(left) == list(right) and all(same(left[key], right[key]) for key in left)
    if isinstance(left, (list, tuple)):
        return len(left) == len(right) and all(map(same, left, right))
    return left == right


OBJECTS = np.empty((2, 2), dtype=object)
OBJECTS[:] = [[1, "a"], [None, np.arange(3.0)]]
SAMPLES = {
    "float32": np.linspace(-1, 1, 6, dtype=np.float32).reshape(2, 3),
    "float16": np.arange(4, dtype=np.float16),
    "integers": np.arange(5),
    "bytes": np.arange(3, dtype=np.uint8),
    "bool": np.array([True, False]),
    "text": np.array(["ab", "ü"]),
    "byte text": np.array([b"xy", b"z"]),
    "fortran": np.arange(6.0).reshape(2, 3).T,
    "strided": np.arange(12.0)[::3],
    "big endian": np.arange(3, dtype=">i4"),
    "no rows": np.zeros((0, 3), np.float32),
    "no dimension": np.array(2.5),
    "objects": OBJECTS,
    "scalar": np.float32(3),
    "plain": {"a": (1, 2.5, None, True, -5, 2**70, b"qq", b"", "ü"), 3: [[], {}, ()]},
    "large bytes": bytes(range(256)) * 4,
    "ordered": OrderedDict(b=1, a=2),
}
