"""LMDB files for reading: opened once in a process, checked, and opened again after a fork."""

from __future__ import annotations

import os
import stat
import threading
from typing import Any

import lmdb

from paddlevideo.files.filetype import describe_file
from paddlevideo.utils.errors import DataError

#: Device and inode of a file: LMDB opens a file once in a process, whatever its path.
_Key = tuple[int, int]
#: Open environments, each with the process and the state of the file when it was opened; the most
#: recently used one is last.
_environments: dict[_Key, tuple[tuple[int, ...], lmdb.Environment]] = {}
#: The file that was behind each path when it was last used.
_keys: dict[str, _Key] = {}
#: Handles of the tables of open environments: finding one costs a transaction.
_tables: dict[tuple[lmdb.Environment, bytes], Any] = {}
#: Several threads may ask at once. A fork takes the lock as it is, so the child gets a new one.
_lock = threading.Lock()


def _renew_lock() -> None:
    global _lock
    _lock = threading.Lock()


os.register_at_fork(after_in_child=_renew_lock)
#: Maximum number of open environments: a process may open only a limited number of files.
LIMIT = 256


def environment(path: str | os.PathLike[str], databases: int = 0) -> lmdb.Environment:
    """The environment of a folder with ``data.mdb``, or of a file; on read-only disks too.

    Use it at once: it may be closed when others are asked for. Raises DataError if it is absent,
    not an LMDB or cut short.
    """
    with _lock:
        return _environment(path, databases)


def _environment(path: str | os.PathLike[str], databases: int) -> lmdb.Environment:
    file, status = _status(path)
    times = (status.st_mtime_ns, status.st_ctime_ns)
    state = (os.getpid(), status.st_size, *times)
    key = status.st_dev, status.st_ino
    if _keys.setdefault(file, key) != key:
        replaced = _environments.pop(_keys[file], None)
        if replaced is not None:
            _close(replaced[1])
        _keys[file] = key
    known = _environments.pop(key, None)
    if known is not None and known[0] != state:
        _close(known[1])  # inherited by a fork, or of a file that was written again
        known = None
    if known is None:
        while len(_environments) >= LIMIT:
            _close(_environments.pop(next(iter(_environments)))[1])
        known = state, _open(file, status.st_size, databases)
    _environments[key] = known
    return known[1]


def _status(path: str | os.PathLike[str]) -> tuple[str, os.stat_result]:
    """The file, or the one in the folder: asked at every read, so in one call if it can."""
    file = os.fspath(path)
    try:
        status = os.stat(file)
        if stat.S_ISDIR(status.st_mode):
            file = os.path.join(path, "data.mdb")
            status = os.stat(file)
    except OSError as error:
        raise DataError(f"{file}: {error.strerror}. Check the path of the features") from None
    return file, status


def table(path: str | os.PathLike[str], name: bytes) -> tuple[Any, Any]:
    """The environment of a file that has tables, and the handle of one of them."""
    with _lock:
        shard = _environment(path, databases=2)
        if (shard, name) not in _tables:
            _tables[shard, name] = shard.open_db(name)
        return shard, _tables[shard, name]


def _close(shard: lmdb.Environment) -> None:
    for key in [key for key in _tables if key[0] is shard]:
        del _tables[key]
    shard.close()


def _open(file: str, size: int, databases: int) -> lmdb.Environment:
    if not os.access(file, os.R_OK):
        raise DataError(f"{file}: may not be read: its permissions forbid it")
    # Read-ahead makes cold reads about twenty times faster; there is no writer to lock out.
    try:
        found: lmdb.Environment = lmdb.open(
            file,
            subdir=False,
            readonly=True,
            lock=False,
            readahead=True,
            max_dbs=databases,
        )
    except lmdb.InvalidError:
        raise DataError(
            f"{file}: not a whole LMDB, but {describe_file(file)}. Copy or write it again"
        ) from None
    needed = (found.info()["last_pgno"] + 1) * found.stat()["psize"]
    if size < needed:
        found.close()  # reading beyond the end of the file would kill the process
        raise DataError(f"{file}: is cut short: {size} of {needed} bytes. Copy it again")
    return found
