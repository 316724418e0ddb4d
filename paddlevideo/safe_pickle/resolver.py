"""Makes arrays of the machine's records; every size is compared with that of the file."""

from __future__ import annotations

import math
import re
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import numpy as np

from paddlevideo.safe_pickle.machine import ArrayRecord, DTypeRecord, Latin1Record, require

_MAX_DEPTH = 50
_PLAIN = frozenset([str, int, float, bool, type(None), bytes])
#: bool, integers, floats, byte strings, text, objects; widths in bytes or characters.
_DTYPE_CODE = re.compile(r"b1|[iuf]\d{1,2}|[SU][1-9]\d{0,8}|O8?")


class Resolver:
    """Turns the machine's records into arrays.

    Results are cached by the identity of their sources, so that shared references stay shared and
    a file of n bytes costs at most n steps.
    """

    def __init__(self, buffer: memoryview, copy: bool):
        self.copy = copy
        self.budget = 2 * len(buffer) + 1024
        # By id of the source, which is kept too: while it lives, its id is not used again.
        self.done: dict[int, tuple[Any, Any]] = {}
        self.open: set[int] = set()
        self.makers: dict[type, Callable[[Any, int], Any]] = {
            list: self._list,
            tuple: self._tuple,
            dict: self._dict,
            OrderedDict: self._dict,
            memoryview: self._bytes,
            Latin1Record: self._latin1,
            DTypeRecord: self._dtype,
            ArrayRecord: self._array,
        }

    def resolve(self, value: Any, depth: int = 0) -> Any:
        """Returns ``value`` with records replaced by arrays; lists and dictionaries in place."""
        kind = type(value)
        if kind in _PLAIN:
            return value
        identity = id(value)
        if identity in self.done:
            return self.done[identity][1]
        require(identity not in self.open, "a container that contains itself")
        require(depth < _MAX_DEPTH, f"containers nested more than {_MAX_DEPTH} deep")
        require(kind in self.makers, "a bare name, which is not data")
        self.open.add(identity)
        result = self.makers[kind](value, depth + 1)
        self.open.discard(identity)
        self.done[identity] = (value, result)
        return result

    def charge(self, size: int) -> None:
        """Counts bytes of arrays. Raises Refused if they exceed the budget from the file's size."""
        self.budget -= size
        require(self.budget >= 0, "arrays that are larger than the file")

    def _list(self, value: list[Any], depth: int) -> list[Any]:
        for index, item in enumerate(value):
            if type(item) not in _PLAIN:
                value[index] = self.resolve(item, depth)
        return value

    def _tuple(self, value: tuple, depth: int) -> tuple:
        items = tuple([self.resolve(item, depth) for item in value])
        unchanged = all(new is old for new, old in zip(items, value, strict=True))
        return value if unchanged else items

    def _dict(self, value: dict[Any, Any], depth: int) -> dict[Any, Any]:
        for key, item in value.items():
            if type(item) not in _PLAIN:
                value[key] = self.resolve(item, depth)
        return value

    def _bytes(self, value: memoryview, _depth: int) -> bytes:
        self.charge(len(value))
        return bytes(value)

    def _latin1(self, value: Latin1Record, _depth: int) -> bytes:
        self.charge(len(value.text))
        return value.text.encode("latin-1")

    def _dtype(self, value: DTypeRecord, _depth: int) -> np.dtype:
        code, order = value.code, value.order
        is_known = type(code) is str and _DTYPE_CODE.fullmatch(code) is not None
        require(
            is_known and type(order) is str and order in tuple("<>=|"), f"the type {code!r:.50}"
        )
        return np.dtype(code).newbyteorder(order)

    def _array(self, record: ArrayRecord, depth: int) -> Any:
        require(record.state is not None, "an array without contents")
        shape, dtype, is_fortran, data = record.state  # type: ignore[misc]
        require(type(dtype) is DTypeRecord, "an array without a type")
        sizes_known = type(shape) is tuple and all(type(n) is int and n >= 0 for n in shape)
        require(sizes_known, "an array without a shape")
        dtype, count = self.resolve(dtype, depth), math.prod(shape)
        if dtype.hasobject:
            require(not record.is_scalar, "an object as a number")
            flat = self._objects(data, count, depth)
        else:
            flat = self._numbers(data, dtype, count, depth)
        return flat[0] if record.is_scalar else shaped(flat, shape, is_fortran)

    def _objects(self, data: Any, count: int, depth: int) -> np.ndarray:
        require(type(data) is list and len(data) == count, "an array with items missing")
        self.charge(count)
        flat = np.empty(count, dtype=object)
        for index, item in enumerate(self.resolve(data, depth)):
            flat[index] = item
        return flat

    def _numbers(self, data: Any, dtype: np.dtype, count: int, depth: int) -> np.ndarray:
        if type(data) is Latin1Record:
            data = self.resolve(data, depth)
        require(type(data) in (memoryview, bytes), "an array without contents")
        has_size = len(data) == count * dtype.itemsize
        require(has_size, f"an array of {count} {dtype} values in {len(data)} bytes")
        self.charge(len(data))
        flat = np.frombuffer(data, dtype) if count else np.empty(0, dtype)
        return flat.copy() if self.copy else flat


def shaped(flat: np.ndarray, shape: tuple[int, ...], is_fortran: bool) -> np.ndarray:
    """Returns flat values as an array."""
    return flat.reshape(shape[::-1]).T if is_fortran else flat.reshape(shape)
