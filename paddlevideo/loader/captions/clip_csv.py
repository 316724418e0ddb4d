"""CSV files with a clip and a caption on each line."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import replace

from paddlevideo.loader.captions.line import Line, Span, as_span
from paddlevideo.loader.captions.table import Row, Table, column
from paddlevideo.loader.clips.check import as_caption
from paddlevideo.utils.errors import DataError

#: Names of columns, and of keys in JSON lines, for a clip,
CLIP_COLUMNS = ("clip", "clip_id", "clip_name")
#: for a video, which may be the whole clip,
_VIDEOS = (
    *("video_id", "image_id", "video", "video_name", "videoid", "vid"),
    *("youtube_id", "image", "image_name", "filename", "file_name", "file", "filepath", "path"),
    *("name", "id", "key"),
)
CLIP_NAMES = (*CLIP_COLUMNS, *_VIDEOS)
#: and for a caption.
TEXT_NAMES = ("caption", "sentence", "text", "description", "query", "captions", "sentences")
#: Seconds in the video.
START_NAMES = ("start", "start_time", "start_sec", "start_seconds", "begin")
END_NAMES = ("end", "end_time", "end_sec", "end_seconds", "stop")
#: Names in a header; ids and captions in a first line may look like names with digits.
_NAME, _ANY_NAME = re.compile(r"[a-z][a-z_]{0,30}"), re.compile(r"[a-z][a-z_0-9]{0,30}")


def first_of(known: Sequence[str], names: Sequence[str]) -> str:
    """Returns the first of the ``known`` names that is in ``names``, or ""."""
    return next((name for name in known if name in names), "")


def is_caption_header(names: Sequence[str]) -> bool:
    """Whether these columns name a clip and a caption."""
    return bool(first_of(CLIP_NAMES, names) and first_of(TEXT_NAMES, names))


def read_captions(path: str) -> list[tuple[str, str]]:
    """Returns (clip id, caption) of every line of a CSV file, in order.

    Two forms: without a header, ``clip id,caption``, with everything after the first separator
    in the caption; and with a header that names a clip (``video_id``, ``clip``,
    ``filename``, ...) and a caption (``sentence``, ``caption``, ``text``, ...). Raises DataError
    naming file and line.
    """
    captions = []
    for line in caption_lines(path):
        if isinstance(line, DataError):
            raise line
        captions.append((line.name, line.text or ""))
    return captions


def caption_lines(path: str | os.PathLike[str]) -> Iterator[Line | DataError]:
    """Yields the lines of such a file, with ``start`` and ``end`` if the header names them.

    An invalid line is yielded as an error that names file and line. Raises DataError if the file
    cannot be read or has no lines.
    """
    table = Table(path, is_caption_header, TEXT_NAMES)
    if not table.names:
        _check_first(table)
    is_empty = True
    for row in table:
        is_empty = False
        try:
            line = _named(row, table) if table.names else _plain(row, table.separator)
        except DataError as error:
            yield error
        else:
            yield line
    if is_empty:
        raise DataError(f"{path}: holds no captions")


def _check_first(table: Table) -> None:
    """Raises DataError for a header that lacks a name, and for a table without a header."""
    fields = [column(field) for field in table.first.split(table.separator)]
    if len(fields) < 3:
        return
    where = f"{table.path}: line {table.first_line}"
    has_clip, has_text = (first_of(names, fields) for names in (CLIP_NAMES, TEXT_NAMES))
    name = _ANY_NAME if fields[0] in (has_clip, has_text) else _NAME
    if (has_clip or has_text) and all(map(name.fullmatch, fields)):
        what, known = ("caption", TEXT_NAMES) if has_clip else ("clip", CLIP_NAMES)
        raise DataError(
            f"{where}: looks like a header without a known column for the {what}. Rename "
            f"one to one of {', '.join(known)}; if it is not a header, write one above it: "
            "clip,caption"
        )
    if table.separator == "\t":
        raise DataError(
            f"{where}: has {len(fields)} columns and no header. Write a line above it that names "
            "them, such as video_id, start, end and caption, with tabs between them"
        )


def _plain(row: Row, separator: str) -> Line:
    if len(row.fields) < 2:
        raise _no_caption(row)
    # Unquoted separators belong to the caption.
    return _line(row, row.fields[0].strip(), separator.join(row.fields[1:]))


def _named(row: Row, table: Table) -> Line:
    clip, video = (first_of(known, table.names) for known in (CLIP_COLUMNS, _VIDEOS))
    if len(row.fields) <= max(map(table.names.index, (clip or video, table.text))):
        raise _no_caption(row)
    start, end = (row.get(first_of(names, table.names)) for names in (START_NAMES, END_NAMES))
    if start and not (end or row.get(clip)):
        raise DataError(f"{row.where}: has a start but no end, in seconds")
    span = as_span((start or 0.0, end), row.where) if end else None
    if row.get(clip) or not span:
        return _line(row, row.get(clip) or row.get(video), row.get(table.text), span)
    return replace(_line(row, row.get(video), row.get(table.text), span), is_video=True)


def _no_caption(row: Row) -> DataError:
    line = ",".join(row.fields)[:60]
    full_width = ', "," instead of the full-width "\uff0c"' if "\uff0c" in line else ""
    return DataError(f'{row.where}: "{line}" is not a clip id, a comma{full_width}, a caption')


def _line(row: Row, name: str, text: str, span: Span | None = None) -> Line:
    if not name:
        raise DataError(f"{row.where}: the clip id is empty")
    text = as_caption(text, f'{row.where} (clip "{name}")').strip()
    return Line(name, text, span, where=row.where)
