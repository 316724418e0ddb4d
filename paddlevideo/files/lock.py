"""A lock on a folder: one process at a time writes there; it is freed when its holder dies."""

from __future__ import annotations

import errno
import fcntl
import logging
import os
import socket
import time
from contextlib import suppress
from pathlib import Path

from paddlevideo.files.partials import held, is_at
from paddlevideo.utils.errors import ConfigError

log = logging.getLogger("paddlevideo")


class FolderLock:
    """Holds ``<folder>/.<purpose>.lock`` while it is open.

    The system frees the lock when its process ends, however it ends; a file that a killed process
    left behind locks nothing. On release the file is removed, and the folder if it is empty and
    new, so that a command that is refused leaves no trace.

    >>> with FolderLock(folder, "train").acquire():
    ...     write_files()
    """

    def __init__(self, folder: str | Path, purpose: str, setting: str = "folder") -> None:
        """``purpose`` and ``setting``, the option that names the folder, are for the message."""
        self.folder, self.purpose, self.setting = Path(folder), purpose, setting
        self.path = self.folder / f".{purpose}.lock"
        self._descriptor = -1
        self._made: list[Path] = []

    def acquire(self) -> FolderLock:
        """Takes the lock. Raises ConfigError, naming the holder, if another process has it."""
        self._make_folder()
        while self._descriptor < 0:
            descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o666)
            try:
                self._lock(descriptor)
            except BaseException:
                os.close(descriptor)
                raise
            if is_at(descriptor, self.path):
                self._descriptor = descriptor
                held.add(descriptor)
            else:  # its last holder removed it in between
                os.close(descriptor)
        with suppress(OSError):  # it only names the holder for others
            os.ftruncate(self._descriptor, 0)
            os.pwrite(self._descriptor, _this_process().encode(), 0)
        return self

    def _make_folder(self) -> None:
        """Creates the folder, and records which parents are new."""
        absent = (path for path in (self.folder, *self.folder.parents) if not path.exists())
        self._made = list(absent)
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except (FileExistsError, NotADirectoryError):
            raise ConfigError(
                f"{self.folder} is not a folder, and none can be created: choose another "
                f"{self.setting}"
            ) from None

    def _lock(self, descriptor: int) -> None:
        if not try_lock(descriptor, self.folder):
            holder = os.pread(descriptor, 200, 0).decode(errors="replace")
            raise ConfigError(
                f"{self.folder}: another process is writing there ({self.purpose}"
                f"{', ' if holder else ''}{holder}). Wait until it ends, stop it, or choose "
                f"another {self.setting}"
            )

    def release(self) -> None:
        """Frees the lock, if it is held."""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor not in held:
            return
        held.remove(descriptor)
        with suppress(OSError):
            self.path.unlink()
        os.close(descriptor)
        with suppress(OSError):
            for folder in self._made:
                folder.rmdir()

    def __enter__(self) -> FolderLock:
        return self

    def __exit__(self, *exception: object) -> None:
        self.release()


def try_lock(descriptor: int, folder: str | Path) -> bool:
    """Locks an open file until it is closed; returns False if another process has locked it.

    Where the file system of ``folder`` has no locks, warns and returns True.
    """
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in (errno.EAGAIN, errno.EACCES):
            return False
        # Some network file systems have no locks, and each its own error.
        log.warning(
            "%s: the file system has no locks (%s): a second process that writes to the same "
            "folder would not be noticed",
            folder,
            error.strerror,
        )
    return True


def _this_process() -> str:
    now = time.strftime("%Y-%m-%d %H:%M:%S")
    return f"process {os.getpid()} on {socket.gethostname()} since {now}"
