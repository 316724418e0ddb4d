"""Sends a file or a part of it, as players ask for (RFC 9110, section 14)."""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from email.utils import formatdate
from io import FileIO
from pathlib import Path

from starlette.responses import Response, StreamingResponse

CHUNK = 1 << 18
_RANGE = re.compile(r"bytes\s*=\s*(\d{0,19})\s*-\s*(\d{0,19})", re.ASCII | re.IGNORECASE)


class Unsatisfiable(Exception):
    """The file has none of the bytes."""


def parse_range(text: str, size: int) -> tuple[int, int] | None:
    """Returns start and stop of the requested part of a file of ``size`` bytes.

    None if all of it should be sent: for another unit, a mistake, or several parts. Raises
    Unsatisfiable if the part begins at the end of the file or later, or has no bytes.
    """
    match = _RANGE.fullmatch(text.strip())
    if match is None or match.groups() == ("", ""):
        return None
    first, last = match.groups()
    if not first:
        start, stop = max(size - int(last), 0), size
    else:
        start, stop = int(first), min(int(last) + 1, size) if last else size
        if last and int(last) < start:
            return None
    if start >= stop:
        raise Unsatisfiable
    return start, stop


@dataclass(frozen=True)
class _Version:
    """What tells one version of a file from another."""

    size: int
    etag: str
    modified: str

    @classmethod
    def of(cls, status: os.stat_result) -> _Version:
        etag = f'"{status.st_mtime_ns:x}-{status.st_size:x}-{status.st_ino:x}"'
        return cls(status.st_size, etag, formatdate(status.st_mtime, usegmt=True))

    def is_known(self, headers: Mapping[str, str]) -> bool:
        """Returns whether the browser has this version."""
        known = headers.get("if-none-match", "")
        return known.strip() == "*" or self.etag in re.split(r"\s*,\s*", known.strip())

    def allows_part(self, headers: Mapping[str, str]) -> bool:
        """Returns whether a part of this version continues what the browser has."""
        expected = headers.get("if-range")
        return expected is None or expected.strip() in {self.etag, self.modified}


def file_response(
    path: Path, media_type: str, headers: Mapping[str, str], is_head: bool = False
) -> Response:
    """Returns the answer to a request with ``headers``: 200, 206, 304 or 416.

    ``is_head``: without the content.

    Raises OSError if the file cannot be opened, or a part of ``path`` is a link by now.
    """
    if os.path.realpath(path) != str(path):
        raise FileNotFoundError(errno.ENOENT, "is another file by now", str(path))
    file = os.fdopen(os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW), "rb", buffering=0)
    version = _Version.of(os.fstat(file.fileno()))
    about = {"etag": version.etag, "last-modified": version.modified, "accept-ranges": "bytes"}
    if version.is_known(headers):
        file.close()
        return Response(status_code=304, headers=about)
    start, stop, status = 0, version.size, 200
    try:
        part = None
        if "range" in headers and version.allows_part(headers):
            part = parse_range(headers["range"], version.size)
    except Unsatisfiable:
        file.close()
        about["content-range"] = f"bytes */{version.size}"
        return Response(status_code=416, headers=about)
    if part is not None:
        (start, stop), status = part, 206
        about["content-range"] = f"bytes {start}-{stop - 1}/{version.size}"
    about["content-length"] = str(stop - start)
    if is_head:
        file.close()
        return Response(status_code=status, headers=about, media_type=media_type)
    return StreamingResponse(_read(file, start, stop), status, about, media_type)


def _read(file: FileIO, start: int, stop: int) -> Iterator[bytes]:
    """Yields the bytes from ``start`` to ``stop``, and closes the file."""
    with file:
        file.seek(start)
        while start < stop and (data := file.read(min(CHUNK, stop - start))):
            start += len(data)
            yield data
