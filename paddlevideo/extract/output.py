"""Writes extracted clips to a store, with captions, and the status of each video to a list."""

from __future__ import annotations

import json
import math
import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import paddlevideo
from paddlevideo.extract.videos import Video
from paddlevideo.extract.work import DONE, ExtractOptions, Status, WorkFolder
from paddlevideo.files.fingerprint import digest_of
from paddlevideo.files.whole import checksum, write_text_whole
from paddlevideo.loader.captions.coverage import MAX_CAPTIONS, Coverage
from paddlevideo.loader.captions.line import BadEntries
from paddlevideo.loader.clips.source import Item
from paddlevideo.loader.store import Clip, Manifest, Sizes
from paddlevideo.loader.store.manifest import COMPLETE, UNFINISHED
from paddlevideo.loader.store.records import decode
from paddlevideo.loader.store.writer import BusyStore, tidy
from paddlevideo.prepare.caption_book import CaptionBook
from paddlevideo.prepare.caption_names import match_names
from paddlevideo.prepare.pack import with_captions
from paddlevideo.prepare.writing import Target, write_clips
from paddlevideo.utils.errors import DataError
from paddlevideo.utils.printable import Tally

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
        return _with_origin(decode(records[index], where), status, index)


def _with_origin(clip: Clip, status: Status, index: int) -> Clip:
    """Returns the clip with its video file and its seconds in that."""
    _, _, start, end = status.clips[index]
    span = None if start is None or end is None else (start, end)
    return replace(clip, source=os.path.abspath(status.path), span=span)


@dataclass(frozen=True)
class StoreRequest:
    """The requested store."""

    options: ExtractOptions
    extraction: Mapping[str, Any]
    vocabularies: dict[str, list[str]]

    @property
    def path(self) -> Path:
        """Its folder."""
        return self.options.output

    def request(self, videos: Sequence[Video]) -> dict[str, Any]:
        """Returns what decides the store's contents, as far as the command says it."""
        listed = [
            (video.id, [(row.clip, row.start, row.end, row.captions) for row in video.rows])
            for video in videos
        ]
        files = [
            [str(path), checksum(path) if path.is_file() else ""] for path in self.options.captions
        ]
        return {
            "command": "tools/extract_features.py",
            "videos": str(self.options.videos),
            "list": digest_of(listed),
            "captions": files,
            "extraction": dict(self.extraction),
            "paddlevideo": paddlevideo.__version__,
        }


def find_existing(wanted: StoreRequest, request: Mapping[str, Any], work: Path) -> Manifest | None:
    """Returns the manifest of the store if this command has finished it, with any clips.

    Raises DataError where the folder holds another store than the requested one.
    """
    for name in (COMPLETE, UNFINISHED):
        if not (wanted.path / name).is_file():
            continue
        manifest = Manifest.read(wanted.path / name)
        made = {key: value for key, value in manifest.made_by.items() if key != CLIPS}
        asked = json.loads(json.dumps(request))  # tuples as the manifest has them
        if made != asked or manifest.dtype != wanted.options.dtype:
            names = sorted(
                key for key in asked.keys() | made.keys() if made.get(key) != asked.get(key)
            )
            raise DataError(
                f"{wanted.path}: holds {manifest.clips} clips that were made of something else "
                f"({', '.join(names) or 'dtype'} differ). {_other_name(work)}"
            )
        if name == UNFINISHED:
            return None
        tidy(wanted.path)
        return manifest
    return None


def _other_name(work: Path) -> str:
    return (
        f"Name another --output, and --work {work}: nothing that fits is extracted twice; or "
        "remove the store"
    )


def write_store(
    wanted: StoreRequest,
    request: Mapping[str, Any],
    videos: Sequence[Video],
    statuses: Sequence[Status],
    work: WorkFolder,
) -> list[str]:
    """Writes the store of all videos that are done; returns lines to print about it.

    Raises DataError as ``prepare.writing.write_clips`` does, BusyStore where another process is
    writing it.
    """
    done = [[status.video, status.fingerprint] for status in statuses if status.status == DONE]
    made_by = {**request, CLIPS: digest_of(done)}
    before = find_existing(wanted, request, work.path)
    if before is not None:
        if before.made_by.get(CLIPS) != made_by[CLIPS]:
            raise DataError(
                f"{wanted.path}: was written when other videos could be read, or before they were "
                f"changed. {_other_name(work.path)}"
            )
        return [f"{wanted.path}: nothing to do: {before.clips} clips are in it"]
    source = ExtractedSource(work, statuses, len(wanted.vocabularies.get("action", [])))
    target = Target(
        wanted.path,
        source.sizes(),
        wanted.options.dtype,
        vocabularies=wanted.vocabularies,
        made_by=made_by,
    )
    try:
        return _write(target, source, wanted, videos, statuses)
    except BusyStore:
        return [f"{wanted.path}: another process is writing it"]
    except DataError:
        now = find_existing(wanted, request, work.path)
        if now is None or now.made_by.get(CLIPS) != made_by[CLIPS]:
            raise
        return [f"{wanted.path}: another process has written it"]  # since we looked


def _write(
    target: Target,
    source: ExtractedSource,
    wanted: StoreRequest,
    videos: Sequence[Video],
    statuses: Sequence[Status],
) -> list[str]:
    with tempfile.TemporaryDirectory() as folder:
        listed = Path(folder) / "captions.jsonl"
        listed.write_text("".join(_caption_lines(videos, statuses)), encoding="utf-8")
        files = [listed] if listed.stat().st_size else []
        # Wrong entries are counted: all features are there, and another run would only repeat it.
        book = CaptionBook(wanted.options.captions, BadEntries(math.inf), exact=files)
    clips = (
        (clip, video.name, None)
        for video, status in zip(videos, statuses, strict=True)
        for clip, *_ in status.clips
    )
    match_names(book, clips, must_fit=False)  # was checked; since then videos may have failed
    silent, coverage = Tally(), Coverage(limit=MAX_CAPTIONS)

    def change(clip: Clip) -> Clip:
        clip = with_captions(clip, book.captions(clip.id), book.location(clip.id))
        if not clip.captions:
            silent.add(clip.id)
        coverage.add(clip.id, clip.captions)
        return clip

    summary = write_clips(target, [source], change, book.captions)
    summary.add({"clips without a caption": silent, **book.report()})
    summary.remarks += coverage.remarks()
    return summary.lines()


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


def write_statuses(path: Path, statuses: Sequence[Status]) -> None:
    """Writes a line for each video, in the order of the list."""
    text = "".join(status.line() + "\n" for status in statuses)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text_whole(path, text)
