"""The list of videos: a folder, a text file with a path a line, a CSV, or one video."""

from __future__ import annotations

import math
import os
import re
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePath

from paddlevideo.extract.container import looks_like_video, read_head
from paddlevideo.files.filetype import VIDEO_ENDINGS, describe_file, endings
from paddlevideo.files.paths import as_text
from paddlevideo.files.walk import walk
from paddlevideo.loader.captions.table import Row as TableRow
from paddlevideo.loader.captions.table import Table
from paddlevideo.registry import did_you_mean
from paddlevideo.utils.errors import DataError

#: In a folder, a file is a video by its ending, or else by its first bytes; a list or CSV may name
#: any file. These endings are never videos: sound, images and unfinished downloads may begin like
#: one, and the others are common beside videos, and need not be opened.
NOT_VIDEOS = endings(
    "aac aif aifc aiff avif crdownload download heic heif m4a m4b mka mp3 oga opus part partial "
    "tmp wav weba webp wma ytdl "
    "ass bmp csv description html jpeg jpg json jsonl lmdb log lrc md mdb nfo npy npz pdf pkl png "
    "srt sub tar tsv txt vtt xml yaml yml zip"
)
COLUMNS = ("video", "clip", "start", "end", "caption")


@dataclass
class Row:
    """A requested clip: all of a video, or from ``start`` to ``end`` seconds of it."""

    clip: str
    start: float | None = None
    end: float | None = None
    captions: list[str] = field(default_factory=list)
    #: File and line that request it, for messages.
    where: str = ""


@dataclass
class Video:
    """A video and its clips. ``id``: its path in the folder or list, with its ending."""

    id: str
    path: Path
    #: The id without its ending, by which caption files name it.
    name: str
    rows: list[Row] = field(default_factory=list)


def read_videos(
    source: Path,
    report: Callable[[str], object] = lambda line: None,
    base: Path | None = None,
) -> list[Video]:
    """Returns all videos of a folder (by name), a list or a CSV (in their order), with their clips.

    ``report`` is called with a line for each kind of file in a folder that is left out. ``base``:
    the folder that paths in a list are relative to; None: that of the list. Raises DataError where
    there is no video, a line cannot be read, or two clips have one id.
    """
    base = base or source.parent
    if source.is_dir():
        videos = _folder(source, report)
    elif not source.is_file():
        reason = "is a device or pipe, not a" if source.exists() else "there is no such"
        raise DataError(f"{source}: {reason} file or folder of videos")
    elif is_video(source):
        videos = [Video(as_text(source.name), source, "")]
    elif source.suffix.lower() in (".csv", ".tsv"):
        videos = _csv(source, base)
    else:
        videos = _list(source, base)
    if not videos:
        raise DataError(f"{source}: names no video")
    _name(videos)
    _check_ids_differ(videos)
    return videos


def is_video(path: Path) -> bool:
    """Returns whether a file is a video by its ending, or if that is unknown by its first bytes."""
    ending = path.suffix.lower()
    if ending in VIDEO_ENDINGS or ending in NOT_VIDEOS:
        return ending in VIDEO_ENDINGS
    return looks_like_video(read_head(path))


def _folder(folder: Path, report: Callable[[str], object]) -> list[Video]:
    walked = walk(folder, is_video)
    for line in walked.left_out():
        report(line)
    if not walked.files:
        raise DataError(
            "\n".join([f"{folder}: holds no video, by ending or content", *walked.left_out()])
        )
    if links := len(walked.files) - len({_identity(path) for path in walked.files}):
        report(f"{links} videos are links to others: each name is a clip of its own")
    return [Video(as_text(path.relative_to(folder).as_posix()), path, "") for path in walked.files]


def _identity(path: Path) -> object:
    try:
        status = path.stat()
    except OSError:
        return path
    return status.st_dev, status.st_ino


def _list(source: Path, base: Path) -> list[Video]:
    videos: dict[str, Video] = {}
    for position, line in enumerate(_read(source).split("\n"), 1):
        if not line.strip():
            continue
        video = _video(base, line.strip())
        if video.id in videos:
            raise DataError(f"{source}: line {position}: {line.strip()} is listed above already")
        videos[video.id] = video
    return list(videos.values())


def _video(base: Path, path: str) -> Video:
    """Returns the video of a ``path`` in a file, relative to the folder ``base``."""
    absolute = Path(os.path.normpath(base / Path(path).expanduser()))
    relative = os.path.relpath(absolute, base)
    outside = relative.startswith("..") and os.path.isabs(path)
    # An absolute path outside is its own id: the list may be moved, the videos stay.
    name = (str(absolute)[1:] if outside else relative).replace(os.sep, "/")
    return Video(as_text(name), absolute, "")


def _read(source: Path) -> str:
    kind = describe_file(source)
    if kind.startswith(("a git", "an HTML", "an XML")):
        raise _not_a_list(source, kind)
    try:
        return source.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise _not_a_list(source, kind) from None
    except OSError as error:
        raise DataError(f"{source}: cannot be read ({error.strerror})") from None


def _not_a_list(source: Path, kind: str) -> DataError:
    return DataError(
        f"{source}: is {kind}, where a video, a folder of videos, or a list of them in UTF-8 text "
        "is expected"
    )


# ------------------------------------------------------------------------------- CSV


def _csv(source: Path, base: Path) -> list[Video]:
    table = Table(source, lambda names: "video" in names, strict=True)
    _check_header(source, table)
    videos: dict[str, Video] = {}
    for row in table:
        listed = _video(base, _text(row, "video"))
        video = videos.setdefault(listed.id, listed)
        _add(video, row)
    return list(videos.values())


def _check_header(source: Path, table: Table) -> None:
    if not table.names:
        raise DataError(
            f"{source}: line 1: expected a header with the column video, and clip, start, end "
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
        raise DataError(f"{where}: {column} is {text!r}, where seconds >= 0 are expected")
    return value


# ------------------------------------------------------------------------- the names


def _name(videos: list[Video]) -> None:
    """Names videos and their clips by path, with the ending where only it differs."""
    stems = Counter(_stem(video.id) for video in videos)
    for video in videos:
        stem = _stem(video.id)
        video.name = stem if stems[stem] == 1 else video.id
        video.rows = video.rows or [Row("")]
        for row in video.rows:
            row.clip = row.clip or clip_id(video.name, row.start, row.end)


def _stem(name: str) -> str:
    """Returns a name without its ending; "Lecture 3. Limits" has no ending."""
    suffix = PurePath(name).suffix
    return name[: len(name) - len(suffix)] if re.fullmatch(r"\.\w*[a-zA-Z]\w*", suffix) else name


def clip_id(video: str, start: float | None, end: float | None) -> str:
    """Returns ``<video>_<start>_<end>``, seconds; the video's name for the whole video."""
    if start is None and end is None:
        return video
    # An open end is known only from the video: the start alone is used.
    return "_".join(
        [video, *(seconds_text(second) for second in (start or 0.0, end) if second is not None)]
    )


def seconds_text(seconds: float) -> str:
    """Returns seconds with up to three decimals."""
    return f"{seconds:.3f}".rstrip("0").rstrip(".")


def _check_ids_differ(videos: list[Video]) -> None:
    seen: dict[str, str] = {}
    for video, row in each_row(videos):
        where = row.where or video.id
        if row.clip in seen:
            raise DataError(
                f'{where}: the clip "{row.clip}" is in {seen[row.clip]} already. Ids must '
                "differ: give the column clip, or rename a file"
            )
        seen[row.clip] = where


def each_row(videos: list[Video]) -> Iterator[tuple[Video, Row]]:
    """Yields every requested clip with its video."""
    for video in videos:
        for row in video.rows:
            yield video, row
