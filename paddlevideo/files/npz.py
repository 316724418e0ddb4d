"""Reading ``.npz`` files without trusting them."""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from paddlevideo.utils.errors import DataError

#: Guards against zip bombs: largest ratio of unpacked to packed size, the size below which the
#: ratio is ignored, and the largest size of an array in any case.
_RATIO, _SMALL, _MOST = 1000, 64 << 20, 4 << 30


def read_npz(path: Path, names: Sequence[str]) -> dict[str, np.ndarray]:
    """Returns the arrays called ``names`` that the file holds; no other is unpacked.

    Raises DataError where the file is damaged, or an array would be far larger than it.
    """
    if not path.is_file():
        what = "is not a regular file" if path.exists() else "there is no such file"
        raise DataError(f"{path}: {what}")
    try:
        with zipfile.ZipFile(path) as archive:
            held = set(archive.namelist())
            size = path.stat().st_size
            return {
                name: _array(archive, f"{name}.npy", size)
                for name in names
                if f"{name}.npy" in held
            }
    except Exception as error:
        # What zipfile, its decompressors and NumPy's header parser raise on damage has no common
        # class: zlib.error, RuntimeError (encrypted), TokenError, MemoryError, and others.
        text = str(error) or type(error).__name__
        raise DataError(f"{path}: is not a whole .npz of plain arrays ({text})") from None


def _array(archive: zipfile.ZipFile, name: str, size: int) -> np.ndarray:
    entry = archive.getinfo(name)
    if entry.file_size > min(max(_RATIO * min(entry.compress_size, size), _SMALL), _MOST):
        raise ValueError(f"{name} would unpack to {entry.file_size} bytes")
    with archive.open(entry) as file:
        return np.lib.format.read_array(file, allow_pickle=False)
