"""Checkpoints of ``torch.save`` without PyTorch: tensors as arrays, and no code runs.

Since PyTorch 1.6 a checkpoint is a zip archive: ``NAME/data.pkl``, a pickle that refers to
storages, and ``NAME/data/KEY`` for each of them. Before, it was a sequence of pickles, followed by
the storages. A tensor is a strided view of a storage.
"""

from __future__ import annotations

import math
import struct
import zipfile
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import as_strided

from paddlevideo.safe_pickle.machine import CutShort, Machine, NameRecord, Refused, require
from paddlevideo.safe_pickle.resolver import Resolver

ZIP_START = b"PK\x03\x04"
PROTOCOL = 1001  # of the sequence of pickles
_MAX_DIMENSIONS = 32
_LOCAL_HEADER = struct.Struct("<4s22xHH")  # of a file in an archive: lengths of name and extra
_COUNT = struct.Struct("<q")
#: Types by the name of the storage; bfloat16, which NumPy lacks, as uint16.
_STORAGES = {
    **{"FloatStorage": "<f4", "DoubleStorage": "<f8", "HalfStorage": "<f2"},
    **{"BFloat16Storage": "<u2", "BoolStorage": "?", "ByteStorage": "u1", "CharStorage": "i1"},
    **{"ShortStorage": "<i2", "IntStorage": "<i4", "LongStorage": "<i8"},
}


class StorageRecord:
    """A storage that the pickle refers to: its key, type and number of values."""

    __slots__ = ("key", "dtype", "count")

    def __init__(self, key: str, dtype: np.dtype, count: int):
        self.key, self.dtype, self.count = key, dtype, count


class TensorRecord:
    """A future array: a view of a storage."""

    __slots__ = ("storage", "offset", "shape", "strides")

    def __init__(self, storage: Any, offset: Any, shape: Any, strides: Any):
        require(type(storage) is StorageRecord, "a tensor without a storage")
        self.storage: StorageRecord = storage
        self.offset, self.shape, self.strides = offset, shape, strides


def _tensor(storage: Any, offset: Any, shape: Any, strides: Any, *_more: Any) -> TensorRecord:
    require(len(_more) <= 3, "a tensor with unknown properties")  # gradient, hooks, metadata
    return TensorRecord(storage, offset, shape, strides)


def _parameter(tensor: Any, _needs_gradient: Any, _hooks: Any) -> TensorRecord:
    require(type(tensor) is TensorRecord, "a parameter that is not a tensor")
    return tensor


class TensorMachine(Machine):
    """The stack machine with the names of PyTorch; ``storages`` collects what is referred to."""

    names = {
        **Machine.names,
        **{f"torch {name}": name for name in _STORAGES},
        "torch._utils _rebuild_tensor": "tensor",
        "torch._utils _rebuild_tensor_v2": "tensor",
        "torch._utils _rebuild_parameter": "parameter",
        "torch Size": "tuple",
    }
    calls = {**Machine.calls, "tensor": _tensor, "parameter": _parameter}

    def __init__(self, buffer: memoryview):
        super().__init__(buffer)
        self.storages: dict[str, StorageRecord] = {}

    def refer(self) -> None:
        """Pushes the record of a storage: ("storage", type, key, device, count)."""
        words = self.stack.pop()
        is_known = type(words) is tuple and len(words) in (5, 6) and words[0] == "storage"
        require(is_known, "a reference to something other than a storage")
        kind, key, _, count = words[1:5]
        require(words[5:] in ((), (None,)), "a view of a storage, as PyTorch wrote before 0.4")
        is_named = type(kind) is NameRecord and kind.meaning in _STORAGES
        require(is_named and type(key) is str, "a storage of an unknown type")
        require(type(count) is int and count >= 0, "a storage without a size")
        record = StorageRecord(key, np.dtype(_STORAGES[kind.meaning]), count)
        known = self.storages.setdefault(key, record)
        is_same = (known.dtype, known.count) == (record.dtype, record.count)
        require(is_same, "a storage of two types")
        self.push(known)

    def build(self) -> None:
        """Drops the attributes of an OrderedDict: versions of modules."""
        if type(self.stack[-2]) is OrderedDict and type(self.stack[-1]) is dict:
            self.stack.pop()
        else:
            super().build()


TensorMachine.steps = {
    **Machine.steps,
    ord("Q"): TensorMachine.refer,
    ord("b"): TensorMachine.build,
}


class TensorResolver(Resolver):
    """Makes arrays of tensors; they own their memory."""

    def __init__(self, buffer: memoryview, storages: Mapping[str, memoryview]):
        super().__init__(buffer, copy=True)
        self.storages = storages
        self.makers[TensorRecord] = self._tensor

    def _tensor(self, record: TensorRecord, _depth: int) -> np.ndarray:
        shape, strides, storage = record.shape, record.strides, record.storage
        for numbers in (shape, strides, (record.offset,)):
            is_known = type(numbers) is tuple and all(type(n) is int and n >= 0 for n in numbers)
            require(is_known, "a tensor without a shape")
        require(len(shape) == len(strides) <= _MAX_DIMENSIONS, "a tensor of unknown dimensions")
        data = self.storages.get(storage.key)
        require(data is not None, f'no storage "{storage.key:.50}"')
        assert data is not None
        width, count = storage.dtype.itemsize, math.prod(shape)
        if len(data) < storage.count * width:
            raise CutShort(f"{storage.count * width} bytes expected, {len(data)} left")
        self.charge(count * width)
        if not count:
            return np.empty(shape, storage.dtype)
        last = record.offset + sum((n - 1) * step for n, step in zip(shape, strides, strict=True))
        require(last < storage.count, "a tensor that reaches beyond its storage")
        flat = np.frombuffer(data, storage.dtype, storage.count)[record.offset :]
        return as_strided(flat, shape, [step * width for step in strides]).copy()


def read_checkpoint(buffer: memoryview, path: Path) -> Any:
    """Returns what a checkpoint holds: tensors as arrays in plain containers.

    ``buffer``: the file's bytes. Raises Refused for anything else than tensors, numbers and text.
    """
    if bytes(buffer[:4]) == ZIP_START:
        files = _stored_files(buffer, path)
        root = _root(files)
        machine = TensorMachine(files[f"{root}data.pkl"])
        value = machine.run()
        keys = {key: f"{root}data/{key}" for key in machine.storages}
        storages = {key: files[name] for key, name in keys.items() if name in files}
    else:
        machine, position = _after_header(buffer)
        value = machine.run()
        storages = dict(_storages_behind(buffer, position + machine.position, machine.storages))
    return TensorResolver(buffer, storages).resolve(value)


def _stored_files(buffer: memoryview, path: Path) -> dict[str, memoryview]:
    """Returns the files in an archive, which must not be compressed: views of ``buffer``."""
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
    except (zipfile.BadZipFile, NotImplementedError, ValueError, OSError, EOFError) as error:
        raise CutShort(str(error)) from None
    files = {}
    for entry in entries:
        is_plain = entry.compress_type == zipfile.ZIP_STORED and not entry.flag_bits & 1
        require(is_plain, "compressed or encrypted files, which torch.save does not write")
        start = entry.header_offset
        mark, name, extra = _LOCAL_HEADER.unpack_from(buffer, start)
        require(mark == ZIP_START, "a file that is not where the archive says")
        start += _LOCAL_HEADER.size + name + extra
        if start + entry.file_size > len(buffer):
            raise CutShort(f"{entry.file_size} bytes expected, {len(buffer) - start} left")
        files[entry.filename] = buffer[start : start + entry.file_size]
    return files


def _root(files: Mapping[str, memoryview]) -> str:
    """Returns the folder of the only ``data.pkl`` with its slash. Raises Refused."""
    roots = [name.removesuffix("data.pkl") for name in files if name.endswith("/data.pkl")]
    require(len(roots) == 1, "no data.pkl, or several")
    order = files.get(f"{roots[0]}byteorder")
    require(order is None or bytes(order[:6]) == b"little", "numbers of another byte order")
    return roots[0]


def _after_header(buffer: memoryview) -> tuple[TensorMachine, int]:
    """Returns a machine for the fourth pickle, behind a magic number, a version and types."""
    position, values = 0, []
    for _ in range(3):
        machine = Machine(buffer[position:])
        values.append(machine.run())
        position += machine.position
    _, protocol, system = values
    require(protocol == PROTOCOL, "a checkpoint of an unknown version")
    is_little = type(system) is dict and system.get("little_endian") is True
    require(is_little, "numbers of another byte order")
    return TensorMachine(buffer[position:]), position


def _storages_behind(
    buffer: memoryview, position: int, records: Mapping[str, StorageRecord]
) -> Iterator[tuple[str, memoryview]]:
    """Yields the storages behind the pickles: a list of keys, then size and values of each."""
    machine = Machine(buffer[position:])
    keys = machine.run()
    position += machine.position
    require(type(keys) is list and all(type(key) is str for key in keys), "unknown storages")
    for key in keys:
        if key not in records:
            raise Refused(f'a storage "{key:.50}" that is not used')
        if position + _COUNT.size > len(buffer):
            raise CutShort(f"{_COUNT.size} bytes expected, {len(buffer) - position} left")
        (count,) = _COUNT.unpack_from(buffer, position)
        require(count == records[key].count, "a storage of another size")
        start = position + _COUNT.size
        position = start + count * records[key].dtype.itemsize
        if position > len(buffer):
            raise CutShort(f"{position - start} bytes expected, {len(buffer) - start} left")
        yield key, buffer[start:position]
