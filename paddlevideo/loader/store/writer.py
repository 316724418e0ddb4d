"""Writes a store in one pass and bounded memory, and resumes an interrupted one."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import lmdb

from paddlevideo.files.lock import try_lock
from paddlevideo.files.partials import sweep
from paddlevideo.loader.clips.check import check_clip
from paddlevideo.loader.clips.clip import Clip, Sizes
from paddlevideo.loader.store.manifest import (
    COMPLETE,
    SHARD_NAME,
    UNFINISHED,
    Entry,
    Manifest,
    Shard,
)
from paddlevideo.loader.store.records import decode, encode
from paddlevideo.loader.store.shards import IDS, KEY, RECORDS, id_key, reading
from paddlevideo.utils.errors import DataError

BATCH_BYTES = 32 << 20  # written at once, and kept in memory until then
FIRST_MAP = 64 << 20  # a shard's map grows from here, doubling
SHARD_BYTES = 4 << 30


def tidy(path: Path) -> None:
    """Removes the leftovers of a killed writer from the folder of a finished store."""
    named = {shard.file for shard in Manifest.read(path / COMPLETE).shards}
    with suppress(OSError):  # a read-only disk; leftovers are never read
        (path / UNFINISHED).unlink(missing_ok=True)
        for file in path.glob("shard-*"):
            # An index goes with its tar file.
            name = file.name.replace(".index", ".tar")
            if name not in named and SHARD_NAME.fullmatch(name):
                file.unlink()
        sweep(path)


class BusyStore(DataError):
    """Another process is writing the store."""


def discard(path: Path, is_unwanted: Callable[[Manifest], bool]) -> None:
    """Makes room for another store if ``is_unwanted`` returns so for the one that is there.

    Only the manifests are removed: a writer replaces shards without one. Those who have opened the
    store get an error. Raises BusyStore if another process is writing it.
    """
    if not path.is_dir():
        return
    with store_lock(path):
        for name in (UNFINISHED, COMPLETE):
            if (path / name).is_file() and is_unwanted(Manifest.read(path / name)):
                (path / name).unlink()


@contextmanager
def store_lock(path: Path) -> Iterator[None]:
    """Context that locks out other writers of a store. Raises BusyStore if there is one."""
    folder = os.open(path, os.O_RDONLY)
    try:
        _lock(folder, path)
        yield
    finally:
        os.close(folder)


def _lock(folder: int, path: Path) -> None:
    """Locks out other writers until the descriptor ``folder`` is closed. Raises BusyStore."""
    if not try_lock(folder, path):
        raise BusyStore(f"{path}: another process is writing this store")


class StoreWriter:
    """Appends clips to a new store, or to one whose writing was interrupted.

    A store under construction has ``unfinished.json`` and no ``store.json``; ``finish`` turns it
    into a complete one. ``written`` is the number of clips already in the store, which a caller
    skips to resume. Clips that an interrupted process had not yet written, at most ``BATCH_BYTES``,
    must be added again.

    >>> with StoreWriter(path, sizes) as writer:
    ...     for clip in clips[writer.written:]:
    ...         writer.add(clip)
    ...     writer.finish()
    """

    _is_open = False
    _lock: int | None = None
    _environment: lmdb.Environment | None = None

    def __init__(
        self,
        path: str | os.PathLike[str],
        sizes: Sizes,
        dtype: str = "float16",
        shard_bytes: int = SHARD_BYTES,
        vocabularies: Mapping[str, list[str]] | None = None,
        made_by: Mapping[str, Any] | None = None,
        shard_clips: int | None = None,
    ) -> None:
        """A shard ends with ``shard_bytes`` or ``shard_clips``, whichever comes first.

        Raises DataError if ``path`` is a finished store, or the beginning of another one, and
        BusyStore if another process is writing it.
        """
        self.path, self.shard_bytes, self.shard_clips = Path(path), shard_bytes, shard_clips
        self._refuse_finished()
        self.manifest = Manifest(
            sizes, dtype, [], dict(vocabularies or {}), dict(made_by or {}), {}
        )
        self._waiting: dict[bytes, Entry] = {}  # by the hashes of their ids
        self._waiting_bytes = 0
        #: True after an error or Ctrl-C within ``flush``: the next writer checks what was written.
        self._is_flushing = False
        self.path.mkdir(parents=True, exist_ok=True)
        self._lock = self._lock_folder()
        try:
            self._refuse_finished()  # another process may have finished it meanwhile
            if (self.path / UNFINISHED).exists():
                self._resume()
            else:
                self._save()
            self._is_open = True
        except BaseException:
            self._release()
            raise

    def _refuse_finished(self) -> None:
        if (self.path / COMPLETE).exists():
            raise DataError(f"{self.path}: is a finished store; name another folder, or remove it")

    def _release(self) -> None:
        """Releases the lock."""
        lock, self._lock = self._lock, None
        if lock is not None:
            self._close_shard()
            os.close(lock)

    def __del__(self) -> None:
        """Releases the lock if Ctrl-C came while it was taken."""
        if not self._is_open:
            self._release()

    @property
    def written(self) -> int:
        """The number of clips, those of earlier runs included."""
        return self.manifest.clips + len(self._waiting)

    def id_keys(self) -> Iterator[bytes]:
        """Yields the keys of all written ids, see ``shards.id_key``."""
        for shard in self.manifest.shards[: -1 if self._environment else None]:
            with reading(self.path / shard.file, IDS) as transaction:
                yield from transaction.cursor().iternext(keys=True, values=False)
        if self._environment is not None:  # LMDB opens a file once in a process
            with self._environment.begin(db=self._databases[1]) as transaction:
                yield from transaction.cursor().iternext(keys=True, values=False)

    def add(self, clip: Clip) -> None:
        """Appends a clip. Raises DataError if it is invalid, or if its id is in this shard."""
        clip = clip.with_targets()
        check_clip(clip, self.manifest.sizes, f'clip "{clip.id}"')
        key = id_key(clip.id)
        if key in self._waiting or self._has(key):
            raise DataError(f'clip "{clip.id}": is in the store already. Ids must differ')
        record = encode(clip, self.manifest.dtype)
        self._waiting[key] = Entry.of(clip, record, self.manifest.dtype)
        self._waiting_bytes += len(record)
        if self._waiting_bytes >= BATCH_BYTES or self._fills_shard():
            self.flush()

    def flush(self) -> None:
        """Writes waiting records. Raises DataError if the disk is full; nothing written is lost."""
        if not self._waiting:
            return
        self._is_flushing = True
        with self._naming():
            shard = self._shard()
            while not self._commit(shard):
                assert self._environment is not None
                self._environment.set_mapsize(2 * self._environment.info()["map_size"])
        for entry in self._waiting.values():
            self.manifest.count(entry)
        self._waiting, self._waiting_bytes = {}, 0
        shard.bytes = (self.path / shard.file).stat().st_size
        if self._fills_shard():
            self._close_shard()
        self._save()
        self._is_flushing = False

    @contextmanager
    def _naming(self) -> Iterator[None]:
        """Turns errors of LMDB and the system into a DataError that names the current shard."""
        try:
            yield
        except (lmdb.Error, OSError) as error:
            name = self.manifest.shards[-1].file if self.manifest.shards else ""
            raise DataError(
                f"{self.path / name}: cannot be written ({error}); {self.manifest.clips} clips are "
                "complete. Free some space and run the same command again to continue"
            ) from None

    def finish(self) -> Manifest:
        """Writes waiting records and completes the store."""
        self.flush()
        self._close_shard()
        self.manifest.write(self.path / COMPLETE)
        tidy(self.path)
        return self.manifest

    def close(self) -> None:
        """Closes the store without completing it; writes waiting records unless interrupted."""
        try:
            if not self._is_flushing:
                self.flush()
        finally:
            self._release()

    def __enter__(self) -> StoreWriter:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _lock_folder(self) -> int:
        """Locks out other writers while this process runs."""
        self._lock = os.open(self.path, os.O_RDONLY)
        _lock(self._lock, self.path)
        return self._lock

    def _fills_shard(self) -> bool:
        """Whether waiting records fill the shard; depends only on the records."""
        shard = self.manifest.shards[-1] if self._environment is not None else Shard("")
        if shard.payload + self._waiting_bytes >= self.shard_bytes:
            return True
        clips = shard.clips + len(self._waiting)
        return self.shard_clips is not None and clips >= self.shard_clips

    def _shard(self) -> Shard:
        """Returns the shard being written; a new one if the last is closed."""
        if self._environment is None:
            shard = Shard(self._next_file())
            # Left by a run that was killed before the manifest listed it: its contents are unknown.
            (self.path / shard.file).unlink(missing_ok=True)
            self.manifest.shards.append(shard)
            self._open_shard()
        return self.manifest.shards[-1]

    def _next_file(self) -> str:
        numbers = [int(shard.file.split("-")[1].split(".")[0]) for shard in self.manifest.shards]
        return f"shard-{max(numbers, default=-1) + 1:05d}.lmdb"

    def _open_shard(self) -> None:
        path = self.path / self.manifest.shards[-1].file
        size = path.stat().st_size if path.exists() else 0
        self._environment = lmdb.open(
            str(path), subdir=False, lock=False, max_dbs=2, map_size=max(FIRST_MAP, 2 * size)
        )
        self._databases = [self._environment.open_db(name) for name in (RECORDS, IDS)]

    def _commit(self, shard: Shard) -> bool:
        """Writes waiting records into the shard. Returns False if its map is too small."""
        assert self._environment is not None
        records, ids = self._databases
        try:
            with self._environment.begin(write=True) as transaction:
                for index, (key, waiting) in enumerate(self._waiting.items(), shard.clips):
                    entry = KEY.pack(index)
                    new = transaction.put(entry, waiting.record, db=records, append=True)
                    if not new or not transaction.put(key, entry, db=ids, overwrite=False):
                        raise DataError(f"{self.path / shard.file}: was changed by another process")
        except lmdb.MapFullError:
            return False
        return True

    def _has(self, key: bytes) -> bool:
        if self._environment is None:
            return False
        with self._environment.begin(db=self._databases[1]) as transaction:
            return transaction.get(key) is not None

    def _close_shard(self) -> None:
        environment, self._environment = self._environment, None
        if environment is not None:
            with self._naming():
                environment.sync(True)
            environment.close()

    def _save(self) -> None:
        self.manifest.write(self.path / UNFINISHED)

    def _resume(self) -> None:
        """Continues after the records of an interrupted run."""
        before = Manifest.read(self.path / UNFINISHED)
        for name in ("sizes", "dtype"):
            if getattr(before, name) != getattr(self.manifest, name):
                raise DataError(
                    f"{self.path}: an unfinished store with {name} {getattr(before, name)}, not "
                    f"{getattr(self.manifest, name)}. Remove it, or name another folder"
                )
        # Earlier versions could name a shard that an interrupt had left empty.
        self.manifest.shards = [shard for shard in before.shards if shard.clips]
        self.manifest.lost_mass = before.lost_mass
        if self.manifest.shards:
            with self._naming():
                self._open_shard()
            self._count_uncounted(self.manifest.shards[-1])

    def _count_uncounted(self, shard: Shard) -> None:
        """Counts records that were written just before a process was killed."""
        assert self._environment is not None
        records = self._databases[0]
        with self._environment.begin(db=records, buffers=True) as transaction:
            entries = transaction.stat(records)["entries"]
            if entries < shard.clips:
                raise DataError(
                    f"{self.path / shard.file}: holds {entries} of {shard.clips} clips: the file "
                    "was changed. Remove the store and run the command again"
                )
            for index in range(shard.clips, entries):
                record = bytes(transaction.get(KEY.pack(index)) or b"")
                clip = decode(record, f"{self.path / shard.file}: clip {index}")
                self.manifest.count(Entry.of(clip, record, self.manifest.dtype))
        shard.bytes = (self.path / shard.file).stat().st_size
        if self._fills_shard():
            self._close_shard()
