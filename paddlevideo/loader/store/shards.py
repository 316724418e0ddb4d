"""The LMDB files of a store: tables and keys."""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import lmdb

from paddlevideo.loader.clips.lmdb_files import table
from paddlevideo.utils.errors import DataError

RECORDS, IDS = b"records", b"ids"
KEY = struct.Struct(">Q")  # big-endian numbers sort as LMDB sorts keys


def id_key(name: str) -> bytes:
    """Returns a hash of 16 bytes of an id: LMDB's keys have at most 511 bytes."""
    return hashlib.blake2b(name.encode("utf-8"), digest_size=16).digest()


@contextmanager
def reading(path: Path, name: bytes, buffers: bool = False) -> Iterator[Any]:
    """Opens a transaction on a table of a shard. Errors of LMDB become a DataError."""
    try:
        shard, handle = table(path, name)
        with shard.begin(db=handle, buffers=buffers) as transaction:
            yield transaction
    except lmdb.Error as error:
        raise DataError(
            f"{path}: is a truncated or corrupt shard of a store ({error}). Copy it again"
        ) from None
