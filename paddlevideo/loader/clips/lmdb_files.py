"""LMDB files for reading: opened once per process, checked, and reopened after a fork."""

from __future__ import annotations

import os
import stat
import threading
from dataclasses import dataclass, field
from typing import Any

import lmdb

from paddlevideo.files.filetype import describe_file
from paddlevideo.utils.errors import DataError

#: Maximum number of open environments: a process may open only a limited number of files.
LIMIT = 256
#: Device and inode of a file, which LMDB may open only once in a process.
_Key = tuple[int, int]


@dataclass
class _Open:
    """An open environment, with the process and the state of the file when it was opened."""

    state: tuple[int, ...]
    environment: lmdb.Environment
    #: Handles of its tables: finding one costs a transaction.
    tables: dict[bytes, Any] = field(default_factory=dict)


#: By file; the most recently used one is last.
_files: dict[_Key, _Open] = {}
#: The file that was behind each path when it was last used.
_keys: dict[str, _Key] = {}
#: For several threads. A fork copies the state of the lock, so the child gets a new one.
_lock = threading.Lock()


def _renew_lock() -> None:
    global _lock
    _lock = threading.Lock()


os.register_at_fork(after_in_child=_renew_lock)


def environment(path: str | os.PathLike[str]) -> lmdb.Environment:
    """Returns the environment of a folder with ``data.mdb``, or of a file, also if read-only.

    Use it at once: it may be closed when others are opened. Raises DataError if it is absent, not
    an LMDB or cut short.
    """
    with _lock:
        return _opened(path, databases=0).environment


def table(path: str | os.PathLike[str], name: bytes) -> tuple[Any, Any]:
    """Returns the environment of a file with tables, and the handle of one of them."""
    with _lock:
        opened = _opened(path, databases=2)
        if name not in opened.tables:
            opened.tables[name] = opened.environment.open_db(name)
        return opened.environment, opened.tables[name]


def _opened(path: str | os.PathLike[str], databases: int) -> _Open:
    file, status = _status(path)
    state = (os.getpid(), status.st_size, status.st_mtime_ns, status.st_ctime_ns)
    key = status.st_dev, status.st_ino
    if _keys.setdefault(file, key) != key:
        _close(_keys[file])  # the file was replaced
        _keys[file] = key
    if key in _files and _files[key].state != state:
        _close(key)  # inherited by a fork, or of a file that has changed
    opened = _files.pop(key, None)
    if opened is None:
        while len(_files) >= LIMIT:
            _close(next(iter(_files)))
        opened = _Open(state, _open(file, status.st_size, databases))
    _files[key] = opened
    return opened


def _status(path: str | os.PathLike[str]) -> tuple[str, os.stat_result]:
    """Returns the LMDB file of ``path`` and its status, in one system call if possible."""
    file = os.fspath(path)
    try:
        status = os.stat(file)
        if stat.S_ISDIR(status.st_mode):
            file = os.path.join(path, "data.mdb")
            status = os.stat(file)
    except OSError as error:
        raise DataError(f"{file}: {error.strerror}. Check the path of the features") from None
    return file, status


def _close(key: _Key) -> None:
    if key in _files:
        _files.pop(key).environment.close()


def _open(file: str, size: int, databases: int) -> lmdb.Environment:
    if not os.access(file, os.R_OK):
        raise DataError(f"{file}: cannot be read: its permissions forbid it")
    # Read-ahead makes cold reads about twenty times faster; there is no writer to lock out.
    options: dict[str, Any] = {"readonly": True, "lock": False, "readahead": True}
    try:
        opened = lmdb.open(file, subdir=False, max_dbs=databases, **options)
    except lmdb.InvalidError:
        kind = describe_file(file)
        raise DataError(
            f"{file}: is damaged, or not an LMDB ({kind}). Copy or write it again"
        ) from None
    needed = (opened.info()["last_pgno"] + 1) * opened.stat()["psize"]
    if size < needed:
        opened.close()  # reading beyond the end of the file would kill the process
        raise DataError(f"{file}: is cut short: {size} of {needed} bytes. Copy it again")
    return opened
