"""Whether an input is the same one as before, told by its contents.

Sizes and dates alone do not tell: ``cp -p``, ``rsync -t`` and ``tar`` keep dates, and ``touch``
changes nothing but them.
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

#: An input of up to this many bytes is read whole, which takes about 50 ms.
WHOLE = 64 << 20
#: For a larger one dates count too, and evenly spaced blocks of this many bytes: 256 in all, and at
#: least 3 of each file. LMDB's first and zip's last block change with all that is in them.
BLOCK, BLOCKS, LEAST = 4096, 256, 3
#: A folder with one of these is this file: a store's manifest has the checksums of its records.
_HEADS = ("store.json", "data.mdb")


def fingerprint(
    path: str | os.PathLike[str], wanted: Callable[[Path], bool] = lambda path: True
) -> dict[str, Any]:
    """What tells an input, a file or a folder, from another and from itself after a change.

    JSON: real path, number of files, bytes, and a checksum of names and contents. ``wanted`` are
    the files of a folder that count. Raises OSError where something cannot be read.
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
    """Those of all inputs that texts in nested maps and lists name: files, LMDBs and stores."""
    texts = sorted({text for _, text in texts_in(values)})
    return [fingerprint(text) for text in texts if _is_input(text)]


def digest_of(value: Any) -> str:
    """A short checksum of a value as JSON."""
    return hashlib.blake2b(json.dumps(value).encode(), digest_size=16).hexdigest()


def content_of(path: str | os.PathLike[str]) -> str:
    """A checksum of the size and evenly spaced blocks of a file, whatever its size; cheap."""
    digest = hashlib.blake2b(digest_size=16)
    _add_blocks(digest, Path(path), LEAST * 5)
    return digest.hexdigest()


@contextmanager
def unchanged(path: str | os.PathLike[str]) -> Iterator[str]:
    """The SHA-256 of a file that is read within the block.

    Raises DataError at its end if the file was replaced or written to meanwhile. Of what is not a
    file, what reads it has to say so.
    """
    if not os.path.isfile(path):
        yield ""
        return
    before = state(path)
    yield checksum(path)
    if state(path) != before:
        raise DataError(f"{path}: was changed while it was read. Run the same command again")


def state(path: str | os.PathLike[str]) -> tuple[int, ...]:
    """What changes when a file is written to or replaced, as long as the system is running."""
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
    blocks = max(BLOCKS // max(len(files), 1), LEAST)
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
    """The size of a file and up to ``blocks`` of it, the first and the last among them."""
    with open(path, "rb") as file:
        size = os.fstat(file.fileno()).st_size
        digest.update(str(size).encode())
        last = max(size - BLOCK, 0)
        for start in sorted({last * index // max(blocks - 1, 1) for index in range(blocks)}):
            file.seek(start)
            digest.update(file.read(BLOCK))


def _is_input(text: str) -> bool:
    # os.path is content with names that no file can have.
    is_folder = any(os.path.isfile(os.path.join(text, name)) for name in _HEADS)
    return bool(text) and (os.path.isfile(text) or is_folder)
