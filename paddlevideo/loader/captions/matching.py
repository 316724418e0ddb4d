"""The clip that a name means: by its id, else by a few rules that are counted and reported."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from difflib import get_close_matches
from itertools import islice
from typing import NamedTuple

from paddlevideo.files.filetype import VIDEO_ENDINGS
from paddlevideo.files.temporary_database import database_errors, temporary_database
from paddlevideo.utils.errors import DataError
from paddlevideo.utils.printable import is_utf8

#: Tried in this order; the first that leads to a clip counts.
RULES = (
    "by id",
    "by Unicode normalisation",
    "after dropping the file's ending",
    "by the end of its path",
    "ignoring upper and lower case",
)
_ENDING, _PATH = 2, 3
#: Of files that are one clip in several formats: these are dropped on both sides.
_ENDINGS = re.compile(
    "(?:{})$".format(
        "|".join(
            re.escape(ending)
            for ending in (*VIDEO_ENDINGS, ".npy", ".npz", ".jpg", ".jpeg", ".png")
            if not ending[1:].isdecimal()  # such a number may count clips
        )
    ),
    re.IGNORECASE,
)
#: Any other ending is dropped from a name alone.
_ANY_ENDING = re.compile(r"\.\w*[a-zA-Z]\w*$")
#: Names that are looked through for one that is near to a name that fits none.
_LOOKED_THROUGH = 5000

CLIP = 0
#: ``<video>_<start>_<end>``, seconds; the video's name may have underscores too.
TIMED_ID = re.compile(r"(?P<video>.+)_(?P<start>\d+(?:\.\d+)?)_(?P<end>\d+(?:\.\d+)?)")
_NUMBERED_ID = re.compile(r"(?P<video>.+)_\d+")


def videos_of(clip: str) -> list[str]:
    """The videos that a clip may be a piece of, as its id VIDEO_START_END or VIDEO_NUMBER says."""
    matches = (pattern.fullmatch(clip) for pattern in (TIMED_ID, _NUMBERED_ID))
    return [match["video"] for match in matches if match]


class Match(NamedTuple):
    """The meaning of a name: ``target``, of a kind, by ``RULES[rule]``."""

    target: str
    kind: int
    rule: int


class ClipNames:
    """The ids of clips, and other names by which clips are known, on the disk.

    Names are of kinds, numbers that a caller chooses; CLIP is the kind of ids.
    """

    def __init__(self, ids: Iterable[str] = ()) -> None:
        with database_errors():
            self._base = temporary_database(
                "CREATE TABLE names (level INT, key TEXT, kind INT, target TEXT, "
                "PRIMARY KEY (level, key, kind, target)) WITHOUT ROWID;"
            )
        self._is_loose = False
        self.add(ids)

    def add(self, names: Iterable[str], kind: int = CLIP) -> None:
        """Adds names, to be called before the first is looked up."""
        assert not self._is_loose
        rows = ((0, name, kind, name) for name in names if is_utf8(name))
        with database_errors():
            self._base.executemany("INSERT OR IGNORE INTO names VALUES (?, ?, ?, ?)", rows)

    def find(self, name: str, kinds: Sequence[int] = (CLIP,)) -> Match | None:
        """The meaning of ``name``, or None. Of equal rank the first of ``kinds`` counts.

        Raises DataError where it is ambiguous.
        """
        match = self._find(name, kinds)
        stem = _ANY_ENDING.sub("", name)
        if match is None and stem != name:
            match = self._find(stem, kinds)
            match = match and match._replace(rule=max(match.rule, _ENDING))
        return match

    def _find(self, name: str, kinds: Sequence[int]) -> Match | None:
        for level, key in enumerate(_keys(name)):
            targets = self._targets(name, level, key)
            for kind in kinds:
                named = [target for target, its in targets if its == kind]
                if len(named) > 1:
                    raise DataError(
                        f'"{name}" may mean "{named[0]}" or "{named[1]}" ({RULES[level]}): '
                        "write the id as it is"
                    )
                if named:
                    return Match(named[0], kind, level)
        return None

    def has(self, name: str) -> bool:
        """Whether ``name`` means an id, or one of several."""
        try:
            return self.find(name) is not None
        except DataError:
            return True

    def _targets(self, name: str, level: int, key: str) -> list[tuple[str, int]]:
        if level and not self._is_loose:
            self._loosen()
        query = "SELECT target, kind FROM names WHERE level = ? AND key = ? LIMIT 1000"
        with database_errors():
            rows = self._base.execute(query, (level, key)).fetchall()
        if level < _PATH:
            return rows
        return [row for row in rows if is_same_path(name, row[0])]

    def _loosen(self) -> None:
        """The keys of all names by all rules: made when a name is not an id, which is rare."""
        self._is_loose = True
        with database_errors():
            rows = self._base.execute("SELECT target, kind FROM names WHERE level = 0").fetchall()
            loose = (
                (level, key, kind, target)
                for target, kind in rows
                for level, key in enumerate(_keys(target))
                if level
            )
            self._base.executemany("INSERT OR IGNORE INTO names VALUES (?, ?, ?, ?)", loose)

    def some(self, kind: int = CLIP) -> Iterator[str]:
        """The names of a kind."""
        query = "SELECT target FROM names WHERE level = 0 AND kind = ?"
        return (target for (target,) in self._base.execute(query, (kind,)))

    def hint(self, name: str, lines: Sequence[tuple[str, str]]) -> str:
        """Why ``name``, of one of the ``lines`` (name, caption), may be unknown, for a message."""
        if self.is_elsewhere(lines[:100]):
            return (
                ". The ids seem to stand in another column: write a header line that names the "
                'columns, such as "caption,clip"'
            )
        pieces = [clip for clip in islice(self.some(), _LOOKED_THROUGH) if name in videos_of(clip)]
        if pieces:
            return (
                f'. "{name}" is a video, and its clips are called "{pieces[0]}", ...: captions '
                "belong to these"
            )
        near = self.nearest(name)
        return f'. The nearest to "{name}" is "{near}"' if near else ""

    def is_elsewhere(self, lines: Iterable[tuple[str, str]]) -> bool:
        """Whether captions hold the ids instead of names."""
        fields = (field for name, caption in lines for field in fields_beside(name, caption))
        return any(self.has(field) for field in fields)

    def nearest(self, name: str) -> str:
        """The id most like ``name``, or an empty string."""
        known = list(islice(self.some(), _LOOKED_THROUGH))
        near = get_close_matches(name, known, n=1)
        return near[0] if near else ""


def meanings(names: Collection[str], ids: Iterable[str]) -> dict[str, Match]:
    """The meaning of each of ``names``; those without one are left out.

    Raises DataError where a name may mean two ids, or names of two files mean one.
    """
    known = ClipNames(ids)
    claims = Claims(set(names).__contains__)
    matches = ((name, known.find(name)) for name in names)
    return {name: match for name, match in matches if match and claims.allow(name, match)}


def describe_rules(rules: Mapping[int, int]) -> str:
    """``"1,204 by id, 37 ignoring upper and lower case"``."""
    return ", ".join(f"{count:,} {RULES[rule]}" for rule, count in sorted(rules.items()) if count)


class Claims:
    """Names that are not ids, and what they were taken for."""

    def __init__(self, is_name: Callable[[str], bool]) -> None:
        """``is_name`` tells whether an id is itself among the names."""
        self._names: dict[str, str] = {}
        self._is_name = is_name

    def allow(self, name: str, match: Match) -> bool:
        """Whether ``name`` may mean this. Raises DataError where another file's name means it."""
        if match.rule < _ENDING:
            return True
        if match.rule >= _PATH and self._is_name(match.target):
            return False  # it is in another folder, and only its namesake is here
        other = self._names.setdefault(match.target, name)
        endings = {each[0].lower() for each in map(_ENDINGS.search, (name, other)) if each}
        if len(endings) > 1 or not is_same_path(name, other):
            raise DataError(
                f'"{other}" and "{name}" may both mean "{match.target}": write the id as it is '
                "where it is meant"
            )
        return True


def fields_beside(name: str, caption: str) -> Iterator[str]:
    """The possible fields of a line without a header beside its first one."""
    for separator in (",", ";", "\t"):
        if separator in caption:
            yield from (part.strip() for part in caption.split(separator) if part.strip() != name)
    yield caption


def is_same_path(name: str, other: str) -> bool:
    """Whether one is the end of the other, whole parts of a path, but for endings and case."""
    first, second = ("/" + _keys(each)[_ENDING].casefold().lstrip("/") for each in (name, other))
    return first.endswith(second) or second.endswith(first)


def plain_name(name: str) -> str:
    """The name in Unicode's composed form and without a file's ending."""
    return _keys(name)[_ENDING]


def _visible(name: str) -> str:
    """``name`` without zero-width characters and marks of direction, which tables carry along."""
    return "".join(char for char in name if unicodedata.category(char) != "Cf")


def _keys(name: str) -> tuple[str, ...]:
    """The name as each rule compares it."""
    normal = name if name.isascii() else _visible(unicodedata.normalize("NFC", name))
    normal = normal.strip().replace("\\", "/")
    stem = _ENDINGS.sub("", normal)
    last = stem.rpartition("/")[2]
    return name, normal, stem, last, last.casefold()
