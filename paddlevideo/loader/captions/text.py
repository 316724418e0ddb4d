"""Opens text files, and checks that text can be written as UTF-8."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO

from paddlevideo.utils.errors import DataError


@contextmanager
def open_text(path: str | os.PathLike[str]) -> Iterator[TextIO]:
    """Opens a text file in UTF-8, or in UTF-16 with a byte order mark; only newlines end lines.

    Any error while it is open becomes a DataError that names it: a file that cannot be read,
    that is in another encoding (with the line), or that is not a regular file (which cannot be
    read twice).
    """
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):
            raise DataError(f"{path}: is not a regular file. Write its text to a file first")
        with open(path, encoding=_encoding(path)) as file:
            yield file
    except UnicodeDecodeError as error:
        name = os.path.basename(path)
        raise DataError(
            f"{path}:{_undecodable_line(path)} cannot be read as UTF-8 text ({error}). Save it as "
            f"UTF-8; from Windows: iconv -f WINDOWS-1252 -t UTF-8 {name}; Chinese in GBK or "
            f"GB2312: iconv -f GB18030 -t UTF-8 {name}"
        ) from None
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})") from None


def _encoding(path: str | os.PathLike[str]) -> str:
    """Returns the encoding. Raises DataError for UTF-16 without a byte order mark."""
    with open(path, "rb") as file:
        head = file.read(256)
    if head[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return "utf-16"
    if head[:2] == b"\x1f\x8b":
        raise DataError(f"{path}: is a gzip archive. Unpack it first: gunzip -k {path}")
    if b"\0" in head:
        raise DataError(
            f"{path}: line {head[: head.index(0)].count(10) + 1}: holds NUL bytes, which UTF-8 "
            "text never does. If it is UTF-16 or a spreadsheet, save it as UTF-8 text"
        )
    return "utf-8-sig"


def _undecodable_line(path: str | os.PathLike[str]) -> str:
    """Returns `` line N:`` for the first line that is not valid UTF-8."""
    with open(path, "rb") as file:
        for number, line in enumerate(file, 1):
            try:
                line.decode()
            except UnicodeDecodeError:
                return f" line {number}:"
    return ""


def writable(text: str, where: str) -> str:
    r"""Returns ``text``. Raises DataError, beginning with ``where``, if it is not valid Unicode.

    JSON can spell half a character: ``"\ud800"``.
    """
    try:
        text.encode()
    except UnicodeEncodeError:
        raise DataError(
            f"{where}: {text!r:.60} holds half of a character, which UTF-8 cannot encode. Remove it"
        ) from None
    return text
