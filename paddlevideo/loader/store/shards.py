"""The files of a store, LMDB or tar: records by number, and numbers by id."""

from __future__ import annotations

import errno
import hashlib
import os
import struct
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any, Protocol

import lmdb

from paddlevideo.loader.clips.clip import About, Clip
from paddlevideo.loader.clips.lmdb_files import table
from paddlevideo.loader.store.records import PREFIX, decode, decode_about
from paddlevideo.utils.errors import DataError

RECORDS, IDS = b"records", b"ids"
#: Errors of disks and network mounts, whatever the file holds.
_MOUNT_FAILED = (errno.EIO, errno.ESTALE, errno.ETIMEDOUT, errno.ENOTCONN, errno.EHOSTDOWN)
KEY = struct.Struct(">Q")  # big-endian numbers sort as LMDB sorts keys


def id_key(name: str) -> bytes:
    """Returns a hash of 16 bytes of an id: LMDB's keys have at most 511 bytes."""
    return hashlib.blake2b(name.encode("utf-8"), digest_size=16).digest()


class ShardFile(Protocol):
    """The records of a shard, numbered from 0. All methods raise DataError, naming the file."""

    def count(self) -> int:
        """Returns the number of records."""

    def record(self, number: int, head: bool = False) -> AbstractContextManager[Any]:
        """Returns a context with a record, None if there is none; ``head``: enough for texts."""

    def find(self, key: bytes) -> int | None:
        """Returns the number of the record of an id, see :func:`id_key`; -1 if that is damaged."""

    def request(self, numbers: Iterable[int]) -> None:
        """Asks the system to read records ahead, and returns at once."""

    def mark(self, record: bytes) -> bytes:
        """Returns what the manifest's checksum counts of a record."""

    def checksums(self) -> Iterator[tuple[bytes, bytes]]:
        """Yields the hash of the id and a checksum of each record, in order; reads no arrays."""

    def decode(self, record: Any, where: str) -> Clip:
        """Returns the clip of a record."""

    def decode_about(self, record: Any, where: str) -> About:
        """Returns id, captions and origin of a record, or of its head."""


class LmdbShard:
    """An LMDB file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def count(self) -> int:
        """Returns the number of records."""
        with reading(self.path, RECORDS) as transaction:
            return int(transaction.stat()["entries"])

    @contextmanager
    def record(self, number: int, head: bool = False) -> Iterator[Any]:
        """Gives a record, a buffer that is only valid in the context."""
        with reading(self.path, RECORDS, buffers=True) as transaction:
            yield transaction.get(KEY.pack(number))

    def find(self, key: bytes) -> int | None:
        """Returns the number of the record of an id."""
        with reading(self.path, IDS) as transaction:
            entry = transaction.get(key)
        if entry is None:
            return None
        return int(KEY.unpack(entry)[0]) if len(entry) == KEY.size else -1

    def request(self, numbers: Iterable[int]) -> None:
        """Does nothing: records are read through memory, where LMDB finds them."""

    def mark(self, record: bytes) -> bytes:
        """Returns a record's checksum and version."""
        return bytes(record[: PREFIX.size])

    def checksums(self) -> Iterator[tuple[bytes, bytes]]:
        """Yields the hash of the id and the beginning of each record, which is its checksum."""
        ids: dict[int, bytes] = {}
        with reading(self.path, IDS) as transaction, transaction.cursor() as cursor:
            for key, entry in cursor.iternext():
                if len(entry) == KEY.size:
                    ids[KEY.unpack(entry)[0]] = key
        with reading(self.path, RECORDS, buffers=True) as transaction:
            for number in range(transaction.stat()["entries"]):
                key, record = ids.get(number), transaction.get(KEY.pack(number))
                if key is None or record is None:
                    raise DataError(
                        f"{self.path}: clip {number}: has no {'id' if key is None else 'record'}. "
                        "tools/prepare_data.py validate --fix writes a new shard"
                    )
                yield key, bytes(record[: PREFIX.size])

    def decode(self, record: Any, where: str) -> Clip:
        """Returns the clip of a record."""
        return decode(record, where)

    def decode_about(self, record: Any, where: str) -> About:
        """Returns id, captions and origin of a record."""
        return decode_about(record, where)


@contextmanager
def reading(path: Path, name: bytes, buffers: bool = False) -> Iterator[Any]:
    """Opens a transaction on a table of a shard. Errors of LMDB become a DataError."""
    try:
        shard, handle = table(path, name)
        with shard.begin(db=handle, buffers=buffers) as transaction:
            yield transaction
    except lmdb.Error as error:
        if any(os.strerror(number) in str(error) for number in _MOUNT_FAILED):
            raise DataError(f"{path}: cannot be read: check its disk or mount ({error})") from None
        raise DataError(
            f"{path}: is a truncated or corrupt shard of a store ({error}). Copy it again"
        ) from None
