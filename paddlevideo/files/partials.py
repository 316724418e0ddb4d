"""Temporary names of files and folders that are being written, and removal of leftovers.

``.NAME.NUMBER.partial`` is created exclusively, so that no two writers share one, on whatever host,
and its writer locks it (``flock``) as long as it lives. Only a process that holds the lock removes
a partial, so none is removed under a living writer; an unlocked one is a leftover.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import hashlib
import os
import re
import secrets
import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

#: Where locks of other hosts may be invisible, a partial unchanged for this long is a leftover.
STALE_SECONDS = 6 * 3600
#: A folder with more entries is searched for leftovers once in a process, not at every write.
SMALL_FOLDER = 2000
_NAME = re.compile(r"\.(?P<target>.+)\.\d+\.(?P<kind>partial|old)", re.DOTALL)
_NAME_BYTES = 200  # of 255 that a file's name may have
#: ``f_type`` of file systems that hosts share: NFS, SMB, CIFS, 9p, FUSE, Ceph, Lustre, GPFS, AFS,
#: BeeGFS, OCFS2, GFS2, PanFS, VirtualBox and VMware folders.
_SHARED = {
    *(0x6969, 0x517B, 0xFF534D42, 0xFE534D42, 0x01021997, 0x65735546, 0x00C36400, 0x0BD00BD0),
    *(0x47504653, 0x5346414F, 0x19830326, 0x7461636F, 0x01161970, 0xAAD7AAEA, 0x786F4256),
    0xBACBACBC,
}
_ATTEMPTS = 100
_large: set[str] = set()
#: Descriptors of the locks that this process holds, those of files/lock.py included.
held: set[int] = set()


def _forget() -> None:
    """Closes the parent's locks in a forked child, so that they end with the parent."""
    for descriptor in held:
        os.close(descriptor)
    held.clear()


os.register_at_fork(after_in_child=_forget)


class Lock(NamedTuple):
    """An open file or folder. ``is_sure``: no other process, of whatever host, has it locked."""

    descriptor: int
    is_sure: bool

    def release(self) -> None:
        """Closes it."""
        held.discard(self.descriptor)
        os.close(self.descriptor)


@contextmanager
def partial_of(path: Path, folder: bool = False) -> Iterator[Path]:
    """Gives an empty, locked partial of ``path``, which is removed at the end unless renamed.

    Leftovers beside ``path`` are removed first. If an exchange has put something else under the
    partial's name, that is removed at the end.
    """
    sweep(path.parent)
    partial, lock = _create(path, folder)
    is_open = True
    try:
        yield partial
    finally:
        if is_at(lock.descriptor, partial):
            _remove(partial)
        else:
            lock.release()  # first: the writer that holds the other lock may wait for this one
            is_open = False
            _remove_locked(partial, wait=True)
        if is_open:
            lock.release()


def put_in_place(partial: Path, path: Path) -> None:
    """Renames a folder to ``path``; a folder that is there takes the other name."""
    if path.exists() and not path.is_dir():
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(path))
    for attempt in range(_ATTEMPTS):
        try:
            if not path.exists():
                os.rename(partial, path)
            elif not _exchange(partial, path):
                _replace(partial, path)
            return
        except OSError:  # another writer has taken or freed the name meanwhile
            if attempt + 1 == _ATTEMPTS or not partial.exists():
                raise


def sweep(folder: Path) -> None:
    """Removes leftovers of dead writers; a folder that was being replaced gets its name back."""
    if str(folder) in _large:
        return
    count = 0
    with suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            count += 1
            if match := _NAME.fullmatch(entry.name):
                _clear(folder / entry.name, folder / match["target"], match["kind"])
    if count > SMALL_FOLDER:
        _large.add(str(folder))


def _clear(leftover: Path, target: Path, kind: str) -> None:
    if kind == "partial" or target.exists():
        _remove_locked(leftover)
    elif (lock := _lock(leftover)) is not None:
        with suppress(OSError):
            os.rename(leftover, target)
        lock.release()


def _create(path: Path, folder: bool) -> tuple[Path, Lock]:
    name = path.name
    if len(os.fsencode(name)) > _NAME_BYTES:
        name = hashlib.blake2b(os.fsencode(name), digest_size=16).hexdigest()
    for attempt in range(1000):
        number = secrets.randbelow(10 ** (4 + attempt // 50))
        partial = path.with_name(f".{name}.{number}.partial")
        try:
            if folder:
                partial.mkdir()
            else:
                os.close(os.open(partial, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
        except FileExistsError:
            continue
        if (lock := _lock(partial, wait=True)) is not None:
            held.add(lock.descriptor)
            return partial, lock  # else it was swept as a leftover before it was locked
    raise FileExistsError(f"{path}: no temporary name beside it is free")


def _lock(path: Path, wait: bool = False) -> Lock | None:
    """Locks what is at ``path``; None if another process has locked it, or nothing is there."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
    except OSError:
        return None
    is_sure = False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        is_sure = _is_local(path)
    except BlockingIOError:
        os.close(descriptor)
        return None
    except OSError:
        pass  # this file system has no such locks
    lock = Lock(descriptor, is_sure)
    if is_at(lock.descriptor, path):
        return lock
    lock.release()
    return None


def is_at(descriptor: int, path: Path) -> bool:
    """Returns whether an open file or folder is still the one with this name."""
    try:
        return os.path.samestat(os.fstat(descriptor), os.lstat(path))
    except OSError:
        return False


def _remove_locked(path: Path, wait: bool = False) -> None:
    lock = _lock(path, wait)
    if lock is None:
        return
    if wait or lock.is_sure or time.time() - _changed(path) > STALE_SECONDS:
        _remove(path)
    lock.release()


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with suppress(OSError):
            path.unlink()


def _changed(path: Path) -> float:
    """Returns when a partial was last written to."""
    paths = [path, *path.rglob("*")] if path.is_dir() else [path]
    times = [time.time()]
    with suppress(OSError):
        times = [os.lstat(each).st_mtime for each in paths]
    return max(times)


def _is_local(path: Path) -> bool:
    """Returns whether all writers to a file system share this host's locks."""
    if sys.platform != "linux":
        return False
    status = (ctypes.c_long * 64)()
    has_type = ctypes.CDLL(None).statfs(os.fsencode(path), status) == 0
    return has_type and int(status[0]) & 0xFFFFFFFF not in _SHARED


def _exchange(first: Path, second: Path) -> bool:
    """Exchanges two names in one step (Linux); False if the file system cannot."""
    libc = ctypes.CDLL(None, use_errno=True)
    if not hasattr(libc, "renameat2"):
        return False
    at_cwd, exchange = -100, 2
    done = libc.renameat2(at_cwd, os.fsencode(first), at_cwd, os.fsencode(second), exchange)
    return bool(done == 0)


def _replace(partial: Path, path: Path) -> None:
    """Exchanges in two steps; if the process dies in between, :func:`sweep` undoes the first."""
    old = partial.with_name(partial.name.removesuffix("partial") + "old")
    lock = _lock(path, wait=True)
    try:
        os.rename(path, old)
        try:
            os.rename(partial, path)
        except BaseException:
            os.rename(old, path)
            raise
        _remove(old)
    finally:
        if lock is not None:
            lock.release()
