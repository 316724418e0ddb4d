"""Captions and narrations in the files that they are published in, recognized by their content."""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from paddlevideo.loader.captions.clip_csv import (
    CLIP_COLUMNS,
    CLIP_NAMES,
    END_NAMES,
    START_NAMES,
    TEXT_NAMES,
    caption_lines,
    first_of,
)
from paddlevideo.loader.captions.json_stream import json_entries
from paddlevideo.loader.captions.line import (
    BadEntries,
    Item,
    Line,
    as_span,
    list_of,
    name_of,
    text_of,
)
from paddlevideo.loader.captions.narrations import (
    howto100m,
    narration,
    narration_files,
    narration_folder,
    narration_table,
    youcook2,
)
from paddlevideo.loader.captions.table import SEPARATORS
from paddlevideo.utils.errors import DataError
from paddlevideo.utils.text_files import open_text, writable

log = logging.getLogger("paddlevideo")

KINDS = """\
  PaddleVideo's CSV: clip,caption, or with a header that names them (video_id and sentence, ...)
  MSR-VTT's MSRVTT_data.json: {"sentences": [{"video_id", "caption"}]}
  HowTo100M's caption.json: {video: {"start": [...], "end": [...], "text": [...]}}
  a CSV for each video, named after it, with the header start,end,text; or a folder of such files
  YouCook2's youcookii_annotations_trainval.json: {"database": {video: {"annotations": [...]}}}
  clips.json: [{"clip", "video", "start", "end", "caption"}]
  JSON lines: {"clip": ..., "caption": ..., "start": ..., "end": ..., "video": ...}, a line each"""

Reader = Callable[[Path], Iterator[Item]]


def read_lines(path: Path, bad: BadEntries | None = None) -> Iterator[Line]:
    """Yields all lines of a file or folder of captions; ``bad`` collects invalid entries.

    Raises DataError, with the list of kinds, if the content is of an unknown kind, with file and
    line or entry if it is damaged, and if there are no captions.
    """
    bad = bad or BadEntries()
    is_empty = True
    for item in kind_of(path)[1](path):
        if isinstance(item, DataError):
            bad.note(item)
        elif item is None:
            bad.silences += 1
        else:
            is_empty = False
            yield item
    if is_empty:
        first = f": {bad.errors[0]}" if bad.errors else ""
        raise DataError(f"{path}: holds no captions{first}")


def usable_lines(path: Path) -> Iterator[Line]:
    """Yields the valid lines; a warning counts the others."""
    bad = BadEntries(math.inf)
    yield from read_lines(path, bad)
    if bad.count:
        log.warning("%s: %d entries left out, the first: %s", path, bad.count, bad.errors[0])


def read_sentences(path: Path) -> Iterator[tuple[str, str]]:
    """Yields videos and sentences that are spoken in them.

    Reads JSON ``{video: [sentence, ...]}`` and the narrations among :func:`read_lines`' kinds.
    Raises DataError, naming file and entry, for anything else.
    """
    if not path.is_dir() and _first_line(path)[0] == "{":
        entry = next(json_entries(path), None)
        if entry is not None and isinstance(entry[1], list):
            for video, sentences in json_entries(path):
                where = f'{path}: video "{video}"'
                for sentence in list_of(sentences, where):
                    if sentence is None:
                        continue  # a silence
                    if not isinstance(sentence, str):
                        raise DataError(f"{where}: {sentence!r:.60} is not a sentence")
                    yield str(video), writable(sentence, where)
            return
    for line in usable_lines(path):
        if not line.is_video:
            raise DataError(
                f'{path}: is a caption of the clip "{line.name}", not a narration of a video'
            )
        if line.text:
            yield line.name, line.text


def kind_of(path: Path) -> tuple[str, Reader]:
    """Returns the kind of a caption file and its reader. Raises DataError for an unknown kind."""
    if path.is_dir():
        if not narration_files(path).files:
            raise _unknown_kind(path, "a folder without .csv files")
        return "folder of narrations", narration_folder
    first = _first_line(path)
    if first[:1] in ("{", "["):
        return _json_kind(path, first)
    if narration_table(path).names:
        return "narration", narration
    if not any(separator in first for separator in SEPARATORS):
        raise _unknown_kind(path, f"begins with {first[:40]!r}")
    return "clip,caption", caption_lines


def _unknown_kind(path: Path, content: str) -> DataError:
    return DataError(
        f"{path}: holds no captions of a known kind ({content}). Known kinds:\n{KINDS}"
    )


def _first_line(path: Path) -> str:
    """Returns the beginning of the first line that is not blank. Raises DataError if not UTF-8."""
    with open_text(path) as file:
        while line := file.readline(1 << 16):
            if line.strip():
                return line.strip()
    raise _unknown_kind(path, "is empty")


def _json_kind(path: Path, first: str) -> tuple[str, Reader]:
    if first[0] == "{" and (keys := _keys_of_object(first)):
        return _json_lines_kind(path, keys)
    entry = next(json_entries(path), None)
    if entry is None:
        raise _unknown_kind(path, "no entries")
    key, value = entry
    if first[0] == "[":
        if isinstance(value, dict) and first_of(CLIP_NAMES, list(value)):
            return "clips.json", _clip_list
    elif isinstance(value, dict) and {"start", "end", "text"} <= value.keys():
        return "HowTo100M", howto100m
    else:
        # The others have a fixed name at the top level: info and videos may come before it.
        for name, entry_value in json_entries(path):
            if name in CLIP_NAMES and isinstance(entry_value, str):
                return "JSON lines", _json_lines
            if name == "sentences":
                return "MSR-VTT", _msrvtt
            if name == "database":
                return "YouCook2", youcook2
    raise _unknown_kind(path, f"the first entry is {key!r}: {value!r:.60}")


def _keys_of_object(first: str) -> list[str]:
    """Returns the keys of a first line that is a JSON object of plain values, else []."""
    try:
        value = json.loads(first)
    except (ValueError, RecursionError):
        return []
    is_plain = not any(isinstance(each, (dict, list)) for each in value.values())
    return list(value) if is_plain else []


def _json_lines_kind(path: Path, keys: list[str]) -> tuple[str, Reader]:
    if first_of(CLIP_NAMES, keys):
        return "JSON lines", _json_lines
    raise _unknown_kind(
        path,
        f"the first entry is {keys[0]!r}: if these are JSON lines, none of the keys "
        f"{', '.join(keys[:8])} names the clip; known keys: {', '.join(CLIP_NAMES)}",
    )


# ------------------------------------------------------------------- captions of clips


def _msrvtt(path: Path) -> Iterator[Item]:
    for key, entries in json_entries(path):
        if key == "sentences":
            for number, entry in enumerate(list_of(entries, f"{path}: sentences")):
                where = f"{path}: sentence {number}"
                yield _parsed_or_error(_sentence, entry, where)


def _sentence(entry: Any, where: str) -> Line:
    return Line(name_of(entry, "video_id", where), text_of(entry, "caption", where), where=where)


def _clip_list(path: Path) -> Iterator[Item]:
    for number, entry in json_entries(path):
        yield _parsed_or_error(_clip_line, entry, f"{path}: entry {number}")


def _json_lines(path: Path) -> Iterator[Item]:
    with open_text(path) as file:
        for number, line in enumerate(file, 1):
            if line.strip():
                yield _parsed_or_error(_parsed_line, line, f"{path}: line {number}")


def _parsed_or_error(read: Callable[[Any, str], Line], entry: Any, where: str) -> Item:
    try:
        return read(entry, where)
    except DataError as error:
        return error


def _parsed_line(line: str, where: str) -> Line:
    try:
        entry = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{where}: is not JSON ({error})") from None
    return _clip_line(entry, where)


def _clip_line(entry: Any, where: str) -> Line:
    keys = list(entry) if isinstance(entry, dict) else []
    name, text = first_of(CLIP_NAMES, keys) or "clip", first_of(TEXT_NAMES, keys)
    clip = name_of(entry, name, where)
    if not text and (further := sorted(set(keys) - {*CLIP_NAMES, *START_NAMES, *END_NAMES})):
        raise DataError(
            f'{where}: has no "caption", but {", ".join(further)}. Known keys for the text: '
            + ", ".join(TEXT_NAMES)
        )
    caption = text_of(entry, text, where) if entry.get(text) is not None else None
    span = None
    times = [entry.get(first_of(names, keys)) for names in (START_NAMES, END_NAMES)]
    if times != [None, None]:
        span = as_span(times, where)
    if span and name not in CLIP_COLUMNS:
        return Line(clip, caption, span, is_video=True, where=where)
    named_video = name in CLIP_COLUMNS and entry.get("video") is not None
    video = name_of(entry, "video", where) if named_video else ""
    return Line(clip, caption, span, video=video, where=where)
