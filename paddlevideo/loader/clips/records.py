"""PaddleVideo's MSR-VTT records: pickled dictionaries in an LMDB, read without running code."""

from __future__ import annotations

import os
import pickle
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import cached_property
from itertools import islice
from pathlib import Path

import lmdb

from paddlevideo import safe_pickle
from paddlevideo.loader.clips.check import as_clip
from paddlevideo.loader.clips.clip import Clip, Sizes
from paddlevideo.loader.clips.lmdb_files import environment
from paddlevideo.loader.clips.source import ListedClips, first_sizes
from paddlevideo.loader.store.manifest import is_store
from paddlevideo.utils.errors import DataError
from paddlevideo.utils.printable import some

#: The fields of a clip and their names in a record.
NAMES = {
    "id": "video_id",
    "image_h": "image_h",
    "image_w": "image_w",
    "regions": "features",
    "boxes": "boxes",
    "actions": "action_features",
}
BATCH = 64  # records written in a transaction


class RecordFile(ListedClips):
    """The records of an LMDB folder or file, in the order of their keys, which are clip ids.

    The environment is opened at its first use in a process, and again after a fork, as LMDB
    requires. All readers of one file in a process share it.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = str(path)
        folder, name = os.path.split(self.path)
        if name.startswith("shard-") and is_store(folder):
            raise DataError(f"{path}: is a part of a feature store: name its folder, {folder}")

    @contextmanager
    def _reading(self) -> Iterator[lmdb.Transaction]:
        """Opens a short transaction; errors of LMDB become a DataError."""
        try:
            with environment(self.path).begin() as transaction:
                yield transaction
        except lmdb.Error as error:
            raise DataError(
                f"{self.path}: is damaged, or not an LMDB ({error}). Copy or write it again"
            ) from None

    def __len__(self) -> int:
        with self._reading() as transaction:
            return transaction.stat()["entries"]

    @cached_property
    def _ids(self) -> list[str]:
        with self._reading() as transaction, transaction.cursor() as cursor:
            # A key that is not text can still be looked up: reading its record fails.
            return [
                bytes(key).decode(errors="surrogateescape")
                for key in cursor.iternext(keys=True, values=False)
            ]

    def ids(self) -> list[str]:
        """Returns the ids of all clips."""
        return self._ids

    def sizes(self) -> Sizes:
        """Returns the widths of the first record that can be read; there are no classes."""
        return first_sizes(self)

    def read(self, index: int) -> Clip:
        """Returns the clip of record ``index``."""
        name = self._ids[index]
        where = f'{self.path}: clip "{name}"'
        with self._reading() as transaction:
            # Without buffers=True these are bytes, which do not refer to the memory map.
            value = transaction.get(name.encode(errors="surrogateescape"))
        if value is None:
            raise DataError(f"{where}: has no record")
        record = safe_pickle.loads(bytes(value), where)
        if not isinstance(record, dict):
            raise DataError(f"{where}: the record is a {type(record).__name__}, not a dictionary")
        absent = [key for key in NAMES.values() if key not in record]
        if absent:
            raise DataError(f"{where}: the record lacks {some(absent)}")
        if record["video_id"] != name:
            raise DataError(f'{where}: the record is of clip "{record["video_id"]!s:.60}"')
        return as_clip({ours: record[theirs] for ours, theirs in NAMES.items()}, where, NAMES)


def write_records(folder: Path, clips: Iterable[Clip]) -> None:
    """Writes an LMDB of records into ``folder``; their ids are at most ``KEY_BYTES`` long.

    Raises DataError for an id that occurs twice, and lmdb.Error if LMDB cannot write.
    """
    numbered = enumerate(clips)
    # Without a lock file, which LMDB maps: on a full disk that would end the process.
    with lmdb.open(str(folder), map_size=1 << 40, lock=False) as writer:
        while batch := list(islice(numbered, BATCH)):
            with writer.begin(write=True) as transaction:
                for number, clip in batch:
                    value = _record_of(clip)
                    if not transaction.put(clip.id.encode(), value, overwrite=False):
                        raise DataError(
                            f'clip {number}: an earlier clip has its id "{clip.id}". '
                            "tools/prepare_data.py validate --fix leaves it out"
                        )


def _record_of(clip: Clip) -> bytes:
    return pickle.dumps({key: getattr(clip, ours) for ours, key in NAMES.items()}, protocol=4)
