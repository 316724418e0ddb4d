"""All captions of some files, looked up by clip: on the disk, so that memory does not grow."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from paddlevideo.loader.captions.files import read_lines
from paddlevideo.loader.captions.line import Line, Span
from paddlevideo.utils.errors import DataError

_TABLES = """
PRAGMA journal_mode = OFF;
PRAGMA synchronous = OFF;
CREATE TABLE lines (name TEXT, is_video INT, text TEXT, start REAL, stop REAL);
CREATE TABLE spans (clip TEXT PRIMARY KEY, video TEXT, start REAL, stop REAL) WITHOUT ROWID;
CREATE TABLE used (name TEXT, is_video INT, PRIMARY KEY (name, is_video)) WITHOUT ROWID;
"""
#: ``<video>_<start>_<end>``, seconds; the video's name may have underscores of its own.
_NAMED = re.compile(r"(?P<video>.+)_(?P<start>\d+(?:\.\d+)?)_(?P<end>\d+(?:\.\d+)?)")

Captions = list[tuple[str, Span | None]]


class CaptionBook:
    """Captions by clip; those of a video belong to its clips that overlap them in time.

    A clip's place in its video comes from the files (a clip's start and end), else from an id
    ``<video>_<start>_<end>``; else the clip is the whole video that has its id. A text that occurs
    twice for a clip counts once.
    """

    def __init__(self, paths: Iterable[Path] = ()) -> None:
        """Reads all files.

        Raises DataError as :func:`read_lines` does, and where a clip belongs to two videos.
        """
        self._base = sqlite3.connect("")  # a private temporary file that goes with the process
        self._base.executescript(_TABLES)
        with database_faults():
            for path in paths:
                self._base.executemany("INSERT INTO lines VALUES (?, ?, ?, ?, ?)", self._rows(path))
            self._base.execute("CREATE INDEX by_name ON lines (name, is_video)")

    def _rows(self, path: Path) -> Iterator[tuple[object, ...]]:
        for line in read_lines(path):
            start, end = line.span or (None, None)
            if not line.is_video and (line.span or line.video):
                self._check_video(line, path)
                self._widen(line)
            if line.text is not None:
                yield line.name, line.is_video, line.text, start, end

    def _check_video(self, line: Line, path: Path) -> None:
        query = "SELECT video FROM spans WHERE clip = ?"
        (before,) = self._base.execute(query, (line.name,)).fetchone() or ("",)
        if before and line.video and before != line.video:
            raise DataError(
                f'{path}: clip "{line.name}": is of video "{line.video}", but of "{before}" in a '
                "line before. A clip is a piece of one video: correct one of them"
            )

    def _widen(self, line: Line) -> None:
        """A clip spans all that its lines say."""
        start, end = line.span or (None, None)
        self._base.execute(
            "INSERT INTO spans VALUES (?, ?, ?, ?) ON CONFLICT (clip) DO UPDATE SET "
            "video = max(video, excluded.video), "
            "start = min(coalesce(start, excluded.start), coalesce(excluded.start, start)), "
            "stop = max(coalesce(stop, excluded.stop), coalesce(excluded.stop, stop))",
            (line.name, line.video, start, end),
        )

    @property
    def is_empty(self) -> bool:
        """Whether there is no caption at all."""
        return self._base.execute("SELECT 1 FROM lines LIMIT 1").fetchone() is None

    def place(self, clip: str) -> tuple[str, Span | None]:
        """The video of a clip, and the clip's start and end in it, if they are known."""
        named = _NAMED.fullmatch(clip)
        if named and self._is_spoken(clip) and not self._is_spoken(named["video"]):
            named = None  # a whole video: YouTube's ids may end in two numbers too
        row = self._base.execute(
            "SELECT video, start, stop FROM spans WHERE clip = ?", (clip,)
        ).fetchone()
        video, span = clip, None
        if named and float(named["start"]) <= float(named["end"]):
            video, span = named["video"], (float(named["start"]), float(named["end"]))
        if row is not None:
            video = row[0] or video
            span = span if row[1] is None else (row[1], row[2])
        return video, span

    def captions(self, clip: str) -> Captions:
        """The captions of a clip with their times, in the files' order; notes them as used."""
        with database_faults():
            video, span = self.place(clip)
            found = self._base.execute(
                "SELECT text, start, stop FROM lines WHERE name = ? AND is_video = 0 "
                "ORDER BY rowid",
                (clip,),
            ).fetchall()
            if found:
                self._use(clip, False)
            spoken = self._spoken(video, span)
            if spoken:
                self._use(video, True)
        times: dict[str, Span | None] = {}
        for text, start, end in (*found, *spoken):
            times.setdefault(text, span if start is None else (start, end))
        return list(times.items())

    def _is_spoken(self, video: str) -> bool:
        query = "SELECT 1 FROM lines WHERE name = ? AND is_video = 1 LIMIT 1"
        return self._base.execute(query, (video,)).fetchone() is not None

    def _spoken(self, video: str, span: Span | None) -> list[tuple[str, float, float]]:
        query = "SELECT text, start, stop FROM lines WHERE name = ? AND is_video = 1 "
        start, end = span or (float("-inf"), float("inf"))
        # Neighbours that only touch do not overlap.
        query += "AND start < ? AND stop > ? ORDER BY start, rowid"
        return self._base.execute(query, (video, end, start)).fetchall()

    def _use(self, name: str, is_video: bool) -> None:
        self._base.execute("INSERT OR IGNORE INTO used VALUES (?, ?)", (name, is_video))

    def unused(self, limit: int = 5) -> tuple[int, list[str]]:
        """How many clips and videos have captions that no clip took, and the first of them."""
        query = (
            "FROM (SELECT DISTINCT name, is_video FROM lines) AS named LEFT JOIN used "
            "USING (name, is_video) WHERE used.name IS NULL"
        )
        (count,) = self._base.execute(f"SELECT count(*) {query}").fetchone()
        rows = self._base.execute(f"SELECT name {query} LIMIT ?", (limit,)).fetchall()
        return count, [name for (name,) in rows]


class SeenIds:
    """Ids of clips, also on the disk: those of a run before, and those that were met in this."""

    def __init__(self) -> None:
        self._base = sqlite3.connect("")
        self._base.executescript(
            "PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF;"
            "CREATE TABLE seen (key BLOB PRIMARY KEY, is_old INT) WITHOUT ROWID;"
        )

    def add_old(self, keys: Iterable[bytes]) -> None:
        """Notes the ids, as 16 bytes each, that a run before has written."""
        with database_faults():
            rows = ((key, True) for key in keys)
            self._base.executemany("INSERT OR IGNORE INTO seen VALUES (?, ?)", rows)

    def meet(self, key: bytes) -> str:
        """``new``, ``old`` (written by a run before) or ``again`` (met before in this run)."""
        with database_faults():
            row = self._base.execute("SELECT is_old FROM seen WHERE key = ?", (key,)).fetchone()
            if row is not None and not row[0]:
                return "again"
            self._base.execute("INSERT OR REPLACE INTO seen VALUES (?, ?)", (key, False))
        return "new" if row is None else "old"


@contextmanager
def database_faults() -> Iterator[None]:
    """What SQLite reports, a full disk for one, becomes a DataError."""
    try:
        yield
    except sqlite3.Error as fault:
        raise DataError(
            f"the temporary database of captions and ids: {fault}. Make room for it, or name a "
            "folder with room in the environment variable SQLITE_TMPDIR"
        ) from None
