"""Copies arrays to the device, in as few blocks as possible."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, TypeVar

import numpy as np
import paddle
from paddle import Tensor

Tree = TypeVar("Tree")


def to_tensors(tree: Tree) -> Tree:
    """Converts the arrays in nested mappings and tuples to tensors on the current device.

    Tensors and everything else stay the same. Arrays of one type are copied as one block: a GPU's
    host waits for each copy, and 30 small ones take longer than the block.
    """
    arrays = _arrays(tree)
    tensors: list[Any] = [None] * len(arrays)
    for dtype in dict.fromkeys(array.dtype for array in arrays):
        same = [index for index, array in enumerate(arrays) if array.dtype == dtype]
        parts = _copied([arrays[index] for index in same])
        for index, tensor in zip(same, parts, strict=True):
            tensors[index] = tensor
    return _with_tensors(tree, iter(tensors))


def gather_alone(rows: Tensor) -> tuple[list[Tensor], int]:
    """Returns the rows of all ranks, and this rank's index, where there is one."""
    return [rows], 0


def _copied(arrays: list[np.ndarray]) -> list[Tensor]:
    """Returns tensors of ``arrays``, which have one type."""
    if len(arrays) == 1:
        return [paddle.to_tensor(arrays[0])]
    sizes = [array.size for array in arrays]
    block = paddle.to_tensor(np.concatenate([array.ravel() for array in arrays]))
    parts = iter(paddle.split(block, [size for size in sizes if size]))
    return [
        next(parts).reshape(array.shape) if size else paddle.to_tensor(array)
        for array, size in zip(arrays, sizes, strict=True)
    ]


def _arrays(tree: Any) -> list[np.ndarray]:
    """Returns the arrays in nested mappings and tuples."""
    found: list[np.ndarray] = []
    for item in tree.values() if isinstance(tree, Mapping) else tree:
        if isinstance(item, np.ndarray):
            found.append(item)
        elif isinstance(item, (Mapping, tuple)):
            found += _arrays(item)
    return found


def _with_tensors(tree: Any, tensors: Iterator[Tensor]) -> Any:
    """Returns ``tree`` with the next of ``tensors`` in the place of each array."""
    items = []
    for item in tree.values() if isinstance(tree, Mapping) else tree:
        if isinstance(item, np.ndarray):
            items.append(next(tensors))
        else:
            nested = isinstance(item, (Mapping, tuple))
            items.append(_with_tensors(item, tensors) if nested else item)
    if isinstance(tree, Mapping):
        return dict(zip(tree, items, strict=True))
    return type(tree)(*items) if hasattr(tree, "_fields") else tuple(items)
