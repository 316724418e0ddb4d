"""The tar files of a store, read at any clip with one system call, and the index beside each.

``shard-00000.index`` is a NumPy array (clips, 5) uint64: begin and size of a clip's sample in
``shard-00000.tar``, two CRC32, and the halves of a hash of its id. The lower 32 bits of the two are
the sample's. The upper ones are those of the record with which LMDB would hold the clip, so that it
is known wherever it is; in indexes of earlier versions they are 0. An index is read whole when the
file is opened.
"""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from paddlevideo.loader.clips.clip import About, Clip
from paddlevideo.loader.store.records import PREFIX, VERSION, damage
from paddlevideo.loader.store.tar_samples import (
    ADVICE,
    about_of_members,
    array_of,
    clip_of_members,
    members_of,
    texts_end,
)
from paddlevideo.utils.errors import DataError

#: The columns of an index.
BEGIN, BYTES, CHECKSUM, ID_HIGH, ID_LOW = COLUMNS = range(5)
MARK, HASH = struct.Struct("<I"), struct.Struct("<QQ")
#: Maximum number of open tar files, as of LMDB files.
LIMIT = 256
#: Bytes that Linux reads ahead at one request, by default of all file systems.
PIECE = 128 << 10
#: Bytes read for the texts of a clip; more only if they are longer.
HEAD = 4096


def index_path(tar: Path) -> Path:
    """Returns the path of a tar file's index."""
    return tar.with_suffix(".index")


class OpenTar:
    """An open tar file and its index; closed with its last user."""

    _descriptor = -1

    def __init__(self, path: Path) -> None:
        self.path = path
        self.index = read_index(path)
        try:
            self._descriptor = os.open(path, os.O_RDONLY)
            size = os.fstat(self._descriptor).st_size
        except OSError as error:
            raise DataError(f"{path}: cannot be read ({error.strerror})") from None
        begins, sizes = (self.index[:, column].astype(float) for column in (BEGIN, BYTES))
        if size < (needed := (begins + sizes).max(initial=0)):  # integers could overflow
            raise DataError(f"{path}: is cut short: {size} of {needed:.0f} bytes. Copy it again")

    def __del__(self) -> None:
        """Closes the file."""
        if self._descriptor >= 0:
            os.close(self._descriptor)

    def read(self, begin: int, size: int) -> bytes:
        """Returns bytes of the file."""
        if size > PIECE:
            self.request(begin, size)  # its pieces at once instead of one after the other
        return read_at(self._descriptor, begin, size, self.path)

    def request(self, begin: int, size: int) -> None:
        """Asks the system to read bytes ahead."""
        if hasattr(os, "posix_fadvise"):  # not on macOS
            for start in range(begin - begin % PIECE, begin + size, PIECE):
                os.posix_fadvise(self._descriptor, start, PIECE, os.POSIX_FADV_WILLNEED)

    @cached_property
    def _by_id(self) -> tuple[np.ndarray, np.ndarray]:
        """Returns the entries' order by the hashes of their ids, and the first halves of these."""
        order = np.argsort(self.index[:, ID_HIGH], kind="stable")
        return order, self.index[order, ID_HIGH]

    def find(self, key: bytes) -> int | None:
        """Returns the number of the clip with this hash of its id."""
        high, low = HASH.unpack(key)
        order, known = self._by_id
        first, last = (np.searchsorted(known, np.uint64(high), side) for side in ("left", "right"))
        for number in order[first:last]:
            if int(self.index[number, ID_LOW]) == low:
                return int(number)
        return None


def read_at(descriptor: int, begin: int, size: int, path: Path) -> bytes:
    """Returns ``size`` bytes of an open file. Raises DataError, naming it."""
    try:
        data = os.pread(descriptor, size, begin)
        while len(data) < size and (
            more := os.pread(descriptor, size - len(data), begin + len(data))
        ):
            data += more
    except OSError as error:
        raise DataError(
            f"{path}: cannot be read ({error.strerror}): check its disk or mount"
        ) from None
    if len(data) < size:
        raise DataError(f"{path}: is cut short: it ends before byte {begin + size}. Copy it again")
    return data


def read_index(tar: Path) -> np.ndarray:
    """Returns the index of a tar file. Raises DataError, naming it."""
    path = index_path(tar)
    try:
        index = array_of(memoryview(path.read_bytes()), "the array")
        if index.dtype != np.uint64 or index.ndim != 2 or index.shape[1] != len(COLUMNS):
            raise ValueError(f"holds {index.dtype} of shape {index.shape}")
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise DataError(
            f"{path}: cannot be read ({reason}). Copy it again, with {tar.name}"
        ) from None
    return index


@lru_cache(LIMIT)
def _opened(path: Path, state: tuple[int, ...]) -> OpenTar:
    return OpenTar(path)


class TarShard:
    """A tar file; ``state`` differs for another store at the same path."""

    def __init__(self, path: Path, state: tuple[int, ...]) -> None:
        self.path, self._state = path, state

    def _open(self) -> OpenTar:
        return _opened(self.path, self._state)

    def count(self) -> int:
        """Returns the number of samples."""
        return len(self._open().index)

    @contextmanager
    def record(self, number: int, head: bool = False) -> Iterator[Any]:
        """Gives a sample, or with ``head`` its texts."""
        tar = self._open()
        if number >= len(tar.index):
            yield None
            return
        begin, size, checksum = tar.index[number, :ID_HIGH].tolist()
        if not head:
            sample = tar.read(begin, size)
            if zlib.crc32(sample) != checksum & 0xFFFFFFFF:
                raise DataError(
                    f"{self.path}: clip {number}: its checksum differs. Copy the file again"
                )
            yield sample
            return
        sample = tar.read(begin, min(size, HEAD))
        with damage(f"{self.path}: clip {number}", ADVICE):
            end = min(texts_end(sample), size)
        yield sample + tar.read(begin + len(sample), max(end - len(sample), 0))

    def find(self, key: bytes) -> int | None:
        """Returns the number of the sample of an id."""
        return self._open().find(key)

    def request(self, numbers: Iterable[int]) -> None:
        """Asks the system to read samples ahead."""
        tar = self._open()
        for number in numbers:
            if number < len(tar.index):
                tar.request(*tar.index[number, :CHECKSUM].tolist())

    def mark(self, record: bytes) -> bytes:
        """Returns a sample's CRC32."""
        return MARK.pack(zlib.crc32(record))

    def checksums(self) -> Iterator[tuple[bytes, bytes]]:
        """Yields the hash of the id and the checksum of each clip, as LMDB has it, of the index."""
        for entry in self._open().index.tolist():
            of_record, of_sample = divmod(entry[CHECKSUM], 1 << 32)
            mark = PREFIX.pack(of_record, VERSION) if of_record else MARK.pack(of_sample)
            yield HASH.pack(entry[ID_HIGH], entry[ID_LOW]), mark

    def decode(self, record: Any, where: str) -> Clip:
        """Returns the clip of a sample. Its features are copies, float32."""
        with damage(where, ADVICE):
            return clip_of_members(*members_of(record))

    def decode_about(self, record: Any, where: str) -> About:
        """Returns id, captions and origin of a sample."""
        with damage(where, ADVICE):
            return about_of_members(*members_of(record))
