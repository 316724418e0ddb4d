"""Paths as libraries in C and C++ can open them."""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from paddlevideo.utils.errors import ConfigError
from paddlevideo.utils.printable import is_utf8


@contextmanager
def native_path(path: str | os.PathLike[str]) -> Iterator[str]:
    """A name under which FFmpeg and OpenCV can open ``path`` while the context lasts.

    It is absolute, because FFmpeg takes what stands before a colon in ``10:30.webm`` for a
    protocol; and it is UTF-8, because OpenCV crashes on anything else: for another name it is a
    temporary link with a plain one.
    """
    whole = os.path.abspath(path)
    if is_utf8(whole):
        yield whole
        return
    with tempfile.TemporaryDirectory(prefix="paddlevideo-") as folder:
        ending = re.sub(r"[^.\w]", "", os.path.splitext(whole)[1], flags=re.ASCII)
        link = Path(folder, f"file{ending}")
        link.symlink_to(whole)
        yield str(link)


def as_text(name: str) -> str:
    r"""A file name as text that UTF-8 can hold: bytes that are not become ``\xe9`` and the like."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")


def refuse_not_utf8(flag: str, path: Path) -> None:
    """Raises ConfigError for an output at a path that LMDB cannot open."""
    if not is_utf8(os.path.abspath(path)):
        name = as_text(os.path.abspath(path))
        raise ConfigError(f"{flag} {name}: is not valid UTF-8, which LMDB needs. Name another path")
