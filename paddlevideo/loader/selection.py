"""Lists of the videos or clips to use or to leave out."""

from __future__ import annotations

import logging
from array import array
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np

from paddlevideo.loader.captions.clip_csv import CLIP_NAMES, first_of
from paddlevideo.loader.captions.matching import CLIP, ClipNames, describe_rules, videos_of
from paddlevideo.loader.captions.table import Table
from paddlevideo.utils.errors import DataError
from paddlevideo.utils.printable import is_utf8, some
from paddlevideo.utils.text_files import open_text

MissingIds = Literal["error", "warn"]
_VIDEO = CLIP + 1
#: Number of unmatched lines in a message, and of those for which the nearest id is looked up.
_NAMED, _COMPARED = 100, 5
log = logging.getLogger("paddlevideo")


def read_list(path: str | Path) -> set[str]:
    """Returns the names in a text file, one per line, or in the clip column of a table.

    Empty lines and lines that begin with # are skipped. Raises DataError if the file cannot be
    read or names nothing.
    """
    table = Table(path, lambda names: bool(first_of(CLIP_NAMES, names)))
    if table.names:
        column = first_of(CLIP_NAMES, table.names)
        lines = [row.get(column) for row in table]
    else:
        with open_text(path) as file:
            lines = [line.strip() for line in file]
    names = {line for line in lines if line and not line.startswith("#")}
    if not names:
        raise DataError(f"{path}: names no clips: write a clip's or a video's id on each line")
    return names


@dataclass
class _List:
    """A list of names, and those of them that matched a clip."""

    path: str | Path
    is_wanted: bool
    names: set[str]
    matched: set[str] = field(default_factory=set)
    #: Ids of clips and videos that other names were matched to by a rule.
    matched_ids: set[str] = field(default_factory=set)

    def contains(self, clip: str) -> bool:
        """Whether the list names the clip, or its video."""
        named = {clip, clip.rpartition("_")[0]} & self.names
        self.matched |= named
        return bool(named) or not self.matched_ids.isdisjoint((clip, *videos_of(clip)))


def select_clips(
    clips: Iterable[str],
    only: str | Path | None = None,
    exclude: str | Path | None = None,
    source: str = "",
    missing_ids: MissingIds = "error",
) -> np.ndarray:
    """Returns indices (n,) int64 of the clips that ``only`` names and ``exclude`` does not.

    A list names clips, or videos: the clip ``abc_07`` is a part of the video ``abc``. Other
    names are matched like those of captions, see :mod:`paddlevideo.loader.captions.matching`.
    Without lists all clips are kept. ``source`` is the clips' file, for messages. Iterates over
    ``clips`` once, and twice more if names are not ids. Raises DataError if the lists leave no
    clip, if one matches no clip at all, and, unless ``missing_ids`` is "warn", if a line matches
    none: after a typing error in ``exclude`` a held-out clip would be trained on.
    """
    lists = [
        _List(path, is_wanted, read_list(path))
        for path, is_wanted in ((only, True), (exclude, False))
        if path
    ]
    clips = list(clips) if isinstance(clips, Iterator) else clips
    kept = _kept(clips, lists)
    if any(each.names - each.matched for each in lists):
        names = _known(clips)
        for each in lists:
            _match(each, names, source, missing_ids)
        if any(each.matched_ids for each in lists):
            kept = _kept(clips, lists)
    if not kept:
        raise DataError(f"{source}: only={only} and exclude={exclude} leave no clip")
    return np.frombuffer(kept, np.int64)


def _kept(clips: Iterable[str], lists: list[_List]) -> array[int]:
    kept = array("q")
    for index, clip in enumerate(clips):
        # A list, not a generator: every list records which of its names match.
        if all([each.contains(clip) == each.is_wanted for each in lists]):
            kept.append(index)
    return kept


def _known(clips: Iterable[str]) -> ClipNames:
    names = ClipNames(clips)
    names.add((video for clip in clips for video in videos_of(clip) if is_utf8(clip)), _VIDEO)
    return names


def _match(each: _List, known: ClipNames, source: str, missing_ids: MissingIds) -> None:
    """Matches names that are not ids by rules. Raises DataError if one matches nothing."""
    rules: Counter[int] = Counter()
    missing = []
    for name in sorted(each.names - each.matched):
        match = known.find(name, (CLIP, _VIDEO))
        if match is None:
            missing.append(name)
        else:
            each.matched_ids.add(match.target)
            rules[match.rule] += 1
    if rules:
        log.info("%s: %s matched %s", each.path, source, describe_rules(rules))
    if missing:
        _report_missing(each, missing, known, source, missing_ids)


def _report_missing(
    each: _List, missing: list[str], known: ClipNames, source: str, missing_ids: MissingIds
) -> None:
    nearest = {name: known.nearest(name) for name in missing[:_COMPARED]}
    shown = some(
        (
            f'"{name}"' + (f' (the nearest is "{near}")' if (near := nearest.get(name)) else "")
            for name in missing
        ),
        _NAMED,
    )
    if len(missing) == len(each.names):
        first = next(known.names(), "")
        raise DataError(
            f"{each.path}: names none of the clips of {source}, such as "
            f'"{first}": {shown}. Write the ids of clips, or of videos without "_NUMBER"'
        )
    text = (
        f"{each.path}: {len(missing)} of {len(each.names)} lines name no clip and no video of "
        f"{source}: {shown}"
    )
    if missing_ids == "warn":
        log.warning("%s", text)
        return
    raise DataError(
        f"{text}. Correct or remove them; if clips may be missing, set missing_ids: warn in the "
        "data set's section"
    )
