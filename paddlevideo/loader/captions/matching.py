"""Matches names to clips: by id, else by a few rules whose uses are counted and logged."""

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

#: Tried in this order; the first that matches a clip counts.
RULES = (
    "by id",
    "by Unicode normalisation",
    "after dropping the file's ending",
    "by the end of its path",
    "ignoring upper and lower case",
)
_ENDING, _PATH = 2, 3
#: Endings of one clip in several formats, which are dropped on both sides.
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
#: Any other ending is dropped from the name only.
_ANY_ENDING = re.compile(r"\.\w*[a-zA-Z]\w*$")
#: Maximum number of names to compare with an unknown one.
_MAX_COMPARED = 5000

CLIP = 0
#: ``<video>_<start>_<end>``, seconds; the video's name may have underscores too.
TIMED_ID = re.compile(r"(?P<video>.+)_(?P<start>\d+(?:\.\d+)?)_(?P<end>\d+(?:\.\d+)?)")
_NUMBERED_ID = re.compile(r"(?P<video>.+)_\d+")


def videos_of(clip: str) -> list[str]:
    """Returns the videos that a clip id VIDEO_START_END or VIDEO_NUMBER may belong to."""
    matches = (pattern.fullmatch(clip) for pattern in (TIMED_ID, _NUMBERED_ID))
    return [match["video"] for match in matches if match]


class Match(NamedTuple):
    """The match of a name: ``target``, of a kind, by ``RULES[rule]``."""

    target: str
    kind: int
    rule: int


class ClipNames:
    """The ids and other names of clips, in a database on the disk.

    Each name has a kind, a number of the caller's choice; CLIP is the kind of ids.
    """

    def __init__(self, ids: Iterable[str] = ()) -> None:
        with database_errors():
            self._base = temporary_database(
                "CREATE TABLE names (level INT, key TEXT, kind INT, target TEXT, "
                "PRIMARY KEY (level, key, kind, target)) WITHOUT ROWID;"
            )
        self._has_rule_keys = False
        self.add(ids)

    def add(self, names: Iterable[str], kind: int = CLIP) -> None:
        """Adds names; must not be called after the first look-up."""
        assert not self._has_rule_keys
        rows = ((0, name, kind, name) for name in names if is_utf8(name))
        with database_errors():
            self._base.executemany("INSERT OR IGNORE INTO names VALUES (?, ?, ?, ?)", rows)

    def find(self, name: str, kinds: Sequence[int] = (CLIP,)) -> Match | None:
        """Returns the match of ``name``, or None; ``kinds`` are in order of preference.

        Raises DataError if it is ambiguous.
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
                        "write the exact id"
                    )
                if named:
                    return Match(named[0], kind, level)
        return None

    def has(self, name: str, kinds: Sequence[int] = (CLIP,)) -> bool:
        """Whether ``name`` matches one or more names of these kinds."""
        try:
            return self.find(name, kinds) is not None
        except DataError:
            return True

    def _targets(self, name: str, level: int, key: str) -> list[tuple[str, int]]:
        if level and not self._has_rule_keys:
            self._add_rule_keys()
        query = "SELECT target, kind FROM names WHERE level = ? AND key = ? LIMIT 1000"
        with database_errors():
            rows = self._base.execute(query, (level, key)).fetchall()
        if level < _PATH:
            return rows
        return [row for row in rows if is_same_path(name, row[0])]

    def _add_rule_keys(self) -> None:
        """Adds the keys of all names by all rules: only needed if a name is not an id."""
        self._has_rule_keys = True
        with database_errors():
            rows = self._base.execute("SELECT target, kind FROM names WHERE level = 0").fetchall()
            by_rule = (
                (level, key, kind, target)
                for target, kind in rows
                for level, key in enumerate(_keys(target))
                if level
            )
            self._base.executemany("INSERT OR IGNORE INTO names VALUES (?, ?, ?, ?)", by_rule)

    def names(self, kind: int = CLIP) -> Iterator[str]:
        """Returns the names of a kind."""
        query = "SELECT target FROM names WHERE level = 0 AND kind = ?"
        return (target for (target,) in self._base.execute(query, (kind,)))

    def hint(self, name: str, lines: Sequence[tuple[str, str]]) -> str:
        """Returns why ``name``, of one of the ``lines`` (name, caption), may be unknown."""
        if self.is_in_captions(lines[:100]):
            return (
                ". The ids seem to be in another column: write a header line that names the "
                'columns, such as "caption,clip"'
            )
        pieces = [clip for clip in islice(self.names(), _MAX_COMPARED) if name in videos_of(clip)]
        if pieces:
            return (
                f'. "{name}" is a video, and its clips are called "{pieces[0]}", ...: name these '
                "instead"
            )
        near = self.nearest(name)
        return f'. The nearest to "{name}" is "{near}"' if near else ""

    def is_in_captions(self, lines: Iterable[tuple[str, str]]) -> bool:
        """Whether the ids are in the captions instead of the names."""
        fields = (field for name, caption in lines for field in fields_beside(name, caption))
        return any(self.has(field) for field in fields)

    def nearest(self, name: str) -> str:
        """Returns the id most like ``name``, or an empty string."""
        known = list(islice(self.names(), _MAX_COMPARED))
        near = get_close_matches(name, known, n=1)
        return near[0] if near else ""


def match_all(names: Collection[str], ids: Iterable[str]) -> dict[str, Match]:
    """Returns the matches of ``names`` by name, without those that match nothing.

    Raises DataError if a name matches two ids, or names of two files match one.
    """
    known = ClipNames(ids)
    claims = Claims(set(names).__contains__)
    matches = ((name, known.find(name)) for name in names)
    return {name: match for name, match in matches if match and claims.allow(name, match)}


def describe_rules(rules: Mapping[int, int]) -> str:
    """Returns ``"1,204 by id, 37 ignoring upper and lower case"``."""
    return ", ".join(f"{count:,} {RULES[rule]}" for rule, count in sorted(rules.items()) if count)


class Claims:
    """The ids that names other than ids were matched to, to detect conflicts."""

    def __init__(self, is_name: Callable[[str], bool]) -> None:
        """``is_name``: whether an id is itself among the names."""
        self._names: dict[str, str] = {}
        self._is_name = is_name

    def allow(self, name: str, match: Match) -> bool:
        """Whether the match is valid. Raises DataError if the name of another file has the same."""
        if match.rule < _ENDING:
            return True
        if match.rule >= _PATH and self._is_name(match.target):
            return False  # the name is of a file in another folder
        other = self._names.setdefault(match.target, name)
        endings = {each[0].lower() for each in map(_ENDINGS.search, (name, other)) if each}
        if len(endings) > 1 or not is_same_path(name, other):
            raise DataError(
                f'"{other}" and "{name}" may both mean "{match.target}": write the exact id'
            )
        return True


def fields_beside(name: str, caption: str) -> Iterator[str]:
    """Yields the possible fields after the first one of a line without a header."""
    for separator in (",", ";", "\t"):
        if separator in caption:
            yield from (part.strip() for part in caption.split(separator) if part.strip() != name)
    yield caption


def is_same_path(name: str, other: str) -> bool:
    """Whether one path ends with the other, ignoring file endings and case."""
    first, second = ("/" + _keys(each)[_ENDING].casefold().lstrip("/") for each in (name, other))
    return first.endswith(second) or second.endswith(first)


def plain_name(name: str) -> str:
    """Returns the name in Unicode's composed form and without a file's ending."""
    return _keys(name)[_ENDING]


def _visible(name: str) -> str:
    """Returns ``name`` without zero-width characters and direction marks, as tables may have."""
    return "".join(char for char in name if unicodedata.category(char) != "Cf")


def _keys(name: str) -> tuple[str, ...]:
    """Returns the form of the name that each rule compares."""
    normal = name if name.isascii() else _visible(unicodedata.normalize("NFC", name))
    normal = normal.strip().replace("\\", "/")
    stem = _ENDINGS.sub("", normal)
    last = stem.rpartition("/")[2]
    return name, normal, stem, last, last.casefold()
