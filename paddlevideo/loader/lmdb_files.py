"""LMDB files for reading: opened once in a process, checked, and opened anew after a fork."""

from __future__ import annotations

import os
import stat
import threading
from functools import lru_cache
from typing import Any

import lmdb

from paddlevideo.utils.errors import DataError
from paddlevideo.utils.filetype import describe_file

#: Open environments by real path (LMDB allows one of each in a process), with the process and the
#: state of the file that they were opened in; the one used last stands last.
_environments: dict[str, tuple[tuple[int, ...], lmdb.Environment]] = {}
#: Handles of the tables of open environments: finding one costs a transaction.
_tables: dict[tuple[lmdb.Environment, bytes], Any] = {}
#: Several threads may ask at once. A fork takes the lock as it is, so the child gets a new one.
_lock = threading.Lock()


def _renew_lock() -> None:
    global _lock
    _lock = threading.Lock()


os.register_at_fork(after_in_child=_renew_lock)
#: How many stay open: a process may have only so many files.
LIMIT = 256


def environment(path: str | os.PathLike[str], databases: int = 0) -> lmdb.Environment:
    """The environment of a folder with ``data.mdb``, or of a file; on read-only disks too.

    Use it at once: it may be closed when others are asked for. Raises DataError if it is absent,
    no LMDB or cut short.
    """
    with _lock:
        return _environment(path, databases)


def _environment(path: str | os.PathLike[str], databases: int) -> lmdb.Environment:
    status = _status(path)
    times = (status.st_mtime_ns, status.st_ctime_ns)
    state = (os.getpid(), status.st_dev, status.st_ino, status.st_size, *times)
    key = _real_path(os.path.abspath(path))
    known = _environments.pop(key, None)
    if known is not None and known[0] != state:
        _close(known[1])  # inherited by a fork, or of a file that was replaced
        known = None
    if known is None:
        while len(_environments) >= LIMIT:
            _close(_environments.pop(next(iter(_environments)))[1])
        known = state, _open(path, status.st_size, databases)
    _environments[key] = known
    return known[1]


def _status(path: str | os.PathLike[str]) -> os.stat_result:
    """Of the file, or of the one in the folder: asked at every read, so in one call if it can."""
    file = path
    try:
        status = os.stat(file)
        if stat.S_ISDIR(status.st_mode):
            file = os.path.join(path, "data.mdb")
            status = os.stat(file)
    except OSError as fault:
        raise DataError(f"{file}: {fault.strerror}. Check the path of the features") from None
    return status


#: Following links costs as much as reading a small record.
_real_path = lru_cache(maxsize=4096)(os.path.realpath)


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


def _open(path: str | os.PathLike[str], size: int, databases: int) -> lmdb.Environment:
    file = os.path.join(path, "data.mdb") if os.path.isdir(path) else path
    if not os.access(file, os.R_OK):
        raise DataError(f"{file}: may not be read: its permissions forbid it")
    # Read-ahead makes cold reads about twenty times faster; there is no writer to lock out.
    try:
        found: lmdb.Environment = lmdb.open(
            os.fspath(path),
            subdir=os.path.isdir(path),
            readonly=True,
            lock=False,
            readahead=True,
            max_dbs=databases,
        )
    except lmdb.InvalidError:
        raise DataError(
            f"{path}: not a whole LMDB, but {describe_file(file)}. Copy or write it again"
        ) from None
    needed = (found.info()["last_pgno"] + 1) * found.stat()["psize"]
    if size < needed:
        found.close()  # reading beyond the end of the file would kill the process
        raise DataError(f"{path}: is cut short: {size} of {needed} bytes. Copy it again")
    return found
