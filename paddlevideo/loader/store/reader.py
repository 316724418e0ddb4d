"""Reads clips of a store by index or by id."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from paddlevideo.files.fingerprint import state
from paddlevideo.loader.clips.check import check_clip
from paddlevideo.loader.clips.clip import About, Clip, Sizes
from paddlevideo.loader.clips.source import ClipSource, Item
from paddlevideo.loader.store.manifest import COMPLETE, UNFINISHED, Manifest
from paddlevideo.loader.store.records import PREFIX, decode, decode_about
from paddlevideo.loader.store.shards import IDS, KEY, RECORDS, id_key, reading
from paddlevideo.utils.errors import DataError


class StoreReplaced(DataError):
    """The store that was opened is there no more."""


class FeatureStore(ClipSource):
    """The clips of a store, a sequence of :class:`Clip`.

    Memory does not grow with the number of clips: a process keeps one number for each shard, and
    opens shards when it first reads them. Raises DataError for a folder that is not a store, or for
    an unfinished store.
    """

    path: Path
    has_captions = True

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        if not (self.path / COMPLETE).is_file():
            raise DataError(self._not_a_store())
        self._state = state(self.path / COMPLETE)
        self.manifest = Manifest.read(self.path / COMPLETE)
        counts = [shard.clips for shard in self.manifest.shards]
        self.starts = np.concatenate([[0], np.cumsum(counts, dtype=np.int64)])
        self._files = [self.path / shard.file for shard in self.manifest.shards]

    def extraction(self) -> dict[str, Any] | None:
        """Returns the settings that ``paddlevideo extract`` made the store with, if it did."""
        return self.manifest.made_by.get("extraction")

    def _not_a_store(self) -> str:
        if (self.path / UNFINISHED).is_file():
            written = Manifest.read(self.path / UNFINISHED).clips
            return (
                f"{self.path}: this store is not finished ({written} clips are written). "
                "Run the command that writes it again to continue"
            )
        if not self.path.exists():
            return (
                f"{self.path}: there is no such feature store. Check the path, or make it with "
                "paddlevideo extract"
            )
        hint = ". paddlevideo pack makes a store of other feature files"
        if (self.path.parent / COMPLETE).is_file():
            hint = f". It is a part of one: name the folder, {self.path.parent}"
        return f"{self.path}: is not a feature store: it holds no {COMPLETE}{hint}"

    def __len__(self) -> int:
        return int(self.starts[-1])

    def __getitem__(self, index: int) -> Clip:
        """Returns clip ``index``, unchecked. Raises DataError, naming it, if it is damaged."""
        with self._record(index) as (record, where):
            return decode(record, where)  # copies: the buffer is only valid in the transaction

    def about(self, index: int) -> About:
        """Returns id, captions and origin of clip ``index``, without reading arrays."""
        with self._record(index) as (record, where):
            return decode_about(record, where)

    @contextmanager
    def _record(self, index: int) -> Iterator[tuple[Any, str]]:
        """Opens the record of clip ``index``; also returns its name for messages."""
        if not 0 <= index < len(self):
            raise IndexError(f"clip {index} of {len(self)}")
        shard = int(np.searchsorted(self.starts, index, side="right")) - 1
        within = index - int(self.starts[shard])
        path = self._files[shard]
        with reading(path, RECORDS, buffers=True) as transaction:
            record = transaction.get(KEY.pack(within))
            self._check_unchanged()
            if record is None:
                raise DataError(f"{path}: clip {within}: has no record")
            yield record, f"{path}: clip {within}"

    def _check_unchanged(self) -> None:
        """Raises StoreReplaced if the store was replaced since it was opened.

        Called after opening a shard: a new store's shards only exist without the old manifest.
        """
        path = self.path / COMPLETE
        try:
            now = state(path)
            if now == self._state:
                return
            if Manifest.read(path) == self.manifest:
                self._state = now  # copied, or given other permissions
                return
        except OSError:
            pass
        raise StoreReplaced(
            f"{self.path}: was replaced or removed since it was opened, so clips have other "
            "indices. Start again"
        )

    def read(self, index: int) -> Clip:
        """Returns clip ``index``, checked."""
        clip = self[index]
        check_clip(clip, self.manifest.sizes, f'{self.path}: clip {index} ("{clip.id}")')
        return clip

    def sizes(self) -> Sizes:
        """Returns the sizes in the manifest."""
        self._check_counts()
        return self.manifest.sizes

    def _check_counts(self) -> None:
        """Raises DataError for more clips than bytes, over which loops would never end."""
        for file, shard in zip(self._files, self.manifest.shards, strict=True):
            if file.is_file() and shard.clips > (size := file.stat().st_size):
                raise DataError(
                    f"{self.path}: its manifest says that {shard.file}, of {size} bytes, holds "
                    f"{shard.clips} clips. Copy the store again"
                )

    def items(self) -> Iterator[Item]:
        """Yields all clips, unchecked: a store may be repaired while it is copied."""
        self._check_counts()
        for index in range(len(self)):
            yield Item(None, partial(self.__getitem__, index))

    def checksums(self, shard: int) -> Iterator[tuple[bytes, bytes]]:
        """Yields the hash of the id and the checksum of each clip of a shard, without reading it.

        The checksum is the beginning of its record. Raises DataError if one of them is absent.
        """
        self._check_counts()
        path, clips = self._files[shard], self.manifest.shards[shard].clips
        ids: list[bytes | None] = [None] * clips
        with reading(path, IDS) as transaction, transaction.cursor() as cursor:
            self._check_unchanged()
            for key, entry in cursor.iternext():
                within = KEY.unpack(entry)[0] if len(entry) == KEY.size else clips
                if within < clips:
                    ids[within] = key
        with reading(path, RECORDS, buffers=True) as transaction:
            self._check_unchanged()
            for within, key in enumerate(ids):
                record = transaction.get(KEY.pack(within))
                if key is None or record is None:
                    raise DataError(
                        f"{path}: clip {within}: has no {'id' if key is None else 'record'}. "
                        "tools/prepare_data.py validate --fix writes a new shard"
                    )
                yield key, bytes(record[: PREFIX.size])

    def find(self, name: str) -> int | None:
        """Returns the index of the clip called ``name``, or None. Searches the shards in turn."""
        key = id_key(name)
        for shard, path in enumerate(self._files):
            with reading(path, IDS) as transaction:
                entry = transaction.get(key)
                self._check_unchanged()
            if entry is not None:
                return self._index(shard, entry, name)
        return None

    def _index(self, shard: int, entry: bytes, name: str) -> int:
        """Returns the index in an entry of the id table. Raises DataError if it is wrong."""
        if len(entry) == KEY.size:
            (within,) = KEY.unpack(entry)
            if within < self.manifest.shards[shard].clips:
                index = int(self.starts[shard]) + int(within)
                if self.about(index).id == name:
                    return index
        raise DataError(
            f'{self._files[shard]}: the id table maps "{name}" to another clip. '
            "tools/prepare_data.py validate --fix writes a new one"
        )
