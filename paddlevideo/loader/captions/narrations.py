"""Narrations: timed transcripts of videos."""

from __future__ import annotations

import logging
import math
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from paddlevideo.files.walk import Walk, walk
from paddlevideo.loader.captions.clip_csv import CLIP_NAMES, first_of
from paddlevideo.loader.captions.json_stream import json_entries
from paddlevideo.loader.captions.line import Item, Line, as_span, field_of, list_of
from paddlevideo.loader.captions.table import Table
from paddlevideo.utils.errors import DataError
from paddlevideo.utils.text_files import writable

log = logging.getLogger("paddlevideo")


def howto100m(path: Path) -> Iterator[Item]:
    """Yields the lines of HowTo100M's caption.json."""
    for video, entry in json_entries(path):
        where = f'{path}: video "{video}"'
        try:
            columns = _narration_columns(entry, where)
        except DataError as error:
            yield error
            continue
        for number, (start, end, text) in enumerate(zip(*columns, strict=True)):
            yield _narrated(str(video), text, (start, end), f"{where}: entry {number}")


def _narration_columns(entry: Any, where: str) -> list[list[Any]]:
    names = ("start", "end", "text")
    columns = [list_of(field_of(entry, name, where), f"{where}: {name}") for name in names]
    if len({len(column) for column in columns}) > 1:
        lengths = ", ".join(str(len(column)) for column in columns)
        raise DataError(f"{where}: start, end and text have {lengths} entries")
    return columns


def youcook2(path: Path) -> Iterator[Item]:
    """Yields YouCook2's sentences."""
    for video, _, parts, where in annotated_videos(path):
        for number, part in enumerate(parts):
            location = f"{where}: annotation {number}"
            try:
                segment = list_of(field_of(part, "segment", location), f"{location}: segment")
                sentence = field_of(part, "sentence", location)
            except DataError as error:
                yield error
            else:
                yield _narrated(video, sentence, segment, location)


def annotated_videos(
    path: str | os.PathLike[str],
) -> Iterator[tuple[str, str, list[Any], str]]:
    """Yields video, subset, annotations and "FILE: video ..." for messages, of YouCook2's file.

    Raises DataError for the file of another data set.
    """
    for key, videos in json_entries(path):
        if key != "database":
            continue
        if not isinstance(videos, dict):
            raise DataError(f"{path}: database is not an object of videos")
        for video, entry in videos.items():
            where = f'{path}: video "{video}"'
            if not isinstance(entry, dict):
                raise DataError(f"{where}: expected an object, got {entry!r:.40}")
            # The test videos have no annotations; in COIN the key is "annotation".
            parts = list_of(entry.get("annotations", entry.get("annotation", [])), where)
            if any(isinstance(part, dict) and _is_labelled(part) for part in parts):
                raise DataError(
                    f"{where}: has segments with labels but no sentences: this looks like the "
                    "annotation of COIN or ActivityNet, which have classes and no captions, not "
                    "like YouCook2's. To use labels as captions, write JSON lines "
                    '{"video": ..., "start": ..., "end": ..., "caption": ...}'
                )
            yield video, str(entry.get("subset", "")), parts, where


def _is_labelled(part: dict[str, Any]) -> bool:
    return "label" in part and "sentence" not in part


def _is_narration(names: Sequence[str]) -> bool:
    return {"start", "end", "text"} <= set(names) and not first_of(CLIP_NAMES, names)


def narration_table(path: Path) -> Table:
    """Opens a CSV file; its ``names`` are empty unless it has start, end and text."""
    return Table(path, _is_narration, ["text"])


def narration_files(path: Path) -> Walk:
    """Returns the CSV files in a folder, not in its subfolders."""
    return walk(path, lambda file: file.parent == path and file.suffix.lower() == ".csv")


def narration_folder(path: Path) -> Iterator[Item]:
    """Yields the lines of a folder of CSV files named after videos; logs its other files."""
    walked = narration_files(path)
    for line in walked.left_out():
        log.warning("%s: %s", path, line)
    for file in walked.files:
        if not narration_table(file).names:
            raise DataError(f"{file}: its header is not start,end,text, as in a narration")
        yield from narration(file)


def narration(path: Path) -> Iterator[Item]:
    """Yields the lines of a CSV file that is named after its video."""
    for row in narration_table(path):
        if len(row.fields) < 3:
            line = ",".join(row.fields)[:60]
            yield DataError(f'{row.where}: "{line}" is not a start, an end and a text')
        else:
            span = (row.get("start"), row.get("end"))
            yield _narrated(path.stem, row.get("text"), span, row.where)


def _narrated(video: str, text: Any, span: Any, where: str) -> Item:
    """Returns a line; None for a blank text: a silence, which pandas writes as NaN."""
    if text is None or (isinstance(text, float) and math.isnan(text)):
        return None
    try:
        if not isinstance(text, str):
            raise DataError(f"{where}: expected text, got {text!r:.40}")
        if not text.strip():
            return None
        text, video = writable(text.strip(), where), writable(video, where)
        return Line(video, text, as_span(span, where), is_video=True, where=where)
    except DataError as error:
        return error
