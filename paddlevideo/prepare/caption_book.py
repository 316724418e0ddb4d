"""The captions of files, by clip; in a database on the disk, so that memory does not grow."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from paddlevideo.files.temporary_database import database_errors, temporary_database
from paddlevideo.loader.captions.files import read_lines
from paddlevideo.loader.captions.line import BadEntries, Line, Span
from paddlevideo.loader.captions.matching import RULES, TIMED_ID, videos_of
from paddlevideo.utils.errors import DataError
from paddlevideo.utils.printable import Tally

_TABLES = """
CREATE TABLE lines (name TEXT, is_video INT, text TEXT, start REAL, stop REAL, taken INT);
CREATE TABLE spans (clip TEXT PRIMARY KEY, video TEXT, start REAL, stop REAL) WITHOUT ROWID;
CREATE TABLE known (clip TEXT PRIMARY KEY, video TEXT, start REAL, stop REAL) WITHOUT ROWID;
CREATE TABLE used (name TEXT, is_video INT, PRIMARY KEY (name, is_video)) WITHOUT ROWID;
"""
_BY_ID = f"captions matched {RULES[0]}"

Captions = list[tuple[str, Span | None]]
#: The id of a clip of the sources, its video or "", and its span there or None.
KnownClip = tuple[str, str, Span | None]
Counted = dict[str, Tally]


class CaptionBook:
    """Captions by clip; those of a video belong to its clips that overlap them in time.

    A clip's span in its video comes from its source, else from the files (a clip's start and end),
    or from an id ``<video>_<start>_<end>``; else the clip is the whole video of that id. A caption
    of a video without times belongs to all of its clips. Repeated texts of a clip count once.
    """

    def __init__(
        self, paths: Iterable[Path] = (), bad: BadEntries | None = None, exact: Iterable[Path] = ()
    ) -> None:
        """Reads all files; ``bad`` collects invalid entries. ``exact`` are files of exact ids.

        Raises DataError as :func:`read_lines` does, and if a clip belongs to two videos.
        """
        self.paths, self.bad = list(paths), bad or BadEntries()
        #: How names that are not ids were matched: see ``caption_names.match_names``.
        self.counted: Counted = {}
        #: Whether there are captions of whole videos.
        self.has_whole = False
        with database_errors():
            self.base = temporary_database(_TABLES)
            for path in (*exact, *self.paths):
                self.base.executemany(
                    "INSERT INTO lines VALUES (?, ?, ?, ?, ?, FALSE)", self._rows(path)
                )
            self.base.execute("CREATE INDEX by_name ON lines (name, is_video)")

    def _rows(self, path: Path) -> Iterator[tuple[object, ...]]:
        for line in read_lines(path, self.bad):
            start, end = line.span or (None, None)
            if not line.is_video and (line.span or line.video):
                self._check_video(line, path)
                self._widen(line)
            if line.text is not None:
                yield line.name, line.is_video, line.text, start, end

    def _check_video(self, line: Line, path: Path) -> None:
        query = "SELECT video FROM spans WHERE clip = ?"
        (before,) = self.base.execute(query, (line.name,)).fetchone() or ("",)
        if before and line.video and before != line.video:
            raise DataError(
                f'{path}: clip "{line.name}": belongs to video "{line.video}", but to "{before}" '
                "in an earlier line. A clip is a part of one video: correct one of them"
            )

    def _widen(self, line: Line) -> None:
        """Extends the clip's span by that of a line."""
        start, end = line.span or (None, None)
        self.base.execute(
            "INSERT INTO spans VALUES (?, ?, ?, ?) ON CONFLICT (clip) DO UPDATE SET "
            "video = max(video, excluded.video), "
            "start = min(coalesce(start, excluded.start), coalesce(excluded.start, start)), "
            "stop = max(coalesce(stop, excluded.stop), coalesce(excluded.stop, stop))",
            (line.name, line.video, start, end),
        )

    def location(self, clip: str) -> tuple[str, Span | None]:
        """Returns the video of a clip, and the clip's start and end in it, if known."""
        named = TIMED_ID.fullmatch(clip)
        if named and self._is_narrated(clip) and not self._is_narrated(named["video"]):
            named = None  # a whole video: YouTube's ids may end in two numbers too
        video, span = clip, None
        if named and float(named["start"]) <= float(named["end"]):
            video, span = named["video"], (float(named["start"]), float(named["end"]))
        known = "SELECT video, start, stop FROM known WHERE clip = ? AND start IS NOT NULL"
        listed = "SELECT video, start, stop FROM spans WHERE clip = ?"
        for query in (known, listed):
            row = self.base.execute(query, (clip,)).fetchone()
            if row is not None:
                video = row[0] or video
                span = span if row[1] is None else (row[1], row[2])
        return video, span

    def videos_around(self, clip: str) -> set[str]:
        """Returns the videos that a clip may belong to, by its source or its id."""
        row = self.base.execute("SELECT video FROM known WHERE clip = ?", (clip,)).fetchone()
        return {*videos_of(clip), *filter(None, row or ())}

    def captions(self, clip: str) -> Captions:
        """Returns the captions of a clip with their times, and marks them as used."""
        with database_errors():
            video, span = self.location(clip)
            direct = self.base.execute(
                "SELECT text, start, stop FROM lines WHERE name = ? AND is_video = 0 "
                "ORDER BY rowid",
                (clip,),
            ).fetchall()
            if direct:
                self._use(clip, False)
            narration = self._narration(video, span)
            if narration:
                self._use(video, True)
            for other in sorted(self.videos_around(clip) - {video}) if self.has_whole else ():
                if whole := self._untimed(other):
                    self._use(other, True)
                    narration += whole
        times: dict[str, Span | None] = {}
        for text, start, end in (*direct, *narration):
            times.setdefault(text, span if start is None else (start, end))
        return list(times.items())

    def _untimed(self, video: str) -> list[tuple[str, None, None]]:
        query = (
            "SELECT text, NULL, NULL FROM lines WHERE name = ? AND is_video = 1 AND start IS NULL "
            "ORDER BY rowid"
        )
        return self.base.execute(query, (video,)).fetchall()

    def _is_narrated(self, video: str) -> bool:
        query = "SELECT 1 FROM lines WHERE name = ? AND is_video = 1 LIMIT 1"
        return self.base.execute(query, (video,)).fetchone() is not None

    def _narration(self, video: str, span: Span | None) -> list[tuple[str, Any, Any]]:
        start, end = span or (float("-inf"), float("inf"))
        # Spans that only touch do not overlap.
        where = "name = ? AND is_video = 1 AND (start IS NULL OR start < ? AND stop > ?)"
        query = f"SELECT text, start, stop FROM lines WHERE {where} ORDER BY start, rowid"
        lines = self.base.execute(query, (video, end, start)).fetchall()
        if lines:
            query = f"UPDATE lines SET taken = TRUE WHERE {where} AND NOT taken"
            self.base.execute(query, (video, end, start))
        return lines

    def outside(self) -> int:
        """Returns the number of captions at times that no clip of their video covers."""
        query = (
            "SELECT count(*) FROM lines JOIN used USING (name, is_video) "
            "WHERE is_video = 1 AND start IS NOT NULL AND NOT taken"
        )
        (count,) = self.base.execute(query).fetchone()
        return count

    def _use(self, name: str, is_video: bool) -> None:
        self.base.execute("INSERT OR IGNORE INTO used VALUES (?, ?)", (name, is_video))

    def unused(self, limit: int = 5) -> Tally:
        """Returns number and first names of clips and videos whose captions were not used."""
        query = (
            "FROM (SELECT DISTINCT name, is_video FROM lines) AS named LEFT JOIN used "
            "USING (name, is_video) WHERE used.name IS NULL"
        )
        (count,) = self.base.execute(f"SELECT count(*) {query}").fetchone()
        rows = self.base.execute(f"SELECT name {query} LIMIT ?", (limit,)).fetchall()
        return Tally(count, [name for (name,) in rows])

    def report(self) -> Counted:
        """Returns how captions were matched, and which were left out or not used."""
        invalid = "invalid entries of captions, left out"
        # Not reported if all names are ids.
        matched = self.counted if len(self.counted) > 1 or _BY_ID not in self.counted else {}
        return {
            **matched,
            "entries without text (silences)": Tally(self.bad.silences),
            invalid: Tally(self.bad.count, self.bad.errors[:5]),
            "clips or videos whose captions were not used": self.unused(),
            "captions of videos at times that no clip covers": Tally(self.outside()),
        }


class SeenIds:
    """Ids of clips of an earlier run and of this one, in a database on the disk."""

    def __init__(self) -> None:
        self._base = temporary_database(
            "CREATE TABLE seen (key BLOB PRIMARY KEY, is_old INT) WITHOUT ROWID;"
        )

    def add_old(self, keys: Iterable[bytes]) -> None:
        """Adds the hashes of ids that an earlier run has written."""
        with database_errors():
            rows = ((key, True) for key in keys)
            self._base.executemany("INSERT OR IGNORE INTO seen VALUES (?, ?)", rows)

    def add(self, key: bytes) -> str:
        """Adds an id: ``new``, ``old`` (written by an earlier run) or ``again`` (repeated)."""
        with database_errors():
            row = self._base.execute("SELECT is_old FROM seen WHERE key = ?", (key,)).fetchone()
            if row is not None and not row[0]:
                return "again"
            self._base.execute("INSERT OR REPLACE INTO seen VALUES (?, ?)", (key, False))
        return "new" if row is None else "old"
