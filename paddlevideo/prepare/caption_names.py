"""Matches the names in caption files to the clips of the sources."""

from __future__ import annotations

import math
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path

from paddlevideo.files.temporary_database import database_errors
from paddlevideo.loader.captions.files import read_lines
from paddlevideo.loader.captions.line import BadEntries
from paddlevideo.loader.captions.matching import CLIP, RULES, Claims, ClipNames, Match, videos_of
from paddlevideo.prepare.caption_book import CaptionBook, Counted, KnownClip
from paddlevideo.utils.errors import DataError
from paddlevideo.utils.printable import Tally, is_utf8

#: The kinds of names besides CLIP: a video whose clips have known spans, and one whose clips have
#: unknown spans.
VIDEO, PIECES = CLIP + 1, CLIP + 2
#: Lines that are compared with the clips before an extraction: seconds, also for HowTo100M.
CHECKED = 100_000
WHOLE = "captions of whole videos, given to all clips of them"


def match_names(book: CaptionBook, clips: Iterable[KnownClip], must_fit: bool = True) -> None:
    """Replaces the names in a book by the matching ones of all clips.

    Raises DataError if a name matches several clips and, with ``must_fit``, if no caption matches
    any clip.
    """
    with database_errors():
        base = book.base
        rows = (
            (clip, video, *(span or (None, None))) for clip, video, span in clips if is_utf8(clip)
        )
        base.executemany("INSERT OR IGNORE INTO known VALUES (?, ?, ?, ?)", rows)
        _match(book, base, must_fit)


def _match(book: CaptionBook, base: sqlite3.Connection, must_fit: bool) -> None:
    try:
        names = _names(book, base)
        book.counted = _rename(names, book, base)
    except DataError as error:
        raise DataError(f"{_paths(book)}: {error}") from None
    if must_fit and not book.counted and _count(base, "lines") and _count(base, "known"):
        raise DataError(_reason(book, base, names))


def check_captions(paths: Sequence[Path], clips: Sequence[tuple[str, str]]) -> None:
    """Checks that a line of the caption files matches one of the clips or their videos.

    ``clips``: ids and videos; they may be cut into shorter ones later. Raises DataError if no line
    can be read or matches, or if one of the first ``CHECKED`` may mean several clips.
    """
    names = ClipNames(clip for clip, _ in clips if clip)
    names.add((video for _, video in clips if video), VIDEO)
    bad, is_found = BadEntries(math.inf), False
    lines = (line for path in paths for line in read_lines(path, bad))
    for number, line in enumerate(lines):
        if is_found and number >= CHECKED:
            return
        try:
            names.find(line.name, _kinds(line.is_video, line.span is None))
        except DataError as error:
            raise DataError(f"{line.where}: {error}") from None
        meant = (line.name, *videos_of(line.name))
        is_found = is_found or any(names.has(name, (CLIP, VIDEO)) for name in meant)
    if paths and not is_found:
        match_names(CaptionBook(paths, bad), ((clip, video, None) for clip, video in clips))


def _names(book: CaptionBook, base: sqlite3.Connection) -> ClipNames:
    """Returns all names of the clips."""
    if _count(base, "spans"):
        _rename_spans(ClipNames(_clips(base)), base)
    names = ClipNames(_clips(base))
    for clip in _clips(base):
        video, span = book.location(clip)
        if span is not None or video != clip:
            names.add([video], VIDEO)
        names.add(book.videos_around(clip), PIECES)
    return names


def _clips(base: sqlite3.Connection) -> Iterator[str]:
    return (clip for (clip,) in base.execute("SELECT clip FROM known"))


def _rename_spans(clips: ClipNames, base: sqlite3.Connection) -> None:
    for (name,) in base.execute("SELECT clip FROM spans").fetchall():
        match = clips.find(name)
        if match is not None and match.rule:
            change = "UPDATE OR REPLACE spans SET clip = ? WHERE clip = ?"
            base.execute(change, (match.target, name))


def _rename(names: ClipNames, book: CaptionBook, base: sqlite3.Connection) -> Counted:
    """Replaces the names of the lines by their matches. Returns numbers of captions by rule."""
    counted: Counted = {}
    base.execute(
        "CREATE TEMP TABLE named AS SELECT name, is_video, start IS NULL AS is_whole, "
        "count(*) AS lines FROM lines GROUP BY name, is_video, start IS NULL"
    )
    base.execute("CREATE INDEX temp.by_named ON named (name)")
    query = "SELECT 1 FROM named WHERE name = ?"
    claims = Claims(lambda name: base.execute(query, (name,)).fetchone() is not None)
    for name, is_video, is_whole, count in base.execute("SELECT * FROM named"):
        match = names.find(name, _kinds(is_video, is_whole))
        if match is None or not claims.allow(name, match):
            continue
        to_video = bool(is_video) or match.kind != CLIP
        if match.rule or to_video != is_video:
            base.execute(
                "UPDATE lines SET name = ?, is_video = ? "
                "WHERE name = ? AND is_video = ? AND (start IS NULL) = ?",
                (match.target, to_video, name, is_video, is_whole),
            )
        _note(counted, f"captions matched {RULES[match.rule]}", match, name, count)
        book.has_whole |= bool(is_whole) and to_video
        if is_whole and match.kind != CLIP:
            _note(counted, WHOLE, match, name, count)
    return {what: counted[what] for what in sorted(counted, key=_order)}


def _kinds(is_video: bool, is_whole: bool) -> tuple[int, ...]:
    """Returns the kinds that a name may have, the likeliest first."""
    if not is_video:
        return (CLIP, VIDEO, PIECES) if is_whole else (CLIP,)
    return (VIDEO, CLIP, PIECES) if is_whole else (VIDEO, CLIP)


def _note(counted: Counted, what: str, match: Match, name: str, count: int) -> None:
    shown = name if match.rule or what == WHOLE else ""
    counted.setdefault(what, Tally()).add(shown, count)


def _order(what: str) -> int:
    return next((number for number, rule in enumerate(RULES) if what.endswith(rule)), len(RULES))


def _count(base: sqlite3.Connection, table: str) -> int:
    return int(base.execute(f"SELECT count(*) FROM {table}").fetchone()[0])


# ----------------------------------------------------------- why no caption matches any clip


def _paths(book: CaptionBook) -> str:
    return ", ".join(map(str, book.paths))


def _reason(book: CaptionBook, base: sqlite3.Connection, names: ClipNames) -> str:
    """Returns why no caption of the files matches any clip."""
    lines = base.execute("SELECT name, text, start IS NULL FROM lines LIMIT 100").fetchall()
    shown = list(dict.fromkeys(name for name, *_ in lines))[:3]
    clips = list(islice(names.names(), 3))
    text = (
        f"{_paths(book)}: none of {_count(base, 'lines'):,} captions matches any of the "
        f"{_count(base, 'known'):,} clips. Captions name {_quoted(shown)}; clips are called "
        f"{_quoted(clips)}"
    )
    if any(names.find(name, (PIECES,)) for name, _, is_whole in lines if not is_whole):
        return (
            f"{text}. The captions are of whole videos, by time, and the spans of the clips in "
            'them are not known: add lines {"clip": ..., "video": ..., "start": ..., "end": ...} '
            "in another file, or call the clips VIDEO_START_END, in seconds"
        )
    return text + (names.hint(shown[0], [line[:2] for line in lines]) if shown else "")


def _quoted(names: list[str]) -> str:
    return ", ".join(f'"{name:.60}"' for name in names) + ", ..."
