"""Writing files so that no reader ever sees half of one."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from paddlevideo.files.partials import partial_of, put_in_place

#: What NumPy says, without a number, where a file takes less than it was given.
_CUT_SHORT = re.compile(r"\d+ requested and \d+ written")
_PARTIAL = re.compile(r"\.\d+\.partial(/|$)")
_STREAMS = ("/dev/stdout", "/dev/stderr", "/dev/fd/", "/proc/self/fd/")


def write_whole(path: str | Path, write: Callable[[Path], object]) -> None:
    """Calls ``write(partial)`` for a temporary name beside ``path``, then renames.

    The data is on the disk before the name is: after a power cut ``path`` is the old file or the
    new one. On any error, a full disk for one, the temporary file is removed and the error raised
    with the name of ``path``. What a killed process left beside ``path`` is removed. A pipe or a
    device is written to as it is.
    """
    path = Path(path)
    if str(path).startswith(_STREAMS) or (path.exists() and not path.is_file()):
        with naming(path):
            write(path)
        return
    with naming(path):
        with partial_of(path) as partial:
            write(partial)
            sync_file(partial)
            os.replace(partial, path)
        sync_folder(path.parent)


def write_bytes_whole(path: str | Path, data: bytes) -> None:
    """Writes ``data``, whole or not at all."""
    write_whole(path, lambda partial: partial.write_bytes(data))


def write_text_whole(path: str | Path, text: str) -> None:
    """Writes ``text`` as UTF-8, whole or not at all; a file's name in it need not be UTF-8."""
    write_bytes_whole(path, text.encode("utf-8", "backslashreplace"))


def write_json_whole(path: str | Path, value: Any) -> None:
    """Writes a value as indented JSON in ASCII, whole or not at all."""
    write_text_whole(path, json.dumps(value, indent=2) + "\n")


def append_json(path: Path, entry: Mapping[str, Any]) -> None:
    """Appends a line, in one write: what is there stays when the process is killed later."""
    line = json.dumps(entry, ensure_ascii=False) + "\n"
    with naming(path), open(path, "ab") as file:  # lines of several processes do not mix
        file.write(line.encode("utf-8", "backslashreplace"))


def write_arrays_whole(path: str | Path, arrays: Mapping[str, Any]) -> None:
    """Writes an ``.npz`` file, whole or not at all."""
    import numpy as np

    def write(partial: Path) -> None:
        with open(partial, "wb") as file:  # given a name, NumPy would add an ending to it
            np.savez(file, **arrays)

    write_whole(path, write)


def read_json(path: Path) -> Any:
    """The value in a JSON file; None where it is absent or not valid JSON."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None


def write_folder_whole(path: str | Path, write: Callable[[Path], object]) -> None:
    """Calls ``write(partial)`` for a new folder beside ``path``, then renames; replaces a folder.

    A reader finds the old folder or the new one, never a part of one; the old one keeps its name
    until the new one has it, where the file system can exchange two names. Of two writers at once
    the last one wins. On any error the new folder is removed and the error raised.
    """
    path = Path(os.path.realpath(path))
    path.parent.mkdir(parents=True, exist_ok=True)
    with naming(path), partial_of(path, folder=True) as partial:
        write(partial)
        for folder, _, files in os.walk(partial):
            for name in files:
                sync_file(Path(folder, name))
            sync_folder(Path(folder))
        put_in_place(partial, path)
        sync_folder(path.parent)


@contextmanager
def naming(path: str | Path) -> Iterator[None]:
    """What the system says of writing ``path`` names it, also where a library left the name out."""
    try:
        yield
    except OSError as error:
        number, text = error.errno, error.strerror
        if number is None and _CUT_SHORT.search(str(error)):
            number, text = errno.ENOSPC, f"{os.strerror(errno.ENOSPC)} ({error})"
        name = os.fsdecode(error.filename) if isinstance(error.filename, str | bytes) else ""
        is_ours = not name or _PARTIAL.search(name)
        if number is None or not is_ours or isinstance(error, ConnectionError | BrokenPipeError):
            raise
        raise OSError(number, text, str(path)) from error


def checksum(path: str | os.PathLike[str]) -> str:
    """SHA-256 of a file, in hexadecimal."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def sync_file(path: Path) -> None:
    """Waits until what a file holds is on the disk."""
    with open(path, "rb") as file:
        os.fsync(file.fileno())


def sync_folder(folder: Path) -> None:
    """Makes the rename itself durable, where the system can."""
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
