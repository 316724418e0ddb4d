"""Keys of clips: what a clip is called and what it holds, as 16 bytes.

N clips. Equal keys mean equal clips, in whatever store, so that vectors of known clips need not be
computed again. The keys of a feature file are kept in a file of their own, which saves reading it.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np

from paddlevideo.files.fingerprint import fingerprint
from paddlevideo.files.whole import write_arrays_whole
from paddlevideo.loader.clips.source import ClipSource
from paddlevideo.loader.store import FeatureStore

SIZE = 16
_FILES = "clips-*.npz"


@dataclass(frozen=True)
class ClipKeys:
    """The keys (N, 16) uint8 of a feature file's clips, in their order.

    ``features``: the file's fingerprint; ``shards``: of a store, the manifest's entry of each shard
    as far as it depends on the clips, with their number first.
    """

    keys: np.ndarray
    features: dict[str, Any]
    shards: list[list[int]]

    def __len__(self) -> int:
        return len(self.keys)

    @property
    def digest(self) -> str:
        """A checksum of all clips and their order."""
        return hashlib.sha256(self.keys.tobytes()).hexdigest()

    @property
    def is_of_something(self) -> bool:
        """Whether the feature file still exists."""
        return os.path.exists(self.features["path"])

    def write(self, path: Path) -> None:
        """Writes the keys, whole or not at all. Raises OSError."""
        about = json.dumps({"features": self.features, "shards": self.shards})
        path.parent.mkdir(parents=True, exist_ok=True)
        write_arrays_whole(path, {"about": np.asarray(about), "keys": self.keys})

    @classmethod
    def read(cls, path: Path) -> ClipKeys | None:
        """Returns what was written; None if it is absent or damaged."""
        try:
            with np.load(path, allow_pickle=False) as file:
                about, keys = json.loads(str(file["about"])), file["keys"]
            made = cls(keys, dict(about["features"]), [list(shard) for shard in about["shards"]])
            os.fspath(made.features["path"])
        except (OSError, ValueError, KeyError, TypeError, EOFError, BadZipFile):
            return None
        is_valid = keys.dtype == np.uint8 and keys.ndim == 2 and keys.shape[1] == SIZE
        counted = not made.shards or sum(shard[0] for shard in made.shards) == len(keys)
        return made if is_valid and counted else None


def keys_file(folder: Path, features: Path) -> Path:
    """Returns the file for the keys of a feature file in a folder of indexes."""
    real = os.fsencode(os.path.realpath(features))
    return folder / f"clips-{hashlib.sha256(real).hexdigest()[:16]}.npz"


def known_keys(folder: Path) -> Iterator[tuple[Path, ClipKeys]]:
    """Yields the files of keys in a folder, with what they hold."""
    for path in sorted(folder.glob(_FILES)):
        if (keys := ClipKeys.read(path)) is not None:
            yield path, keys


def keys_of(source: ClipSource, features: Path, before: ClipKeys | None) -> ClipKeys:
    """Returns the keys of all clips; ``before``: those that the file had when it was last opened.

    Of a store, only shards that have changed are read: ids and checksums, not the clips. In other
    files, any change changes all keys. Raises DataError, or OSError if the file cannot be read.
    """
    print_now = fingerprint(features)
    if before is not None and before.features == print_now and len(before) == len(source):
        return before
    if isinstance(source, FeatureStore):
        return _keys_of_store(source, print_now, before)
    digest = json.dumps(print_now["content"]).encode()
    keys = [
        _key(name.encode("utf-8", "surrogatepass"), digest, b"%d" % index)
        for index, name in enumerate(source.ids())
    ]
    return ClipKeys(_as_array(keys), print_now, [])


def kept_keys(folder: Path, source: ClipSource, features: Path) -> ClipKeys:
    """Returns :func:`keys_of` a feature file, which are kept in a folder if it can be written."""
    path = keys_file(folder, features)
    before = ClipKeys.read(path)
    keys = keys_of(source, features, before)
    if keys is not before:
        with suppress(OSError):
            keys.write(path)
    return keys


def _keys_of_store(
    store: FeatureStore, features: dict[str, Any], before: ClipKeys | None
) -> ClipKeys:
    known: dict[tuple[int, ...], np.ndarray] = {}
    if before is not None:
        ends = np.cumsum([shard[0] for shard in before.shards])
        known = {
            tuple(shard): before.keys[end - shard[0] : end]
            for shard, end in zip(before.shards, ends, strict=True)
        }
    parts, shards = [np.zeros((0, SIZE), np.uint8)], []
    for number, shard in enumerate(store.shards):
        entry = [shard.clips, shard.captions, shard.payload, shard.checksum]
        keys = known.get(tuple(entry))
        if keys is None:
            keys = _as_array([_key(*pair) for pair in store.checksums(number)])
        parts.append(keys)
        shards.append(entry)
    return ClipKeys(np.concatenate(parts), features, shards)


def _key(*parts: bytes) -> bytes:
    """Returns the key of a clip: a hash of its id, its checksum and what else identifies it."""
    digest = hashlib.blake2b(digest_size=SIZE)
    for part in parts:
        digest.update(len(part).to_bytes(8, "little") + part)
    return digest.digest()


def _as_array(keys: list[bytes]) -> np.ndarray:
    return np.frombuffer(b"".join(keys), np.uint8).reshape(len(keys), SIZE)


class KeyTable:
    """Finds keys among M known ones (M, 16)."""

    def __init__(self, known: np.ndarray) -> None:
        self.known = known
        first = _first_half(known)
        self._order = np.argsort(first, kind="stable")
        self._sorted = first[self._order]

    def rows(self, keys: np.ndarray) -> np.ndarray:
        """Returns the rows (N,) int64 in which ``keys`` (N, 16) are; -1: in none."""
        if not len(self.known):
            return np.full(len(keys), -1, np.int64)
        at = np.searchsorted(self._sorted, _first_half(keys))
        rows = self._order[np.minimum(at, len(self.known) - 1)]
        return np.where((self.known[rows] == keys).all(axis=1), rows, -1)


def find_keys(keys: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Returns the rows (N,) int64 of ``known`` (M, 16) in which ``keys`` (N, 16) are, or -1."""
    return KeyTable(known).rows(keys)


def _first_half(keys: np.ndarray) -> np.ndarray:
    """Returns the first 8 bytes as numbers: of hashes, no two are equal by chance."""
    return np.ascontiguousarray(keys).view("<u8")[:, 0]
