"""The only reader of pickles: it returns numpy arrays and plain containers, and runs no code.

A pickle is a program. ``pickle.Unpickler`` with an allow-list is not enough: a memo index of
2**31 or a declared length of 4 GB makes it reserve that memory before it reads the file, and
a key made of nested shared tuples keeps it hashing for years. So
:mod:`paddlevideo.safe_pickle.machine` interprets the program and leaves records in place of
arrays, and this module makes the arrays: every size is compared with that of the file, and all
arrays together have at most twice the file's bytes.
"""

from __future__ import annotations

import io
import math
import mmap
import os
import re
import struct
import tokenize
from collections import OrderedDict
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.lib import format as npy_format

from paddlevideo.files.filetype import HEAD_BYTES, describe_bytes
from paddlevideo.safe_pickle.machine import (
    ArrayRecord,
    CutShort,
    DTypeRecord,
    Latin1Record,
    Machine,
    Refused,
    require,
)
from paddlevideo.utils.errors import DataError

_MAX_DEPTH = 50
_MAX_HEADER = 1 << 16  # bytes of an .npy file; numpy itself reads headers of up to 10,000
_PLAIN = frozenset([str, int, float, bool, type(None), bytes])
#: bool, integers, floats, byte strings, text, objects; widths in bytes or characters.
_DTYPE_CODE = re.compile(r"b1|[iuf]\d{1,2}|[SU][1-9]\d{0,8}|O8?")
#: What the machine can raise for a damaged program.
_DAMAGE = (IndexError, KeyError, TypeError, ValueError, OverflowError, struct.error)
_ADVICE = (
    "Only numpy arrays, numbers, text, lists, tuples and dictionaries are read: "
    "write the file again with these"
)


class _Resolver:
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
        return flat[0] if record.is_scalar else _shaped(flat, shape, is_fortran)

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


def _shaped(flat: np.ndarray, shape: tuple[int, ...], is_fortran: bool) -> np.ndarray:
    return flat.reshape(shape[::-1]).T if is_fortran else flat.reshape(shape)


def _read(buffer: memoryview, source: str, copy: bool) -> Any:
    try:
        value = Machine(buffer).run()
        return _Resolver(buffer, copy).resolve(value)
    except CutShort as error:
        raise DataError(
            f"{source}: is cut short ({error}). Copy, download or write it again"
        ) from None
    except Refused as error:
        raise DataError(f"{source}: not read, because it holds {error}. {_ADVICE}") from None
    except _DAMAGE as error:
        message = f"{source}: not a valid pickle ({type(error).__name__}: {error!s:.100})"
        raise DataError(f"{message}. Copy or write the file again") from None


def _map(path: str | os.PathLike[str]) -> memoryview:
    """Returns the file's bytes, memory-mapped: they are read when they are used."""
    try:
        with open(path, "rb") as file:
            if os.fstat(file.fileno()).st_size == 0:
                raise DataError(f"{path}: the file is empty. Copy or write it again")
            return memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}). Check the path") from None


def loads(data: bytes, source: str = "a pickle") -> Any:
    """Returns the arrays and containers in a pickle of protocol 2 to 5.

    Arrays are read-only views of ``data``. Raises DataError, whose message begins with ``source``,
    for anything else; never calls or imports anything.
    """
    return _read(memoryview(data), source, copy=False)


def load(path: str | os.PathLike[str]) -> Any:
    """Returns the arrays and containers in a pickle file; arrays own their memory.

    Raises DataError, with the file's name, for anything else.
    """
    return _read(_map(path), str(path), copy=True)


def load_npy(path: str | os.PathLike[str]) -> np.ndarray:
    """Returns the array in an ``.npy`` file, objects included.

    Numeric arrays in it, at any depth, are read-only views of the mapped file: a file larger
    than memory can be used, and processes that read the same file share its pages.
    Raises DataError if the file is missing, damaged, cut short, or contains code.
    """
    buffer = _map(path)
    shape, is_fortran, dtype, start = _npy_header(buffer, path)
    body = buffer[start:]
    if dtype.hasobject:
        array = _read(body, str(path), copy=False) if dtype == np.dtype(object) else None
        if not isinstance(array, np.ndarray) or array.shape != shape:
            raise DataError(f"{path}: the contents are not the array that the header declares")
        return array
    count = math.prod(shape)
    if dtype.kind not in "biufSU" or dtype.itemsize == 0:
        raise DataError(f"{path}: holds values of type {dtype}, which is not supported")
    if count * dtype.itemsize > len(body):
        raise DataError(
            f"{path}: is cut short: {count * dtype.itemsize} bytes of shape {shape} expected, "
            f"{len(body)} found. Copy or write the file again"
        )
    flat = np.frombuffer(body, dtype, count) if count else np.empty(0, dtype)
    return _shaped(flat, shape, is_fortran)


def _npy_header(buffer: memoryview, path: Any) -> tuple[tuple[int, ...], bool, np.dtype, int]:
    """Returns shape, order, type and the position of the contents. No pickle is read here."""
    start = 10 if bytes(buffer[6:7]) == b"\1" else 12
    size = int.from_bytes(buffer[8:start], "little")
    try:
        return _parsed_header(bytes(buffer[: min(start + size, _MAX_HEADER)]))
    except (*_DAMAGE, SyntaxError, RecursionError, MemoryError, tokenize.TokenError) as error:
        kind = describe_bytes(bytes(buffer[:HEAD_BYTES]))
        raise DataError(f"{path}: not a valid .npy file ({kind}; {error!s:.150})") from None


@lru_cache(maxsize=64)
def _parsed_header(head: bytes) -> tuple[tuple[int, ...], bool, np.dtype, int]:
    """Returns what a header says. Parsing takes longer than mapping a file, so it is kept."""
    reader = io.BytesIO(head)
    version = npy_format.read_magic(reader)
    if version == (1, 0):
        shape, is_fortran, dtype = npy_format.read_array_header_1_0(reader)
    else:
        shape, is_fortran, dtype = npy_format.read_array_header_2_0(reader)
    if any(size < 0 for size in shape):
        raise ValueError(f"shape {shape}")
    return shape, is_fortran, dtype, reader.tell()


def load_state(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Returns the state dict in a ``.pdparams`` or ``.pdopt`` file: arrays by name.

    Paddle's (name, array) pairs become arrays, its name table is dropped, and parameters that it
    split because of protocol 2 are joined. Nested dictionaries (schedules, master weights) stay.
    Raises DataError, with the file's name.
    """
    state = load(path)
    if not isinstance(state, dict):
        raise DataError(f"{path}: holds a {type(state).__name__}; expected a state dict")
    state.pop("StructuredToParameterName@@", None)
    split = state.pop("UnpackBigParamInfor@@", {})
    try:
        for name, parts in split.items():
            # Removed from the state, so that no part is used twice.
            pieces = [state.pop(part) for part in parts["slices"]]
            state[name] = np.concatenate(pieces).reshape(tuple(parts["OriginShape"]))
    except (AttributeError, *_DAMAGE) as error:
        raise DataError(f"{path}: a split parameter is damaged ({error!s:.100})") from None
    return {name: _without_names(value) for name, value in state.items()}


def _without_names(value: Any) -> Any:
    is_pair = type(value) is tuple and len(value) == 2 and isinstance(value[1], np.ndarray)
    if is_pair and isinstance(value[0], str):
        return value[1]
    if isinstance(value, dict):  # master weights in an optimizer's state are one level down
        return {
            key: _without_names(item) if type(item) is tuple else item
            for key, item in value.items()
        }
    return value
