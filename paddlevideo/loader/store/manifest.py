"""The manifest of a store, ``store.json``: written last, so that only a complete store has it."""

from __future__ import annotations

import json
import os
import re
import zlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from paddlevideo.files.whole import write_json_whole
from paddlevideo.loader.clips.clip import Clip, Sizes
from paddlevideo.loader.store.records import PREFIX
from paddlevideo.utils.errors import DataError

FORMAT = "paddlevideo feature store"
#: Of stores of LMDB files, which all releases read, and of tar files.
VERSION, TAR_VERSION = 1, 2
COMPLETE, UNFINISHED = "store.json", "unfinished.json"
SHARD_NAME = re.compile(r"shard-\d{5,}\.(lmdb|tar)")
LOST = ("rows", "mean", "largest")


def _is_count(value: Any) -> bool:
    return type(value) is int and 0 <= value < 1 << 62


def is_store(path: str | os.PathLike[str]) -> bool:
    """Whether ``path`` is the folder of a feature store, finished or not."""
    return any((Path(path) / name).is_file() for name in (COMPLETE, UNFINISHED))


class Entry(NamedTuple):
    """A record and the numbers that a manifest counts."""

    record: bytes
    captions: int
    #: The shares of class distributions that the record omits.
    lost: np.ndarray | None
    #: The bytes that its shard's checksum counts.
    mark: bytes

    @classmethod
    def of(cls, clip: Clip, record: bytes, dtype: str, mark: bytes | None = None) -> Entry:
        """Returns the entry of a clip and its record. ``mark``: by default the record's prefix."""
        targets = clip.region_classes
        # Rounded as in the record, so that a resumed writer gets the same numbers.
        lost = None if targets is None else targets.rounded(np.dtype(dtype)).lost()
        mark = record[: PREFIX.size] if mark is None else mark
        return cls(record, len(clip.captions), lost, mark)


@dataclass
class Shard:
    """One LMDB file, or a tar file."""

    file: str
    clips: int = 0
    captions: int = 0
    bytes: int = 0
    #: Bytes of its records; decides where a shard ends.
    payload: int = 0
    #: CRC32 of the checksums of its records, in order.
    checksum: int = 0


@dataclass
class Manifest:
    """The description of a store."""

    sizes: Sizes
    dtype: str = "float16"
    shards: list[Shard] = field(default_factory=list)
    #: Names of the classes in order, if known, under "region" and "action".
    vocabularies: dict[str, list[str]] = field(default_factory=dict)
    #: The command, versions and sources that it was made with.
    made_by: dict[str, Any] = field(default_factory=dict)
    #: Mean and largest share of a class distribution that was not kept.
    lost_mass: dict[str, float] = field(default_factory=dict)

    @property
    def clips(self) -> int:
        """The number of clips in all shards."""
        return sum(shard.clips for shard in self.shards)

    @property
    def captions(self) -> int:
        """The number of captions of all clips."""
        return sum(shard.captions for shard in self.shards)

    def count(self, entry: Entry) -> None:
        """Counts a record in the last shard."""
        shard = self.shards[-1]
        shard.clips += 1
        shard.captions += entry.captions
        shard.payload += len(entry.record)
        shard.checksum = zlib.crc32(entry.mark, shard.checksum)
        if entry.lost is not None:
            before = self.lost_mass or {"rows": 0, "mean": 0.0, "largest": 0.0}
            rows = before["rows"] + len(entry.lost)
            mean = (before["rows"] * before["mean"] + float(np.sum(entry.lost))) / max(rows, 1)
            largest = max(before["largest"], float(np.max(entry.lost, initial=0.0)))
            self.lost_mass = {"rows": rows, "mean": mean, "largest": largest}

    def write(self, path: Path) -> None:
        """Writes the manifest, whole or not at all."""
        of_tars = any(shard.file.endswith(".tar") for shard in self.shards)
        version = TAR_VERSION if of_tars else VERSION
        record = {"format": FORMAT, "version": version, "clips": self.clips, **asdict(self)}
        write_json_whole(path, record)

    @classmethod
    def read(cls, path: Path) -> Manifest:
        """Reads a manifest. Raises DataError if it is damaged or from a newer version."""
        try:
            record = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError, RecursionError) as error:
            raise DataError(f"{path}: cannot be read ({error})") from None
        if not isinstance(record, Mapping) or record.get("format") != FORMAT:
            raise DataError(f"{path}: is not the manifest of a feature store")
        if record.get("version") not in (VERSION, TAR_VERSION):
            raise DataError(
                f"{path}: version {record.get('version')}, but this release reads versions "
                f"{VERSION} and {TAR_VERSION}: update paddlevideo"
            )
        try:
            return cls._of(record)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise DataError(f"{path}: is damaged ({type(error).__name__}: {error})") from None

    @classmethod
    def _of(cls, record: Mapping[str, Any]) -> Manifest:
        sizes = Sizes(**record["sizes"])
        shards = [Shard(**shard) for shard in record["shards"]]
        for shard in shards:
            numbers = (shard.clips, shard.captions, shard.bytes, shard.payload, shard.checksum)
            if not all(map(_is_count, numbers)) or not SHARD_NAME.fullmatch(shard.file):
                raise ValueError(f"shard {shard!r:.100}")
        if record["clips"] != sum(shard.clips for shard in shards):
            raise ValueError("the shards do not add up to all clips")
        if record["dtype"] not in ("float16", "float32"):
            raise ValueError(f"dtype {record['dtype']}")
        vocabularies, made_by, lost = (
            record[name] for name in ("vocabularies", "made_by", "lost_mass")
        )
        for names in vocabularies.values():
            if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
                raise ValueError("a vocabulary is not a list of texts")
        if lost and not all(isinstance(lost[key], (int, float)) for key in LOST):
            raise ValueError("lost_mass")
        return cls(sizes, record["dtype"], shards, dict(vocabularies), dict(made_by), dict(lost))
