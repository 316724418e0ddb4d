"""Reading a store: clips by number or by id, and an order of them that suits a disk."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

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
        return f"{self.path}: is no feature store: it holds no {COMPLETE}"

    def __len__(self) -> int:
        return int(self.starts[-1])

    def __getitem__(self, number: int) -> Clip:
        """Clip ``number``. Raises DataError, naming store and clip, if it is damaged."""
        with self._record(number) as (record, where):
            clip = decode(record, where)  # copies: the buffer ends with the transaction
        self._check(clip, where)
        return clip

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
            if record is None:
                raise DataError(f"{path}: clip {place}: has no record")
            yield record, f"{path}: clip {place}"

    def _check(self, clip: Clip, where: str) -> None:
        """Raises DataError if a clip's sizes are not the store's."""
        sizes = self.manifest.sizes
        found = {
            "regions": (clip.regions.shape[1:], (sizes.region,)),
            "actions": (clip.actions.shape[1:], (sizes.action,)),
            "boxes": (clip.boxes.shape, (len(clip.regions), 4)),
        }
        if clip.region_classes is not None:
            found["region classes"] = ((clip.region_classes.width,), (sizes.region_classes,))
        for name, (shape, expected) in found.items():
            if shape != expected:
                raise DataError(
                    f'{where} ("{clip.id}"): {name} of shape {shape}, where {expected} belongs'
                )

    def find(self, name: str) -> int | None:
        """The number of the clip called ``name``, or None. Looks into one shard after another."""
        key = id_key(name)
        for shard, path in enumerate(self._files):
            with reading(path, IDS) as transaction:
                place = transaction.get(key)
            if place is not None:
                return int(self.starts[shard]) + KEY.unpack(place)[0]
        return None

    def shuffled(
        self, seed: int, epoch: int, rank: int = 0, ranks: int = 1, window: int = 8192
    ) -> Iterator[int]:
        """Numbers of a rank's clips in an epoch, in an order that reads shards one after another.

        Shards come in a random order and are dealt out to the ranks; within ``window`` clips the
        order is random. Seed and epoch decide it all. Holds ``window`` numbers in memory. Ranks
        with fewer shards have fewer clips.
        """
        rng = np.random.default_rng((seed, epoch))
        mine = rng.permutation(len(self._files))[rank::ranks]
        inner = np.random.default_rng((seed, epoch, rank))
        waiting = np.empty(0, dtype=np.int64)
        for shard in mine:
            clips = np.arange(self.starts[shard], self.starts[shard + 1])
            for start in range(0, len(clips), window):
                waiting = np.concatenate([waiting, clips[start : start + window]])
                inner.shuffle(waiting)
                ready = max(len(waiting) - window, 0)
                yield from waiting[:ready].tolist()
                waiting = waiting[ready:]
        yield from waiting.tolist()
