"""Opening text files, and texts that can be written again: what all kinds of captions share."""

from __future__ import annotations

import csv
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO

from paddlevideo.utils.errors import DataError


@contextmanager
def open_text(path: str | os.PathLike[str]) -> Iterator[TextIO]:
    """A file of UTF-8 text, with or without a byte order mark; only newlines end its lines.

    What goes wrong while it is open becomes a DataError that names it: a file that cannot be read,
    is no UTF-8, or is no regular file (a pipe gives its text once, but a file is read twice).
    """
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):
            raise DataError(f"{path}: is no regular file. Write the captions to a file first")
        with open(path, encoding="utf-8-sig") as file:
            yield file
    except UnicodeDecodeError as fault:
        raise DataError(f"{path}: cannot be read as UTF-8 text ({fault})") from None
    except OSError as fault:
        raise DataError(f"{path}: cannot be read ({fault.strerror})") from None


def csv_rows(path: str | os.PathLike[str]) -> Iterator[tuple[int, list[str]]]:
    """The number and the fields of each line of a CSV file that is not blank.

    Line by line: a stray quote must not swallow the captions after it. Raises DataError as
    :func:`open_text` does, and with the line that is no CSV.
    """
    with open_text(path) as file:
        for number, line in enumerate(file, 1):
            if not line.strip():
                continue
            try:
                yield number, next(csv.reader([line.rstrip("\n")]))
            except csv.Error as fault:
                raise DataError(f"{path}: line {number}: is no CSV ({fault})") from None


def writable(text: str, where: str) -> str:
    r"""``text`` itself. Raises DataError, beginning with ``where``, if UTF-8 cannot hold it.

    JSON can spell half a character: ``"\ud800"``.
    """
    try:
        text.encode()
    except UnicodeEncodeError:
        raise DataError(
            f"{where}: {text!r:.60} holds half of a character, which no UTF-8 text can. Remove it"
        ) from None
    return text
