"""A private SQLite database on disk, for data larger than memory; it ends with its last use."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager

from paddlevideo.utils.errors import DataError


class _Temporary(sqlite3.Connection):
    def __del__(self) -> None:
        # Python 3.13 warns of a connection that is collected open.
        self.close()


def temporary_database(tables: str) -> sqlite3.Connection:
    """Creates an empty database with these tables; its file goes when nothing refers to it."""
    # It may be collected in another thread.
    base = sqlite3.connect("", factory=_Temporary, check_same_thread=False)
    base.executescript(f"PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF; {tables}")
    return base


@contextmanager
def database_errors() -> Iterator[None]:
    """Context in which an error of SQLite, such as a full disk, becomes a DataError."""
    try:
        yield
    except sqlite3.Error as error:
        raise DataError(
            f"the temporary database of captions and ids: {error}. Make room for it, or name a "
            "folder with room in the environment variable SQLITE_TMPDIR"
        ) from None
