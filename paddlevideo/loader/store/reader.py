"""Reads clips of a store by index or by id."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from paddlevideo.files.fingerprint import state
from paddlevideo.loader.clips.check import check_clip
from paddlevideo.loader.clips.clip import About, Clip, Sizes
from paddlevideo.loader.clips.source import ClipSource, Item
from paddlevideo.loader.store.manifest import COMPLETE, UNFINISHED, Manifest, Shard
from paddlevideo.loader.store.shards import LmdbShard, ShardFile, id_key
from paddlevideo.loader.store.tar_shards import TarShard, index_path
from paddlevideo.registry import Share
from paddlevideo.utils.errors import ConfigError, DataError


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

    def __init__(self, path: str | os.PathLike[str], share: Share | None = None) -> None:
        """``share``: read only the shards of this rank, see :func:`shards_of`."""
        self.path, self.share = Path(path), share
        if not (self.path / COMPLETE).is_file():
            raise DataError(self._not_a_store())
        self._state = state(self.path / COMPLETE)
        self.manifest = Manifest.read(self.path / COMPLETE)
        #: The shards that are read: all, or those of a part.
        self.shards = shards_of(self.manifest, share, self.path)
        counts = [shard.clips for shard in self.shards]
        self.starts = np.concatenate([[0], np.cumsum(counts, dtype=np.int64)])
        self.files: list[ShardFile] = [self._file(shard) for shard in self.shards]

    def _file(self, shard: Shard) -> ShardFile:
        path = self.path / shard.file
        return TarShard(path, self._state) if path.suffix == ".tar" else LmdbShard(path)

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
        with self._record(index) as (file, record, where):
            return file.decode(record, where)  # copies: a buffer is only valid in the context

    def about(self, index: int) -> About:
        """Returns id, captions and origin of clip ``index``, without reading arrays."""
        with self._record(index, head=True) as (file, record, where):
            return file.decode_about(record, where)

    @contextmanager
    def _record(self, index: int, head: bool = False) -> Iterator[tuple[ShardFile, Any, str]]:
        """Gives the file and the record of clip ``index``, and its name for messages."""
        shard, within = self._position(index)
        file = self.files[shard]
        with file.record(within, head) as record:
            self._check_unchanged()
            where = f"{self.path / self.shards[shard].file}: clip {within}"
            if record is None:
                raise DataError(f"{where}: has no record")
            yield file, record, where

    def _position(self, index: int) -> tuple[int, int]:
        """Returns the shard of clip ``index``, and its number there."""
        if not 0 <= index < len(self):
            raise IndexError(f"clip {index} of {len(self)}")
        shard = int(np.searchsorted(self.starts, index, side="right")) - 1
        return shard, index - int(self.starts[shard])

    def request(self, indices: Iterable[int]) -> None:
        """Asks the system to read clips of tar files ahead, and returns at once."""
        by_shard: dict[int, list[int]] = {}
        for index in indices:
            shard, within = self._position(index)
            by_shard.setdefault(shard, []).append(within)
        for shard, numbers in by_shard.items():
            self.files[shard].request(numbers)

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
        for shard in self.shards:
            file = self.path / shard.file
            if file.is_file() and shard.clips > (size := file.stat().st_size):
                raise DataError(
                    f"{self.path}: its manifest says that {shard.file}, of {size} bytes, holds "
                    f"{shard.clips} clips. Copy the store again"
                )

    def absent(self) -> list[str]:
        """Returns a phrase for each shard that is absent or not of its size; reads none."""
        phrases = []
        for shard in self.shards:
            path = self.path / shard.file
            needed = [path, index_path(path)] if path.suffix == ".tar" else [path]
            for file in needed:
                try:
                    size = os.stat(file).st_size
                except OSError as error:
                    phrases.append(f"{file.name}: {error.strerror}")
                    continue
                if file is path and size != shard.bytes:
                    phrases.append(f"{file.name}: {size} of {shard.bytes} bytes")
        return phrases

    def items(self) -> Iterator[Item]:
        """Yields all clips, unchecked: a store may be repaired while it is copied."""
        self._check_counts()
        for index in range(len(self)):
            yield Item(None, partial(self.__getitem__, index))

    def checksums(self, shard: int) -> Iterator[tuple[bytes, bytes]]:
        """Yields the hash of the id and the checksum of each clip of a shard, without reading it.

        Raises DataError if one of them is absent.
        """
        self._check_counts()
        clips = self.shards[shard].clips
        if self.files[shard].count() != clips:
            raise DataError(
                f"{self.path / self.shards[shard].file}: holds {self.files[shard].count()} of "
                f"{clips} clips. Copy it again"
            )
        yield from self.files[shard].checksums()
        self._check_unchanged()

    def request_named(self, names: Iterable[str]) -> None:
        """Asks the system to read clips of tar files ahead, and returns at once."""
        if any(isinstance(file, TarShard) for file in self.files):  # else to find them is to read
            found = (self._find(name) for name in names)
            self.request(index for index in found if index is not None)

    def missing(self, names: Iterable[str]) -> list[str]:
        """Returns the names that no clip has; reads no record."""
        return [name for name in names if self._find(name) is None]

    def read_named(self, name: str) -> Clip:
        """Returns the clip called ``name``, checked."""
        index = self._find(name)
        if index is None:
            raise DataError(f'{self.path}: clip "{name}": has no record')
        clip = self.read(index)
        self._check_id(index, clip.id, name)
        return clip

    def find(self, name: str) -> int | None:
        """Returns the index of the clip called ``name``, or None. Searches the shards in turn."""
        index = self._find(name)
        if index is not None:
            self._check_id(index, self.about(index).id, name)
        return index

    def _find(self, name: str) -> int | None:
        """Returns the index that an id table gives, unchecked."""
        key = id_key(name)
        for shard, file in enumerate(self.files):
            within = file.find(key)
            self._check_unchanged()
            if within is not None:
                if not 0 <= within < self.shards[shard].clips:
                    raise self._wrong_id(shard, name)
                return int(self.starts[shard]) + within
        return None

    def _check_id(self, index: int, found: str, name: str) -> None:
        """Raises DataError if the id table of a shard gives another clip than ``name``."""
        if found != name:
            raise self._wrong_id(self._position(index)[0], name)

    def _wrong_id(self, shard: int, name: str) -> DataError:
        return DataError(
            f'{self.path / self.shards[shard].file}: the id table maps "{name}" to another clip. '
            "tools/prepare_data.py validate --fix writes a new one"
        )


def shards_of(manifest: Manifest, share: Share | None, path: Path) -> list[Shard]:
    """Returns the shards of a rank: of S shards those from S * rank // ranks up to the next rank's.

    Shards without clips are not counted; None gives all shards.

    Raises ConfigError for more ranks than shards.
    """
    shards = [shard for shard in manifest.shards if shard.clips] if share else manifest.shards
    if share is None:
        return shards
    rank, ranks = share
    if len(shards) < ranks:
        is_tar = any(shard.file.endswith(".tar") for shard in shards)
        kind = "--to webdataset " if is_tar else ""
        raise ConfigError(
            f"DATASET.shards: by_rank gives each of {ranks} ranks its shards of {path}, which has "
            f"{len(shards)}: write more (paddlevideo convert {path} {kind}--shards {ranks} "
            "--output NEW_STORE), or leave the key out"
        )
    return shards[len(shards) * rank // ranks : len(shards) * (rank + 1) // ranks]
