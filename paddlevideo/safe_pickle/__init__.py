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
import struct
import tokenize
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib import format as npy_format

from paddlevideo.files.filetype import HEAD_BYTES, describe_bytes
from paddlevideo.safe_pickle.machine import (
    CutShort,
    Machine,
    Refused,
)
from paddlevideo.safe_pickle.pytorch import read_checkpoint
from paddlevideo.safe_pickle.resolver import Resolver, shaped
from paddlevideo.utils.errors import DataError

_MAX_HEADER = 1 << 16  # bytes of an .npy file; numpy itself reads headers of up to 10,000
#: What the machine can raise for a damaged program.
_DAMAGE = (IndexError, KeyError, TypeError, ValueError, OverflowError, struct.error)
_ADVICE = (
    "Only numpy arrays, numbers, text, lists, tuples and dictionaries are read: "
    "write the file again with these"
)
_PYTORCH_ADVICE = (
    "Only tensors, numbers and text are read: write the file again with the weights alone, "
    "torch.save(model.state_dict(), PATH)"
)


def _read(buffer: memoryview, source: str, copy: bool) -> Any:
    with _in_one_line(source, _ADVICE):
        value = Machine(buffer).run()
        return Resolver(buffer, copy).resolve(value)


@contextmanager
def _in_one_line(source: str, advice: str) -> Iterator[None]:
    """Raises what a file makes the machine raise as DataError, which begins with ``source``."""
    try:
        yield
    except CutShort as error:
        raise DataError(
            f"{source}: is cut short ({error}). Copy, download or write it again"
        ) from None
    except Refused as error:
        raise DataError(f"{source}: not read, because it holds {error}. {advice}") from None
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


def load_pytorch(path: str | os.PathLike[str]) -> Any:
    """Returns the tensors, as arrays, and containers in a checkpoint of ``torch.save``.

    bfloat16 is uint16. Arrays own their memory, at most twice the file's bytes in all. Raises
    DataError, with the file's name, for anything else than tensors, numbers, text and containers.
    """
    with _in_one_line(str(path), _PYTORCH_ADVICE):
        return read_checkpoint(_map(path), Path(path))


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
    return shaped(flat, shape, is_fortran)


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
