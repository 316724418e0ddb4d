"""Writes extracted clips to a store, with captions."""

from __future__ import annotations

import json
import math
import os
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import paddlevideo
from paddlevideo.extract.videos import Video
from paddlevideo.extract.work import DONE, Status, WorkFolder
from paddlevideo.extract.worker import Workers
from paddlevideo.files.fingerprint import digest_of
from paddlevideo.files.whole import checksum
from paddlevideo.loader.captions.line import BadEntries
from paddlevideo.loader.clips.source import Item
from paddlevideo.loader.store import Clip, Manifest, Sizes
from paddlevideo.loader.store.records import decode
from paddlevideo.loader.store.writer import BusyStore, discard
from paddlevideo.prepare.caption_book import CaptionBook
from paddlevideo.prepare.caption_names import match_names
from paddlevideo.prepare.pack import AttachedCaptions
from paddlevideo.prepare.writing import Target, complete_manifest, write_clips
from paddlevideo.utils.errors import DataError

#: The entry of ``made_by`` that is known only once all videos have a status.
CLIPS = "clips"


class ExtractedSource:
    """The clips of a work folder in the order of the list: a ``Source`` of prepare."""

    def __init__(self, work: WorkFolder, statuses: Sequence[Status], action_classes: int) -> None:
        self.path, self.work = str(work.path), work
        self.statuses = [status for status in statuses if status.status == DONE]
        self.action_classes = action_classes

    def __len__(self) -> int:
        return sum(len(status.clips) for status in self.statuses)

    def sizes(self) -> Sizes:
        """Returns the widths; action classes are the named ones, else up to the largest."""
        region, action, region_classes = self.statuses[0].sizes
        for status in self.statuses:
            if tuple(status.sizes) != tuple(self.statuses[0].sizes):
                raise DataError(
                    f"{status.path}: its features are {status.sizes} wide, those of "
                    f"{self.statuses[0].path} {self.statuses[0].sizes}: the network's output "
                    "changes with the picture"
                )
        return Sizes(region, action, region_classes, self.action_classes or self._largest() + 1)

    def _largest(self) -> int:
        """Returns the largest action class of all records; -1 for none."""
        classes = (item.read().action_classes for item in self.items())
        return max((int(row.max(initial=-1)) for row in classes if row is not None), default=-1)

    def items(self) -> Iterator[Item]:
        """All clips; the records of one video are in memory at a time."""
        for status in self.statuses:
            records: list[bytes] = []
            for index, (name, *_) in enumerate(status.clips):
                yield Item(name, lambda i=index, s=status, r=records: self._read(s, i, r))  # type: ignore[misc]

    def _read(self, status: Status, index: int, records: list[bytes]) -> Clip:
        if not records:
            records.extend(self.work.records(status.video))
        where = f"{self.work.path_of(status.video, '.clips')}: clip {index}"
        if index >= len(records):
            raise DataError(f"{where}: is missing. Run the same command again")
        _, _, start, end = status.clips[index]
        span = None if start is None or end is None else (start, end)
        clip = decode(records[index], where)
        return replace(clip, source=os.path.abspath(status.path), span=span)


class ExtractedStore:
    """The requested store: written once all videos have a status, unless it is complete already."""

    def __init__(self, workers: Workers, videos: Sequence[Video]) -> None:
        self.options, self.videos, self.work = workers.options, videos, workers.work
        self.path, self.vocabularies = self.options.output, workers.ready.vocabularies
        listed = [
            (video.id, [(row.clip, row.start, row.end, row.captions) for row in video.rows])
            for video in videos
        ]
        captions = [
            [str(path), checksum(path) if path.is_file() else ""] for path in self.options.captions
        ]
        request = {
            "command": "tools/extract_features.py",
            "videos": str(self.options.videos),
            "list": digest_of(listed),
            "captions": captions,
            "extraction": workers.ready.description,
            "paddlevideo": paddlevideo.__version__,
        }
        #: What decides the contents, as far as the command says it; tuples as a manifest has them.
        self.request = json.loads(json.dumps(request))

    def existing(self) -> Manifest | None:
        """Returns the manifest of the store if this command has finished it, with any clips.

        Raises DataError where the folder holds another store than the requested one, unless that
        was extracted too and may be overwritten.
        """
        return complete_manifest(self.path, self._complaint)

    def _complaint(self, manifest: Manifest) -> str:
        differing = self._differing(manifest)
        is_foreign = "command" in differing
        if not differing or (self.options.overwrite and not is_foreign):
            return ""
        advice = "Name another --output" if is_foreign else self._advice()
        return f"were made of something else ({', '.join(differing)} differ). {advice}"

    def _differing(self, manifest: Manifest) -> list[str]:
        """Returns in what a store is not the requested one, whatever clips are in it."""
        made, asked = manifest.made_by, self.request
        keys = (asked.keys() | made.keys()) - {CLIPS}
        differing = sorted(key for key in keys if made.get(key) != asked.get(key))
        if not differing and manifest.dtype != self.options.dtype:
            differing = ["dtype"]
        return differing

    def _advice(self) -> str:
        return (
            "--overwrite replaces the store, or name another --output, and --work "
            f"{self.work.path}: nothing that fits is extracted twice"
        )

    def write(self, statuses: Sequence[Status]) -> list[str]:
        """Writes the clips of all videos that are done; returns lines to print about it.

        Raises DataError as ``prepare.writing.write_clips`` does.
        """
        done = [[status.video, status.fingerprint] for status in statuses if status.status == DONE]
        if not done:
            return [f"{self.path}: not written: no video could be used"]
        clips = digest_of(done)
        try:
            if self.options.overwrite:
                discard(
                    self.path,
                    lambda it: bool(self._differing(it)) or it.made_by.get(CLIPS) != clips,
                )
            return self._write(statuses, clips)
        except BusyStore:
            return [f"{self.path}: another process is writing it"]

    def _write(self, statuses: Sequence[Status], clips: str) -> list[str]:
        before = self.existing()
        if before is not None:
            if before.made_by.get(CLIPS) != clips:
                raise DataError(
                    f"{self.path}: was written when other videos could be read, or before they "
                    f"were changed. {self._advice()}"
                )
            return [f"{self.path}: nothing to do: {before.clips} clips are in it"]
        source = ExtractedSource(self.work, statuses, len(self.vocabularies.get("action", [])))
        target = Target(
            self.path,
            source.sizes(),
            self.options.dtype,
            vocabularies=self.vocabularies,
            made_by={**self.request, CLIPS: clips},
        )
        try:
            captions = AttachedCaptions(self._captions(statuses))
            summary = write_clips(target, [source], captions.change, captions.mark_used)
        except DataError:
            now = self.existing()
            if now is None or now.made_by.get(CLIPS) != clips:
                raise
            return [f"{self.path}: another process has written it"]  # since we looked
        captions.report(summary)
        return summary.lines()

    def _captions(self, statuses: Sequence[Status]) -> CaptionBook:
        """Returns the captions of the files and of the list, matched to the clips."""
        with tempfile.TemporaryDirectory() as folder:
            listed = Path(folder) / "captions.jsonl"
            listed.write_text("".join(_caption_lines(self.videos, statuses)), encoding="utf-8")
            files = [listed] if listed.stat().st_size else []
            # Wrong entries are counted: all features are there, and another run would only
            # repeat it.
            book = CaptionBook(self.options.captions, BadEntries(math.inf), exact=files)
        clips = (
            (clip, video.name, None)
            for video, status in zip(self.videos, statuses, strict=True)
            for clip, *_ in status.clips
        )
        match_names(book, clips, must_fit=False)  # was checked; since then videos may have failed
        return book


def _caption_lines(videos: Sequence[Video], statuses: Sequence[Status]) -> Iterator[str]:
    """Yields JSON lines of a CSV's clips: captions, video and seconds."""
    for video, status in zip(videos, statuses, strict=True):
        shared: dict[str, list[str]] = {}
        for clip, index in status.shared:
            shared.setdefault(clip, []).extend(video.rows[index].captions)
        for clip, index, start, end in status.clips:
            row = video.rows[index]
            if not row.where:
                continue  # from a folder or a list: the clip's name says it all
            entry: dict[str, Any] = {"clip": clip, "video": video.name}
            if start is not None and end is not None:
                entry |= {"start": start, "end": end}
            captions: list[Any] = [*row.captions, *shared.get(clip, [])]
            for caption in captions or [None]:
                yield json.dumps({**entry, "caption": caption}, ensure_ascii=False) + "\n"
