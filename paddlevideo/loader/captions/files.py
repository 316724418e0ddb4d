"""Captions and narrations in the files that they are published in, told apart by their content."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from paddlevideo.loader.captions.clip_csv import CLIP_NAMES, caption_lines, first_of
from paddlevideo.loader.captions.json_stream import json_entries
from paddlevideo.loader.captions.line import Line, as_span
from paddlevideo.loader.captions.table import SEPARATORS, Table
from paddlevideo.loader.captions.text import open_text, writable
from paddlevideo.utils.errors import DataError

KINDS = """\
  PaddleVideo's CSV: clip,caption, or with a header that names video_id and sentence
  MSR-VTT's MSRVTT_data.json: {"sentences": [{"video_id", "caption"}]}
  HowTo100M's caption.json: {video: {"start": [...], "end": [...], "text": [...]}}
  a CSV for each video, named after it, with the header start,end,text; or a folder of such files
  YouCook2's youcookii_annotations_trainval.json: {"database": {video: {"annotations": [...]}}}
  clips.json: [{"clip", "video", "start", "end", "caption"}]
  JSON lines: {"clip": ..., "caption": ..., "start": ..., "end": ..., "video": ...}, a line each"""

Reader = Callable[[Path], Iterator[Line]]


def read_lines(path: Path) -> Iterator[Line]:
    """All lines of a file or folder of captions, in order.

    Raises DataError, with the list of kinds, where the content is none of them, and with file and
    line or entry where it is damaged.
    """
    yield from kind_of(path)[1](path)


def read_sentences(path: Path) -> Iterator[tuple[str, str]]:
    """Videos and what is said in them, sentence by sentence.

    Reads ``{video: [sentence, ...]}`` as JSON and the narrations among :func:`read_lines`' kinds.
    Raises DataError, naming file and entry, for anything else.
    """
    if not path.is_dir() and _first_line(path)[0] == "{":
        entry = next(json_entries(path), None)
        if entry is not None and isinstance(entry[1], list):
            for video, sentences in json_entries(path):
                where = f'{path}: video "{video}"'
                for sentence in _list(sentences, where):
                    if not isinstance(sentence, str):
                        raise DataError(f"{where}: {sentence!r:.60} is no sentence")
                    yield str(video), writable(sentence, where)
            return
    for line in read_lines(path):
        if not line.is_video:
            raise DataError(
                f'{path}: tells of the clip "{line.name}", but not what is said in a video'
            )
        if line.text:
            yield line.name, line.text


def kind_of(path: Path) -> tuple[str, Reader]:
    """The name of the kind of a caption file, and its reader. Raises DataError for none."""
    if path.is_dir():
        if not any(path.glob("*.csv")):
            raise _none_fits(path, "a folder without .csv files")
        return "folder of narrations", _narration_folder
    first = _first_line(path)
    if first[:1] in ("{", "["):
        return _json_kind(path, first)
    if _narration_table(path).names:
        return "narration", _narration
    if not any(separator in first for separator in SEPARATORS):
        raise _none_fits(path, f"begins with {first[:40]!r}")
    return "clip,caption", caption_lines


def _none_fits(path: Path, found: str) -> DataError:
    return DataError(f"{path}: holds no captions of a known kind ({found}). Known are:\n{KINDS}")


def _first_line(path: Path) -> str:
    """The first line that is not blank, or the beginning of it. Raises DataError for no UTF-8."""
    with open_text(path) as file:
        while line := file.readline(1 << 16):
            if line.strip():
                return line.strip()
    raise _none_fits(path, "is empty")


def _json_kind(path: Path, first: str) -> tuple[str, Reader]:
    entry = next(json_entries(path), None)
    if entry is None:
        raise _none_fits(path, "no entries")
    key, value = entry
    if first[0] == "[":
        if isinstance(value, dict) and "clip" in value:
            return "clips.json", _clip_list
    elif isinstance(value, dict) and {"start", "end", "text"} <= value.keys():
        return "HowTo100M", _howto100m
    else:
        # The others have a fixed name somewhere at the top: info and videos may come before it.
        for name, held in json_entries(path):
            if name == "clip" and isinstance(held, str):
                return "JSON lines", _json_lines
            if name == "sentences":
                return "MSR-VTT", _msrvtt
            if name == "database":
                return "YouCook2", _youcook2
    raise _none_fits(path, f"the first entry is {key!r}: {value!r:.60}")


# ------------------------------------------------------------------- captions of clips


def _msrvtt(path: Path) -> Iterator[Line]:
    for key, entries in json_entries(path):
        if key == "sentences":
            for number, entry in enumerate(_list(entries, f"{path}: sentences")):
                where = f"{path}: sentence {number}"
                yield Line(_text(entry, "video_id", where), _text(entry, "caption", where))


def _clip_list(path: Path) -> Iterator[Line]:
    for number, entry in json_entries(path):
        yield _clip_line(entry, f"{path}: entry {number}")


def _json_lines(path: Path) -> Iterator[Line]:
    with open_text(path) as file:
        for number, line in enumerate(file, 1):
            if line.strip():
                where = f"{path}: line {number}"
                yield _clip_line(_parsed(line, where), where)


def _parsed(line: str, where: str) -> Any:
    try:
        return json.loads(line)
    except (ValueError, RecursionError) as fault:
        raise DataError(f"{where}: is not JSON ({fault})") from None


def _clip_line(entry: Any, where: str) -> Line:
    name = _text(entry, "clip", where)
    text = _text(entry, "caption", where) if entry.get("caption") is not None else None
    video = _text(entry, "video", where) if entry.get("video") is not None else ""
    span = None
    if entry.get("start") is not None or entry.get("end") is not None:
        span = as_span((entry.get("start"), entry.get("end")), where)
    return Line(name, text, span, video=video)


# ----------------------------------------------------------------- narrations of videos


def _howto100m(path: Path) -> Iterator[Line]:
    for video, entry in json_entries(path):
        where = f'{path}: video "{video}"'
        names = ("start", "end", "text")
        columns = [_list(_field(entry, name, where), f"{where}: {name}") for name in names]
        if len({len(column) for column in columns}) > 1:
            lengths = ", ".join(str(len(column)) for column in columns)
            raise DataError(f"{where}: start, end and text have {lengths} entries")
        for start, end, text in zip(*columns, strict=True):
            yield from _narrated(str(video), text, (start, end), where)


def _youcook2(path: Path) -> Iterator[Line]:
    for key, videos in json_entries(path):
        if key != "database":
            continue
        if not isinstance(videos, dict):
            raise DataError(f"{path}: database is not an object of videos")
        for video, entry in videos.items():
            where = f'{path}: video "{video}"'
            if not isinstance(entry, dict):
                raise DataError(f"{where}: {entry!r:.40} where an object belongs")
            # The test videos have no annotations.
            for part in _list(entry.get("annotations", []), f"{where}: annotations"):
                segment = _list(_field(part, "segment", where), f"{where}: segment")
                yield from _narrated(video, _field(part, "sentence", where), segment, where)


def _is_narration(names: Sequence[str]) -> bool:
    return {"start", "end", "text"} <= set(names) and not first_of(CLIP_NAMES, names)


def _narration_table(path: Path) -> Table:
    return Table(path, _is_narration, ["text"])


def _narration_folder(path: Path) -> Iterator[Line]:
    for file in sorted(path.glob("*.csv")):
        if not _narration_table(file).names:
            raise DataError(f"{file}: its header is not start,end,text, as in a narration")
        yield from _narration(file)


def _narration(path: Path) -> Iterator[Line]:
    for row in _narration_table(path):
        if len(row.fields) < 3:
            line = ",".join(row.fields)[:60]
            raise DataError(f'{row.where}: "{line}" is not a start, an end and a text')
        span = (row.get("start"), row.get("end"))
        yield from _narrated(path.stem, row.get("text"), span, row.where)


def _narrated(video: str, text: Any, span: Any, where: str) -> Iterator[Line]:
    """One line, or none for a blank text: narrations hold silences."""
    if isinstance(text, float) and math.isnan(text):
        return  # what pandas writes for a blank text
    if not isinstance(text, str):
        raise DataError(f"{where}: {text!r:.40} where a text belongs")
    if text.strip():
        text, video = writable(text.strip(), where), writable(video, where)
        yield Line(video, text, as_span(span, where), is_video=True)


# ------------------------------------------------------------------------------ checks


def _field(entry: Any, name: str, where: str) -> Any:
    if not isinstance(entry, dict) or name not in entry:
        raise DataError(f'{where}: has no "{name}"')
    return entry[name]


def _text(entry: Any, name: str, where: str) -> str:
    value = _field(entry, name, where)
    if not isinstance(value, str) or not value.strip():
        raise DataError(f"{where}: {name} is {value!r:.40}, where text belongs")
    return writable(value.strip(), where)


def _list(value: Any, where: str) -> list[Any]:
    if not isinstance(value, list):
        raise DataError(f"{where}: {value!r:.40} where a list belongs")
    return value
