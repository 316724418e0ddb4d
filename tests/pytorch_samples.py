"""Writes checkpoints as ``torch.save`` does, in both of its forms, without PyTorch.

``pickle`` writes the names of classes that it finds in their modules: stand-ins of PyTorch's are
there while it writes.
"""

from __future__ import annotations

import io
import pickle
import struct
import sys
import zipfile
from collections import OrderedDict
from pathlib import Path
from types import ModuleType
from unittest import mock

import numpy as np

MAGIC, VERSION = 0x1950A86A20F9469CFC6C, 1001
KINDS = {
    **{"FloatStorage": "<f4", "DoubleStorage": "<f8", "HalfStorage": "<f2"},
    **{"BFloat16Storage": "<u2", "BoolStorage": "?", "ByteStorage": "u1", "CharStorage": "i1"},
    **{"ShortStorage": "<i2", "IntStorage": "<i4", "LongStorage": "<i8"},
}


def _stand_in(module: str, name: str):
    made = type(name, (), {"__module__": module, "__qualname__": name})
    return made


STORAGES = {name: _stand_in("torch", name) for name in (*KINDS, "QUInt8Storage")}


def _rebuild_tensor_v2(*arguments):
    raise AssertionError("is written, never called")


def _rebuild_parameter(*arguments):
    raise AssertionError("is written, never called")


for _function in (_rebuild_tensor_v2, _rebuild_parameter):
    _function.__module__ = "torch._utils"


class Storage:
    """Flat values; ``count``: what the checkpoint says of their number."""

    def __init__(self, values: np.ndarray, kind: str = "", count: int | None = None):
        self.values = np.ascontiguousarray(values).reshape(-1)
        types = {np.dtype(code): name for name, code in reversed(KINDS.items())}
        self.kind = kind or types[self.values.dtype]
        self.count = len(self.values) if count is None else count


class Tensor:
    """A strided view of a storage; by default all of it."""

    def __init__(self, storage: Storage, shape=None, strides=None, offset=0):
        self.storage, self.offset = storage, offset
        self.shape = (storage.count,) if shape is None else shape
        sizes = [int(np.prod(self.shape[axis + 1 :])) for axis in range(len(self.shape))]
        self.strides = tuple(sizes) if strides is None else strides

    def __reduce__(self):
        given = (self.storage, self.offset, self.shape, self.strides, False, OrderedDict())
        return _rebuild_tensor_v2, given


class Parameter:
    """A tensor that was trained."""

    def __init__(self, tensor: Tensor):
        self.tensor = tensor

    def __reduce__(self):
        return _rebuild_parameter, (self.tensor, True, OrderedDict())


def tensor(array: np.ndarray, kind: str = "") -> Tensor:
    """An array as a tensor with a storage of its own."""
    return Tensor(Storage(array, kind), array.shape)


def state_dict(arrays) -> OrderedDict:
    """Arrays as the state dict of a module, with the attribute that PyTorch gives it."""
    state = OrderedDict((name, tensor(array)) for name, array in arrays.items())
    state._metadata = OrderedDict({"": {"version": 1}})
    return state


def _pickled(value) -> tuple[bytes, dict[str, Storage]]:
    storages: dict[int, tuple[str, Storage]] = {}

    class Pickler(pickle.Pickler):
        def persistent_id(self, given):
            if not isinstance(given, Storage):
                return None
            key, _ = storages.setdefault(id(given), (str(len(storages)), given))
            return ("storage", STORAGES[given.kind], key, "cpu", given.count)

    torch, utils = ModuleType("torch"), ModuleType("torch._utils")
    vars(torch).update(STORAGES)
    vars(utils).update({f.__name__: f for f in (_rebuild_tensor_v2, _rebuild_parameter)})
    file = io.BytesIO()
    with mock.patch.dict(sys.modules, {"torch": torch, "torch._utils": utils}):
        Pickler(file, protocol=2).dump(value)
    return file.getvalue(), dict(storages.values())


def write_zip(
    path: Path, value, root="archive", compression=zipfile.ZIP_STORED, left_out=(), **more
) -> Path:
    """Writes a checkpoint as PyTorch does since 1.6. ``more``: further files in the archive."""
    data, storages = _pickled(value)
    files = {"data.pkl": data, "byteorder": b"little", "version": b"3\n"}
    files |= {f"data/{key}": storage.values.tobytes() for key, storage in storages.items()}
    files |= {name.replace("__", "/"): contents for name, contents in more.items()}
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, contents in files.items():
            if name not in left_out:
                archive.writestr(f"{root}/{name}", contents)
    return path


def write_sequence(path: Path, value, little_endian: bool = True, version: int = VERSION) -> Path:
    """Writes a checkpoint as PyTorch did before 1.6: pickles, then storages."""
    data, storages = _pickled(value)
    system = {"protocol_version": VERSION, "little_endian": little_endian}
    system["type_sizes"] = {"short": 2, "int": 4, "long": 4}
    with open(path, "wb") as file:
        for part in (MAGIC, version, system):
            pickle.dump(part, file, 2)
        file.write(data)
        keys = sorted(storages)
        pickle.dump(keys, file, 2)
        for key in keys:
            file.write(struct.pack("<q", storages[key].count) + storages[key].values.tobytes())
    return path


WRITERS = {"zip": write_zip, "sequence": write_sequence}
