"""What a feature file tells of its clips beside their features: their videos and captions."""

from __future__ import annotations

import os
from collections import defaultdict
from contextlib import suppress
from functools import cached_property
from pathlib import Path

from paddlevideo.loader.captions.files import read_lines
from paddlevideo.loader.store import StoreRecords, is_store
from paddlevideo.loader.store.records import About
from paddlevideo.prepare.export import caption_table
from paddlevideo.report.clip_videos import Origin
from paddlevideo.utils.errors import DataError


def origin_of(about: About) -> Origin:
    """Where the clip of a record comes from."""
    return Origin(about.id, about.video, about.source, about.span)


class ClipNotes:
    """Origins and captions of the clips of a feature store, or of PaddleVideo's LMDB.

    An LMDB knows no videos; its captions are those of the CSV of the same name beside it, if there
    is one, as ``tools/prepare_data.py convert --to lmdb`` writes it.
    """

    def __init__(self, features: str | os.PathLike[str] | None) -> None:
        """Without ``features`` nothing is known. Raises DataError for an unfinished store."""
        self._path = None if features is None else Path(features)
        self._store = StoreRecords(features) if features and is_store(features) else None

    @cached_property
    def _table(self) -> dict[str, list[str]]:
        return {} if self._path is None or self._store else _captions_beside(self._path)

    def origin(self, clip: str) -> Origin:
        """Where a clip comes from, as far as it is known."""
        about = self._store.about(clip) if self._store else None
        return Origin(clip) if about is None else origin_of(about)

    def captions(self, clip: str) -> list[str]:
        """The captions of a clip that are known and not blank."""
        about = self._store.about(clip) if self._store else None
        if about is not None:
            return [text for text in about.captions if text.strip()]
        return self._table.get(clip, [])


def _captions_beside(path: Path) -> dict[str, list[str]]:
    """Captions by clip of the table beside an LMDB; none where that holds something else."""
    table = caption_table(path.parent if path.name == "data.mdb" else path)
    captions: dict[str, list[str]] = defaultdict(list)
    if table.is_file():
        with suppress(DataError):
            for line in read_lines(table):
                if line.text and not line.is_video:
                    captions[line.name].append(line.text)
    return dict(captions)
