"""Reading a store: clips by number or by id, and an order of them that suits a disk."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from paddlevideo.files.fingerprint import state
from paddlevideo.loader.store.check import check_clip, is_sound
from paddlevideo.loader.store.manifest import COMPLETE, UNFINISHED, Manifest
from paddlevideo.loader.store.records import About, Clip, decode, decode_about
from paddlevideo.loader.store.shards import IDS, KEY, RECORDS, id_key, reading
from paddlevideo.utils.errors import DataError


class FeatureStore:
    """The clips of a store, a sequence of :class:`Clip`.

    Memory does not grow with the number of clips: a process keeps one number for each shard. Shards
    are opened when they are first read, in each process anew. Raises DataError for a folder that
    is no store, or a store whose writing was never finished.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        if not (self.path / COMPLETE).is_file():
            raise DataError(self._why_not())
        self._state = state(self.path / COMPLETE)
        self.manifest = Manifest.read(self.path / COMPLETE)
        counts = [shard.clips for shard in self.manifest.shards]
        self.starts = np.concatenate([[0], np.cumsum(counts, dtype=np.int64)])
        self._files = [self.path / shard.file for shard in self.manifest.shards]

    def _why_not(self) -> str:
        if (self.path / UNFINISHED).is_file():
            written = Manifest.read(self.path / UNFINISHED).clips
            return (
                f"{self.path}: this store is not finished ({written} clips are in its whole "
                "shards). Run the command that writes it again: it goes on from there"
            )
        if not self.path.exists():
            return f"{self.path}: there is no such feature store"
        hint = ""
        if (self.path.parent / COMPLETE).is_file():
            hint = f". It is a part of one: name the folder, {self.path.parent}"
        return f"{self.path}: is not a feature store: it holds no {COMPLETE}{hint}"

    def __len__(self) -> int:
        return int(self.starts[-1])

    def __getitem__(self, number: int) -> Clip:
        """Clip ``number``, whole but as it is. Raises DataError, naming it, if it is damaged."""
        with self._record(number) as (record, where):
            return decode(record, where)  # copies: the buffer ends with the transaction

    def about(self, number: int) -> About:
        """Id, captions, times and video of clip ``number``: its arrays are not read."""
        with self._record(number) as (record, where):
            return decode_about(record, where)

    @contextmanager
    def _record(self, number: int) -> Iterator[tuple[Any, str]]:
        """The record of clip ``number``, valid within the context, and its place for messages."""
        if not 0 <= number < len(self):
            raise IndexError(f"clip {number} of {len(self)}")
        shard = int(np.searchsorted(self.starts, number, side="right")) - 1
        place = number - int(self.starts[shard])
        path = self._files[shard]
        with reading(path, RECORDS, buffers=True) as transaction:
            record = transaction.get(KEY.pack(place))
            self._check_unchanged()
            if record is None:
                raise DataError(f"{path}: clip {place}: has no record")
            yield record, f"{path}: clip {place}"

    def _check_unchanged(self) -> None:
        """Raises DataError if the folder holds another store than when it was opened.

        Asked after the shard was opened: a new store's shards are only there without the old
        manifest.
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
        raise DataError(
            f"{self.path}: was replaced by another store, or removed, since it was opened: the "
            "numbers of its clips are others. Start again"
        )

    def usable(self, number: int) -> Clip:
        """Clip ``number``, checked in all that training and testing rely on.

        Raises DataError, naming store and clip: features that are not finite, boxes outside the
        image, classes that there are not, or another width than the store's.
        """
        clip, sizes = self[number], self.manifest.sizes
        if not is_sound(clip, sizes):
            check_clip(clip, sizes, f'{self.path}: clip {number} ("{clip.id}")')
        return clip

    def find(self, name: str) -> int | None:
        """The number of the clip called ``name``, or None. Looks into one shard after another."""
        key = id_key(name)
        for shard, path in enumerate(self._files):
            with reading(path, IDS) as transaction:
                place = transaction.get(key)
                self._check_unchanged()
            if place is not None:
                return self._number(shard, place, name)
        return None

    def _number(self, shard: int, place: bytes, name: str) -> int:
        """The number of the clip that an id's entry leads to, if it is that clip."""
        if len(place) == KEY.size:
            (within,) = KEY.unpack(place)
            if within < self.manifest.shards[shard].clips:
                number = int(self.starts[shard]) + int(within)
                if self.about(number).id == name:
                    return number
        raise DataError(
            f'{self._files[shard]}: the table of ids leads from "{name}" to another clip. '
            "tools/prepare_data.py validate --fix writes it anew"
        )

    def ids(self) -> Iterator[str]:
        """The ids of all clips, in order. Reads the head of every record."""
        return (self.about(number).id for number in range(len(self)))
