"""Where clips come from: PaddleVideo's rows and records, folders of files, other stores."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

import numpy as np

from paddlevideo.files.filetype import LMDB, NPY_ARRAY, describe_file
from paddlevideo.files.walk import walk
from paddlevideo.loader.captions.text import writable
from paddlevideo.loader.legacy import RecordStore, RowFile
from paddlevideo.loader.store import ClassTargets, Clip, FeatureStore, Sizes, is_store
from paddlevideo.prepare.caption_book import KnownClip
from paddlevideo.prepare.clip_files import (
    check_action_classes,
    largest_class,
    read_arrays,
    read_clip,
)
from paddlevideo.utils.errors import DataError

KINDS = """\
  PaddleVideo's HowTo100M rows, a .npy file
  PaddleVideo's MSR-VTT records, an LMDB folder or file
  a folder with one .npz a clip, or one .npy that holds a dictionary
  a feature store"""


@dataclass(frozen=True)
class Item:
    """A clip that can be read; its ``name`` is None where only reading it tells its id.

    ``read`` gives the clip, or raises DataError for a bad one.
    """

    name: str | None
    read: Callable[[], Clip]


class Source(Protocol):
    """Clips in a fixed order."""

    path: str

    def __len__(self) -> int: ...

    def sizes(self) -> Sizes:
        """The widths of its clips; looks through all action classes, if it has any."""

    def items(self) -> Iterator[Item]:
        """All clips; nothing but names is read before it is asked for."""


def open_source(path: Path, kept_mass: float) -> Source:
    """The source of a path, its kind told by its content. Raises DataError for none."""
    if is_store(path):
        return StoreSource(path)
    if path.is_dir():
        if (path / "data.mdb").is_file():
            return RecordSource(path)
        return ClipFiles(path, kept_mass)
    if not path.is_file():
        is_there = path.exists()
        text = "is neither a regular file nor a folder. Write it to a file first"
        raise DataError(f"{path}: {text if is_there else 'cannot be read (it does not exist)'}")
    kind = describe_file(path)
    if kind == NPY_ARRAY:
        return RowSource(path, kept_mass)
    if kind == LMDB:
        return RecordSource(path)
    raise DataError(f"{path}: is {kind}, which holds no clips. Known are:\n{KINDS}")


def joined_sizes(sources: Sequence[Source]) -> Sizes:
    """The sizes of a store that holds all sources.

    Raises DataError where their widths differ, or are more than a store can have.
    """
    joined = _sizes(sources[0])
    for source in sources[1:]:
        found = _sizes(source)
        for name in ("region", "action", "region_classes"):
            first, other = getattr(joined, name), getattr(found, name)
            if first != other and (name != "region_classes" or first and other):
                raise DataError(
                    f"{source.path}: {name} is {other} wide, but {first} in {sources[0].path}"
                )
        joined = replace(
            joined,
            region_classes=max(joined.region_classes, found.region_classes),
            action_classes=max(joined.action_classes, found.action_classes),
        )
    return joined


def _sizes(source: Source) -> Sizes:
    try:
        return source.sizes()
    except DataError as fault:
        if source.path in str(fault):
            raise
        raise DataError(f"{source.path}: {fault}") from None


def names_of(source: Source) -> Iterator[KnownClip]:
    """The ids of a source's clips, each with its video and its span there, as far as it tells."""
    if isinstance(source, StoreSource):
        yield from source.names()
        return
    for item in source.items():
        if item.name is not None:
            yield item.name, "", None


class RowSource:
    """PaddleVideo's ``.npy`` rows, mapped: its index is held in memory, its arrays are not."""

    def __init__(self, path: Path, kept_mass: float) -> None:
        self.path, self.kept_mass = str(path), kept_mass
        self.rows = RowFile(path)

    def __len__(self) -> int:
        return len(self.rows)

    def sizes(self) -> Sizes:
        """Widths of the first row."""
        region, classes, action = self.rows.widths
        # What is no array of numbers is reported when its row is read.
        columns = (row[9] for row in self.rows.rows if isinstance(row[9], np.ndarray))
        largest = max((largest_class(column) for column in columns), default=-1)
        return Sizes(region, action, classes, largest + 1)

    def items(self) -> Iterator[Item]:
        """All rows."""
        for number, name in enumerate(self.rows.ids):
            yield Item(name, lambda number=number: self._read(number))  # type: ignore[misc]

    def _read(self, number: int) -> Clip:
        row = self.rows[number]
        name = self.rows.ids[number]
        where = f'{self.path}: row {number} (clip "{name}")'
        check_action_classes(row["action_target"], where)
        targets = ClassTargets.of(row["region_target"], self.kept_mass)
        texts = [
            text.strip() for text in writable(row["caption"], where).split("!") if text.strip()
        ]
        return Clip(
            id=name,
            regions=row["region_feat"],
            boxes=row["boxes"],
            image_h=row["image_h"],
            image_w=row["image_w"],
            actions=row["action_feat"],
            action_classes=row["action_target"],
            region_classes=targets,
            captions=texts,
        )


class RecordSource:
    """PaddleVideo's MSR-VTT records in the order of their keys."""

    BATCH = 1024  # keys that are held in memory

    def __init__(self, path: Path) -> None:
        self.path = str(path)
        self.records = RecordStore(path)
        if not len(self.records):
            raise DataError(f"{path}: holds no records")

    def __len__(self) -> int:
        return len(self.records)

    def sizes(self) -> Sizes:
        """Widths of the first record that can be read; there are no classes."""
        fault: DataError | None = None
        for item in self.items():
            try:
                clip = item.read()
            except DataError as found:
                fault = fault or found
            else:
                return Sizes(clip.regions.shape[1], clip.actions.shape[1])
        assert fault is not None
        raise fault

    def items(self) -> Iterator[Item]:
        """All records. Raises DataError on a key that is no text."""
        key: bytes | None = b""
        while key is not None:
            keys, key = self._keys(key)
            for found in keys:
                try:
                    name = found.decode()
                except UnicodeDecodeError as fault:
                    raise DataError(
                        f"{self.path}: the key {found[:40]!r} is not a clip id ({fault})"
                    ) from None
                yield Item(name, lambda name=name: self._read(name))  # type: ignore[misc]

    def _keys(self, start: bytes) -> tuple[list[bytes], bytes | None]:
        """Some keys from ``start`` on, and the key after them."""
        keys: list[bytes] = []
        with self.records.reading() as transaction, transaction.cursor() as cursor:
            more = cursor.set_range(start) if start else cursor.first()
            while more and len(keys) < self.BATCH:
                keys.append(bytes(cursor.key()))
                more = cursor.next()
            return keys, bytes(cursor.key()) if more else None

    def _read(self, name: str) -> Clip:
        record = self.records[name]
        return Clip(
            id=name,
            regions=record["features"],
            boxes=record["boxes"],
            image_h=record["image_h"],
            image_w=record["image_w"],
            actions=record["action_features"],
        )


def is_clip_file(path: Path) -> bool:
    """Whether a file of a folder may hold a clip."""
    return path.suffix.lower() in (".npz", ".npy")


class ClipFiles:
    """A folder of .npz and .npy files; an id is a file's path in it without the ending.

    Raises DataError where there is none.
    """

    def __init__(self, path: Path, kept_mass: float) -> None:
        self.path, self.folder, self.kept_mass = str(path), path, kept_mass
        found = walk(path, is_clip_file)
        self.files = found.files
        if not self.files:
            lines = "\n".join(
                [f"{path}: a folder without clips of a known kind", *found.left_out()]
            )
            raise DataError(f"{lines}\nKnown are:\n{KINDS}")
        self.left_out = [f"{path}: {line}" for line in found.left_out()]

    def __len__(self) -> int:
        return len(self.files)

    def sizes(self) -> Sizes:
        """Widths of the first file that can be read."""
        first: Clip | None = None
        fault: DataError | None = None
        largest = -1
        for file, item in zip(self.files, self.items(), strict=True):
            if first is None:
                try:
                    first = item.read()
                except DataError as found:
                    fault = fault or found
            largest = max(largest, self._largest_class(file))
        if first is None:
            assert fault is not None
            raise fault
        classes = first.region_classes.width if first.region_classes else 0
        return Sizes(first.regions.shape[1], first.actions.shape[1], classes, largest + 1)

    def _largest_class(self, file: Path) -> int:
        """Reads this one array of the file; a file that cannot be read is reported later."""
        try:
            arrays = read_arrays(file, ("action_classes",))
        except DataError:
            return -1
        return largest_class(arrays.get("action_classes", np.empty(0)))

    def items(self) -> Iterator[Item]:
        """All files in the order of their paths."""
        for file in self.files:
            name = file.relative_to(self.folder).with_suffix("").as_posix()
            yield Item(name, lambda f=file, n=name: read_clip(f, n, self.kept_mass))  # type: ignore[misc]


class StoreSource:
    """Another feature store, to join or to rewrite; its class distributions are as they are."""

    def __init__(self, path: Path) -> None:
        self.path = str(path)
        self.store = FeatureStore(path)
        for shard in self.store.manifest.shards:
            file = self.store.path / shard.file
            # A manifest that lies must not keep anyone busy for ever.
            if file.is_file() and shard.clips > file.stat().st_size:
                raise DataError(
                    f"{path}: its manifest says that {shard.file}, of {file.stat().st_size} bytes, "
                    f"holds {shard.clips} clips. Copy the store again"
                )

    def __len__(self) -> int:
        return len(self.store)

    def sizes(self) -> Sizes:
        """Those of the store."""
        return self.store.manifest.sizes

    def items(self) -> Iterator[Item]:
        """All clips."""
        for number in range(len(self.store)):
            yield Item(None, lambda number=number: self.store[number])  # type: ignore[misc]

    def names(self) -> Iterator[KnownClip]:
        """Id, video and span of all clips that are not damaged."""
        for number in range(len(self.store)):
            with suppress(DataError):
                about = self.store.about(number)
                yield about.id, about.video, about.span
