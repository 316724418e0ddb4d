"""Writing files so that no reader ever sees half of one."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path


def write_whole(path: str | Path, write: Callable[[Path], object]) -> None:
    """Calls ``write(partial)`` for a temporary name beside ``path``, then renames.

    The data is on the disk before the name is: after a power cut ``path`` is the old file or the
    new one. On any fault, a full disk for one, the temporary file is removed and the fault raised.
    """
    path = Path(path)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        write(partial)
        with open(partial, "rb") as file:
            os.fsync(file.fileno())
        os.replace(partial, path)
    except BaseException:
        with suppress(OSError):
            partial.unlink()
        raise
    _sync_folder(path.parent)


def write_folder_whole(path: str | Path, write: Callable[[Path], object]) -> None:
    """Calls ``write(partial)`` for a new folder beside ``path``, then renames; replaces a folder.

    A reader finds the old folder, the new one, or for a moment none, but never a part of one. On
    any fault the new folder is removed, the old one is in its place, and the fault is raised.
    """
    path = Path(os.path.abspath(path))
    partial, old = (path.with_name(f".{path.name}.{os.getpid()}.{x}") for x in ("partial", "old"))
    path.parent.mkdir(parents=True, exist_ok=True)
    partial.mkdir()
    try:
        write(partial)
        for file in partial.iterdir():
            with open(file, "rb") as opened:
                os.fsync(opened.fileno())
        _sync_folder(partial)
        if path.exists():
            os.replace(path, old)
        os.replace(partial, path)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        if old.exists() and not path.exists():
            os.replace(old, path)
        raise
    shutil.rmtree(old, ignore_errors=True)
    _sync_folder(path.parent)


def checksum(path: str | Path) -> str:
    """SHA-256 of a file, in hexadecimal."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def _sync_folder(folder: Path) -> None:
    """Makes the rename itself durable, where the system can."""
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
