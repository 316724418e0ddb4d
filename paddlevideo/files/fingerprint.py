"""Fingerprints of inputs, which tell whether they have changed, by their contents.

Sizes and dates are not enough: ``cp -p``, ``rsync -t`` and ``tar`` keep dates, and ``touch``
changes nothing else.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from paddlevideo.files.paths import as_text
from paddlevideo.files.walk import walk
from paddlevideo.files.whole import checksum
from paddlevideo.utils.errors import DataError
from paddlevideo.utils.nested import texts_in

#: An input of at most this many bytes is read as a whole, which takes about 50 ms.
WHOLE = 64 << 20
#: For a larger one dates count too, and evenly spaced blocks of this many bytes: 256 in all, and at
#: least 3 of each file. LMDB's first and zip's last block change with every change.
BLOCK, BLOCKS, MINIMUM = 4096, 256, 3
#: A folder with one of these counts as this file: a store's manifest has its records' checksums.
_HEADS = ("store.json", "data.mdb")


def fingerprint(
    path: str | os.PathLike[str], wanted: Callable[[Path], bool] = lambda path: True
) -> dict[str, Any]:
    """Returns what identifies an input, a file or a folder, in its present state.

    Real path, number of files, bytes, and a checksum of names and contents, as JSON. ``wanted``
    selects the files of a folder. Raises OSError if something cannot be read.
    """
    real = Path(os.path.realpath(path))
    if real.name == "data.mdb":
        real = real.parent  # an LMDB may be named by its folder or its file
    files = _files_of(real, wanted)
    sizes = [_size(file) for file in files]
    return {
        "path": as_text(str(real)),
        "files": len(files),
        "bytes": sum(sizes),
        "content": _digest(real, files, sum(sizes) <= WHOLE),
    }


def fingerprints_of(values: Any) -> list[dict[str, Any]]:
    """Returns the fingerprints of all files, LMDBs and stores named in nested maps and lists."""
    texts = sorted({text for _, text in texts_in(values)})
    return [fingerprint(text) for text in texts if _is_input(text)]


def digest_of(value: Any) -> str:
    """Returns a short checksum of a value as JSON."""
    return hashlib.blake2b(json.dumps(value).encode(), digest_size=16).hexdigest()


def content_of(path: str | os.PathLike[str]) -> str:
    """Returns a cheap checksum of a file: of its size and a few evenly spaced blocks."""
    digest = hashlib.blake2b(digest_size=16)
    _add_blocks(digest, Path(path), MINIMUM * 5)
    return digest.hexdigest()


@contextmanager
def unchanged(path: str | os.PathLike[str]) -> Iterator[str]:
    """Context that gives the SHA-256 of a file that is read in it.

    Raises DataError at its end if the file was replaced or written to meanwhile. For anything but
    a file the checksum is "": its reader reports that.
    """
    if not os.path.isfile(path):
        yield ""
        return
    before = state(path)
    yield checksum(path)
    if state(path) != before:
        raise DataError(f"{path}: was changed while it was read. Run the same command again")


def state(path: str | os.PathLike[str]) -> tuple[int, ...]:
    """Returns what changes when a file is written to or replaced while the system runs."""
    status = os.stat(path)
    times = (status.st_mtime_ns, status.st_ctime_ns)
    return (status.st_dev, status.st_ino, status.st_size, *times)


def _files_of(real: Path, wanted: Callable[[Path], bool]) -> list[Path]:
    if not real.is_dir():
        return [real]
    heads = [real / name for name in _HEADS if (real / name).is_file()]
    return heads[:1] or walk(real, wanted).files


def _digest(real: Path, files: list[Path], is_whole: bool) -> str:
    digest = hashlib.blake2b(digest_size=16)
    blocks = max(BLOCKS // max(len(files), 1), MINIMUM)
    for file in files:
        digest.update(os.fsencode(os.path.relpath(file, real)) + b"\0")
        if not os.path.isfile(file) or not os.access(file, os.R_OK):
            digest.update(b"not readable")
        elif is_whole:
            digest.update(checksum(file).encode())
        else:
            digest.update(str(os.stat(file).st_mtime_ns).encode())
            _add_blocks(digest, file, blocks)
    return digest.hexdigest()


def _size(file: Path) -> int:
    return os.stat(file).st_size if os.path.isfile(file) else 0


def _add_blocks(digest: Any, path: Path, blocks: int) -> None:
    """Adds the size of a file and up to ``blocks`` of it, the first and the last included."""
    with open(path, "rb") as file:
        size = os.fstat(file.fileno()).st_size
        digest.update(str(size).encode())
        last = max(size - BLOCK, 0)
        for start in sorted({last * index // max(blocks - 1, 1) for index in range(blocks)}):
            file.seek(start)
            digest.update(file.read(BLOCK))


def _is_input(text: str) -> bool:
    # os.path accepts names that no file can have.
    is_folder = any(os.path.isfile(os.path.join(text, name)) for name in _HEADS)
    return bool(text) and (os.path.isfile(text) or is_folder)
