"""The list of videos: a folder, a text file with a path a line, a CSV, or one video."""

from __future__ import annotations

import math
import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePath

from paddlevideo.loader.captions.table import Row as TableRow
from paddlevideo.loader.captions.table import Table
from paddlevideo.registry import did_you_mean
from paddlevideo.utils.errors import DataError

#: Endings that are taken from a folder; a list or CSV may name any file.
ENDINGS = frozenset(
    (
        ".3gp",
        ".asf",
        ".avi",
        ".flv",
        ".m2ts",
        ".m4v",
        ".mkv",
        ".mov",
        ".mp4",
        ".mpeg",
        ".mpg",
        ".mts",
        ".ogv",
        ".ts",
        ".vob",
        ".webm",
        ".wmv",
    )
)
COLUMNS = ("video", "clip", "start", "end", "caption")


@dataclass
class Row:
    """A clip that is asked for: all of a video, or from ``start`` to ``end`` seconds of it."""

    clip: str
    start: float | None = None
    end: float | None = None
    captions: list[str] = field(default_factory=list)
    #: Where it was asked for, for messages.
    where: str = ""


@dataclass
class Video:
    """A video and its clips. ``id``: its path in the folder or list, with its ending."""

    id: str
    path: Path
    #: The id without its ending, by which caption files name it.
    name: str
    rows: list[Row] = field(default_factory=list)


def read_videos(source: Path) -> list[Video]:
    """All videos of a folder (by name), a list or a CSV (in their order), with their clips.

    Raises DataError where there is none, where a line cannot be read, or a clip's id comes twice.
    """
    if source.is_dir():
        videos = _folder(source)
    elif not source.is_file():
        raise DataError(f"{source}: there is no such file or folder of videos")
    elif source.suffix.lower() in ENDINGS:
        videos = [Video(source.name, source, "")]
    elif source.suffix.lower() in (".csv", ".tsv"):
        videos = _csv(source)
    else:
        videos = _list(source)
    if not videos:
        raise DataError(f"{source}: names no video")
    _name(videos)
    _refuse_doubles(videos)
    return videos


def _folder(folder: Path) -> list[Video]:
    paths = sorted(
        Path(place, name)
        for place, _, names in os.walk(folder, followlinks=True)
        for name in names
        if PurePath(name).suffix.lower() in ENDINGS
    )
    if not paths:
        endings = " ".join(sorted(ENDINGS))
        raise DataError(f"{folder}: holds no file with one of the endings {endings}")
    return [Video(path.relative_to(folder).as_posix(), path, "") for path in paths]


def _list(source: Path) -> list[Video]:
    videos: dict[str, Video] = {}
    for number, line in enumerate(_read(source).split("\n"), 1):
        if not line.strip():
            continue
        video = _video(source, line.strip())
        if video.id in videos:
            raise DataError(f"{source}: line {number}: {line.strip()} stands above already")
        videos[video.id] = video
    return list(videos.values())


def _video(source: Path, path: str) -> Video:
    """``path`` as it stands in a file, relative to that file's folder."""
    whole = Path(os.path.normpath(source.parent / Path(path).expanduser()))
    relative = os.path.relpath(whole, source.parent)
    outside = relative.startswith("..") and os.path.isabs(path)
    # An absolute path outside is its own id: the list may be moved, the videos stay.
    return Video((str(whole)[1:] if outside else relative).replace(os.sep, "/"), whole, "")


def _read(source: Path) -> str:
    try:
        return source.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as fault:
        raise DataError(
            f"{source}: is no list of videos: not UTF-8 text ({fault}). For a video its ending "
            f"must be one of {' '.join(sorted(ENDINGS))}"
        ) from None
    except OSError as fault:
        raise DataError(f"{source}: cannot be read ({fault.strerror})") from None


# ------------------------------------------------------------------------------- CSV


def _csv(source: Path) -> list[Video]:
    table = Table(source, lambda names: "video" in names, strict=True)
    _check_header(source, table)
    videos: dict[str, Video] = {}
    for row in table:
        found = _video(source, _text(row, "video"))
        video = videos.setdefault(found.id, found)
        _add(video, row)
    return list(videos.values())


def _check_header(source: Path, table: Table) -> None:
    if not table.names:
        raise DataError(
            f"{source}: line 1: a header with the column video is wanted, and clip, start, end "
            f"and caption as needed; the first line is {table.first[:80]!r}"
        )
    for name in table.names:
        if name not in COLUMNS:
            near = did_you_mean(name, COLUMNS) or f" Known: {', '.join(COLUMNS)}"
            raise DataError(f'{source}: line 1: unknown column "{name}".{near}')


def _text(line: TableRow, column: str) -> str:
    text = line.get(column)
    if not text:
        raise DataError(f"{line.where}: the column {column} is empty")
    return text


def _add(video: Video, line: TableRow) -> None:
    """A line of the CSV; lines that differ in the caption alone are one clip."""
    where = line.where
    start, end = (_seconds(line.get(column), column, where) for column in ("start", "end"))
    if end is not None and end <= (start or 0.0):
        raise DataError(f"{where}: the clip ends at {end:g} s, but begins at {start or 0.0:g} s")
    clip, caption = line.get("clip"), line.get("caption")
    captions = [caption] if caption else []
    for known in video.rows:
        if (known.clip, known.start, known.end) == (clip, start, end):
            known.captions += captions
            return
    video.rows.append(Row(clip, start, end, captions, where))


def _seconds(text: str, column: str, where: str) -> float | None:
    if not text:
        return None
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 <= value < math.inf:
        raise DataError(f"{where}: {column} is {text!r}, where seconds >= 0 belong")
    return value


# ------------------------------------------------------------------------- the names


def _name(videos: list[Video]) -> None:
    """Names videos and their clips by path; where an ending alone tells two apart, it stays."""
    stems = Counter(_stem(video.id) for video in videos)
    for video in videos:
        stem = _stem(video.id)
        video.name = stem if stems[stem] == 1 else video.id
        video.rows = video.rows or [Row("")]
        for row in video.rows:
            row.clip = row.clip or clip_id(video.name, row.start, row.end)


def _stem(name: str) -> str:
    return name[: len(name) - len(PurePath(name).suffix)]


def clip_id(video: str, start: float | None, end: float | None) -> str:
    """``<video>_<start>_<end>``, seconds; the video's own name for all of it."""
    if start is None and end is None:
        return video
    # Without an end, which only the video tells, the start must do.
    return "_".join(
        [video, *(seconds_text(second) for second in (start or 0.0, end) if second is not None)]
    )


def seconds_text(seconds: float) -> str:
    """Seconds to three decimals, in as few letters as hold them."""
    return f"{seconds:.3f}".rstrip("0").rstrip(".")


def _refuse_doubles(videos: list[Video]) -> None:
    seen: dict[str, str] = {}
    for video, row in each_row(videos):
        where = row.where or video.id
        if row.clip in seen:
            raise DataError(
                f'{where}: the clip "{row.clip}" stands in {seen[row.clip]} already. Ids must '
                "differ: give the column clip, or rename a file"
            )
        seen[row.clip] = where


def each_row(videos: list[Video]) -> Iterator[tuple[Video, Row]]:
    """Every clip that is asked for, with its video."""
    for video in videos:
        for row in video.rows:
            yield video, row
