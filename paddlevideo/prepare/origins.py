"""Videos and captions of the clips of a feature file."""

from __future__ import annotations

import os
from collections import defaultdict
from contextlib import suppress
from functools import cached_property
from pathlib import Path

from paddlevideo.loader.captions.files import read_lines
from paddlevideo.loader.clips.clip import About, non_blank
from paddlevideo.loader.clips.opening import open_clips
from paddlevideo.prepare.export import caption_table
from paddlevideo.report.clip_videos import Origin
from paddlevideo.utils.errors import DataError


def origin_of(about: About) -> Origin:
    """Returns the origin of a clip."""
    return Origin(about.id, about.video, about.source, about.span)


class ClipNotes:
    """Origins and captions of clips, from their feature file or a table beside it.

    An LMDB has no origins; its captions are those of the CSV of the same name beside it, if there
    is one, as ``tools/prepare_data.py convert --to lmdb`` writes it.
    """

    def __init__(self, features: str | os.PathLike[str] | None) -> None:
        """Without ``features`` there are none. Raises DataError for an unfinished store."""
        self._path = Path(features) if features and os.path.exists(features) else None
        self._source = None if self._path is None else open_clips(self._path)

    @cached_property
    def _table(self) -> dict[str, list[str]]:
        return {} if self._path is None else _captions_beside(self._path)

    def _about(self, clip: str) -> About:
        index = self._source.find(clip) if self._source else None
        return About(clip) if index is None or not self._source else self._source.about(index)

    def origin(self, clip: str) -> Origin:
        """Returns the known origin of a clip."""
        return origin_of(self._about(clip))

    def captions(self, clip: str) -> list[str]:
        """Returns the known captions of a clip that are not blank."""
        return non_blank(self._about(clip).captions) or self._table.get(clip, [])


def _captions_beside(path: Path) -> dict[str, list[str]]:
    """Returns the captions by clip of the table beside an LMDB; none if it is another file."""
    table = caption_table(path.parent if path.name == "data.mdb" else path)
    captions: dict[str, list[str]] = defaultdict(list)
    if table.is_file():
        with suppress(DataError):
            for line in read_lines(table):
                if line.text and not line.is_video:
                    captions[line.name].append(line.text)
    return dict(captions)
