"""Writes clips to a new store in one pass, resumably, and names bad clips."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from paddlevideo.files.whole import append_json
from paddlevideo.loader.clips.clip import Clip, Sizes
from paddlevideo.loader.clips.source import Item
from paddlevideo.loader.store import Manifest, StoreWriter
from paddlevideo.loader.store.manifest import COMPLETE, UNFINISHED
from paddlevideo.loader.store.shards import id_key
from paddlevideo.loader.store.writer import tidy
from paddlevideo.prepare.caption_book import SeenIds
from paddlevideo.prepare.made_by import differences
from paddlevideo.utils.errors import DataError
from paddlevideo.utils.printable import Tally
from paddlevideo.utils.progress import track

GIGABYTE = 1 << 30


@dataclass
class Summary:
    """The result of a command, line by line."""

    store: Path
    manifest: Manifest
    seconds: float = 0.0
    written: int = 0
    before: int = 0
    tallies: dict[str, Tally] = field(default_factory=dict)
    remarks: list[str] = field(default_factory=list)
    #: Files that the sources left out, a line each.
    left_out: list[str] = field(default_factory=list)

    def count(self, what: str, name: str) -> None:
        """Counts ``name`` under ``what``."""
        self.tallies.setdefault(what, Tally()).add(name)

    def add(self, tallies: Mapping[str, Tally]) -> None:
        """Adds tallies that are not zero."""
        self.tallies |= {what: tally for what, tally in tallies.items() if tally.count}

    def lines(self) -> list[str]:
        """Returns the summary as lines of text."""
        manifest = self.manifest
        size = sum(shard.bytes for shard in manifest.shards)
        each = f", {size / manifest.clips:,.0f} bytes a clip" if manifest.clips else ""
        lines = [
            f"{self.store}: {manifest.clips} clips, {manifest.captions} captions, "
            f"{len(manifest.shards)} shards, {size:,} bytes{each}"
        ]
        if self.before:
            lines.append(f"  continued after {self.before} clips of an earlier run")
        rate = self.written / self.seconds if self.seconds else 0.0
        lines.append(f"  wrote {self.written} clips in {self.seconds:.1f} s ({rate:,.0f} a second)")
        lost = manifest.lost_mass
        if lost.get("rows"):
            lines.append(
                f"  class mass not kept: {lost['mean']:.2e} of a region's on average, "
                f"{lost['largest']:.2e} at most"
            )
        lines += [f"  {what}: {tally}" for what, tally in self.tallies.items()]
        return lines + [f"  {line}" for line in (*self.left_out, *self.remarks)]


@dataclass
class Target:
    """The store to write, and how."""

    path: Path
    sizes: Sizes
    dtype: str = "float16"
    shard_gigabytes: float = 4.0
    vocabularies: dict[str, list[str]] = field(default_factory=dict)
    made_by: dict[str, Any] = field(default_factory=dict)
    #: Bad clips that may be skipped; None: the command has no ``--skip_bad``.
    skip_bad: int | None = None
    shard_clips: int | None = None

    @property
    def skipped(self) -> Path:
        """The file that lists skipped clips."""
        path = Path(os.path.abspath(self.path))  # "." has no name
        return path.with_name(path.name + ".skipped.jsonl")


#: Valid for some boxes, but not for all boxes of a data set.
IN_A_PIXEL = "clips whose boxes are within one pixel (fractions of the image instead of pixels?)"


class Source(Protocol):
    """A ``ClipSource``, or the results of an extraction."""

    @property
    def path(self) -> str | Path:
        """The path for messages."""

    def __len__(self) -> int: ...

    def items(self) -> Iterator[Item]:
        """Yields all clips in order."""


#: Returns the changed clip, or the reason to leave it out.
Change = Callable[[Clip], "Clip | str"]


def finished(target: Target) -> Manifest | None:
    """Returns the manifest if the same command has already finished the store, else None.

    Raises DataError, with the differences, if the store was written or begun by another command, or
    from other inputs, and if the path is not a folder.
    """
    if target.path.exists() and not target.path.is_dir():
        raise DataError(f"{target.path}: is a file; expected the folder of a store")

    def complaint(manifest: Manifest) -> str:
        other = differences(manifest.made_by, target.made_by)
        return other and (
            f"another command wrote, or this one from other files: {other}. Name another folder, "
            "or remove it"
        )

    return complete_manifest(target.path, complaint)


def complete_manifest(path: Path, complaint: Callable[[Manifest], str]) -> Manifest | None:
    """Returns the manifest of a complete store, tidied; None where it is unfinished or absent.

    ``complaint`` returns why a store, complete or not, is not the requested one: a clause about
    its clips. Raises DataError with it, unless it is empty.
    """
    for name in (COMPLETE, UNFINISHED):
        if (path / name).is_file():
            manifest = Manifest.read(path / name)
            if reason := complaint(manifest):
                raise DataError(f"{path}: holds {manifest.clips} clips that {reason}")
            if name == UNFINISHED:
                return None
            tidy(path)
            return manifest
    return None


def write_clips(
    target: Target,
    sources: Sequence[Source],
    change: Change = lambda clip: clip,
    on_written: Callable[[str], object] = lambda name: None,
) -> Summary:
    """Writes all clips of ``sources`` that ``change`` does not leave out; returns a summary.

    Skips clips that an interrupted run has written, and calls ``on_written`` with their ids. Raises
    DataError for a clip that is bad or has the id of an earlier one; up to ``skip_bad`` of them are
    listed in ``<store>.skipped.jsonl`` instead.
    """
    started = time.monotonic()
    with StoreWriter(
        target.path,
        target.sizes,
        target.dtype,
        int(target.shard_gigabytes * GIGABYTE),
        target.vocabularies,
        target.made_by,
        target.shard_clips,
    ) as writer:
        run = _Run(target, writer, change, on_written)
        total = sum(len(source) for source in sources)
        items = ((source, item) for source in sources for item in source.items())
        for source, item in track(items, "clips", total, unit="clips"):
            run.write(source, item)
        run.summary.manifest = writer.finish()
    run.summary.seconds = time.monotonic() - started
    return run.summary


class _Run:
    """One run of a command."""

    def __init__(
        self,
        target: Target,
        writer: StoreWriter,
        change: Change,
        on_written: Callable[[str], object],
    ) -> None:
        self.target, self.writer, self.change = target, writer, change
        self.on_written = on_written
        self.summary = Summary(target.path, writer.manifest, before=writer.written)
        self.seen = SeenIds()
        self.seen.add_old(writer.id_keys())
        self.skipped = 0
        target.skipped.unlink(missing_ok=True)

    def write(self, source: Source, item: Item) -> None:
        """Writes an item, skips it, leaves it out, or reports it as bad."""
        try:
            self._write(item)
        except _BadClip as bad:
            self._skip(source, bad)

    def _write(self, item: Item) -> None:
        if item.name is not None and self._is_written(item.name):
            return
        try:
            clip = item.read()
        except DataError as error:
            raise _BadClip(item.name, str(error)) from None
        if item.name is None and self._is_written(clip.id):
            return
        changed = self.change(clip)
        if isinstance(changed, str):
            self.summary.count(changed, clip.id)
        else:
            self._add(changed)

    def _is_written(self, name: str) -> bool:
        status = self.seen.add(_key(name))
        if status == "again":
            raise _BadClip(name, f'clip "{name}": an earlier clip has its id. Ids must differ')
        if status == "old":
            self.on_written(name)
        return status == "old"

    def _add(self, clip: Clip) -> None:
        before = self.writer.written
        try:
            self.writer.add(clip)
        except DataError as error:
            if self.writer.written > before:
                raise  # the clip was added, but the disk is full
            raise _BadClip(clip.id, str(error)) from None
        self.summary.written += 1
        if np.max(clip.boxes, initial=0.0) <= 1 < min(clip.image_h, clip.image_w):
            self.summary.count(IN_A_PIXEL, clip.id)

    def _skip(self, source: Source, bad: _BadClip) -> None:
        if self.skipped >= (self.target.skip_bad or 0):
            raise DataError(_advice(source, bad, self.target.skip_bad)) from None
        self.skipped += 1
        self.summary.count("skipped because they are bad", bad.name or "(id unknown)")
        # Appended, so that the list is also valid for a stopped run; a new run starts a new list.
        entry = {"clip": bad.name, "source": str(source.path), "fault": bad.reason}
        append_json(self.target.skipped, entry)


class _BadClip(Exception):
    """A clip that cannot be written; ``name`` is None if its id cannot be read."""

    def __init__(self, name: str | None, reason: str) -> None:
        super().__init__(reason)
        self.name, self.reason = name, reason


def _advice(source: Source, bad: _BadClip, allowed: int | None) -> str:
    where = "" if str(source.path) in bad.reason else f"{source.path}: "
    if allowed is None:
        return f"{where}{bad.reason}"
    if allowed:
        return f"{where}{bad.reason}\n{allowed} bad clips were skipped before it (--skip_bad)"
    return f"{where}{bad.reason}\n--skip_bad N leaves out up to N bad clips, and lists them"


def _key(name: str) -> bytes:
    try:
        return id_key(name)
    except UnicodeEncodeError:
        raise _BadClip(None, f"clip {name!r}: its id is not valid UTF-8") from None
