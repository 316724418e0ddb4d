"""Pages of files that are mapped into memory: read ahead, or with an error instead of a signal.

A page that cannot be read, of a mount that has failed or a file that was cut short, ends a process
with SIGBUS. Linux 5.14 and later can be asked to read pages with an error instead.
"""

from __future__ import annotations

import ctypes
import errno
import mmap
import sys
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from paddlevideo.utils.errors import DataError

_WILLNEED, _POPULATE_READ = 3, 22


@cache
def _madvise() -> Any:
    return ctypes.CDLL(None, use_errno=True).madvise if sys.platform == "linux" else None


def request_pages(record: Any) -> None:
    """Asks the system to read the pages of a buffer, and returns at once."""
    _advise(record, _WILLNEED)


def load_pages(record: Any, path: Path) -> None:
    """Reads the pages of a buffer. Raises DataError, naming the file, if it cannot be read."""
    if _advise(record, _POPULATE_READ) == errno.EFAULT:
        raise DataError(
            f"{path}: a part of it cannot be read: its disk or mount has failed, or the file was "
            "cut short. Check the mount, or copy the file again"
        )


def _advise(record: Any, advice: int) -> int:
    """Returns the error number, or 0."""
    if (madvise := _madvise()) is None:
        return 0
    array = np.frombuffer(record, np.uint8)
    begin = array.ctypes.data // mmap.PAGESIZE * mmap.PAGESIZE
    length = array.ctypes.data + len(array) - begin
    if madvise(ctypes.c_void_p(begin), ctypes.c_size_t(length), advice) == 0:
        return 0
    return ctypes.get_errno()
