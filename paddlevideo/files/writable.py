"""Checks that an output can be written, before the work that produces it."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from paddlevideo.utils.errors import ConfigError


def check_file(path: str | Path | None, flag: str) -> None:
    """Raises ConfigError, naming ``flag``, if ``path`` is a folder or cannot be written.

    Leaves nothing behind. ``path`` may be None.
    """
    _check(path, flag, is_file=True)


def check_folder(path: str | Path | None, flag: str) -> None:
    """Raises ConfigError, naming ``flag``, if no file can be written in the folder ``path``.

    It need not exist. Leaves nothing behind. ``path`` may be None.
    """
    _check(path, flag, is_file=False)


def _check(path: str | Path | None, flag: str, is_file: bool) -> None:
    if path is None:
        return
    path = Path(path)
    try:
        if is_file and path.is_dir():
            raise ConfigError(f"{flag} {path}: is a folder: name a file in it")
        try_folder(path.parent if is_file else path)
    except OSError as error:
        raise ConfigError(
            f"{flag} {path}: cannot be written ({error.strerror}). Name a path that can be written "
            "to"
        ) from None


def try_folder(folder: Path) -> None:
    """Creates a file in ``folder``, or its nearest parent that exists. Raises OSError."""
    nearest = nearest_folder(folder)
    try:
        with tempfile.TemporaryFile(dir=nearest):  # without a name: a killed process leaves nothing
            return
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(nearest)) from None


def nearest_folder(path: Path) -> Path:
    """Returns ``path``, or its nearest parent that exists."""
    path = Path(os.path.abspath(path))
    return next(each for each in (path, *path.parents) if os.path.lexists(each))
