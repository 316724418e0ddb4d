"""A store as the data sets see it: in the place of PaddleVideo's rows and of its records."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from paddlevideo.loader.store.manifest import COMPLETE, UNFINISHED
from paddlevideo.loader.store.reader import FeatureStore
from paddlevideo.loader.store.records import About
from paddlevideo.utils.errors import DataError


def is_store(path: str | os.PathLike[str]) -> bool:
    """Whether ``path`` is the folder of a feature store, finished or not."""
    return any((Path(path) / name).is_file() for name in (COMPLETE, UNFINISHED))


@dataclass(frozen=True)
class _Ids:
    """The ids of a store's clips, read whenever they are gone through."""

    store: FeatureStore

    def __iter__(self) -> Iterator[str]:
        return self.store.ids()


class StoreRows:
    """Clips for pre-training, as :class:`paddlevideo.loader.legacy.RowFile` gives them.

    A row has ``captions``, all of the clip's, beside ``caption``, the first. A clip without classes
    lacks ``region_target`` or ``action_target``. Nothing grows with the store.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = str(path)
        self.store = FeatureStore(path)
        sizes = self.store.manifest.sizes
        self.widths = [sizes.region, sizes.region_classes, sizes.action]
        self.action_classes = sizes.action_classes
        if not len(self.store):
            raise DataError(f"{self.path}: holds no clips")

    def __len__(self) -> int:
        return len(self.store)

    @property
    def ids(self) -> Iterable[str]:
        """The ids of all clips, in order. Each time it reads the head of every record."""
        return _Ids(self.store)

    def name_of(self, index: int) -> str:
        """The id of clip ``index``."""
        return self.store.about(index).id

    def captions_of(self, index: int) -> list[str]:
        """The captions of clip ``index`` that are not blank."""
        return [text for text in self.store.about(index).captions if text.strip()]

    def __getitem__(self, index: int) -> dict[str, Any]:
        """Clip ``index``; keys and errors as for a row of PaddleVideo's file."""
        clip = self.store.usable(index)
        captions = [text for text in clip.captions if text.strip()]
        if not captions:
            raise DataError(
                f'{self.path}: clip {index} ("{clip.id}"): has no caption. Leave the clip out, or '
                "give it one"
            )
        row = {
            "clip": clip.id,
            "region_feat": clip.regions,
            "boxes": clip.boxes,
            "image_h": clip.image_h,
            "image_w": clip.image_w,
            "caption": captions[0],
            "captions": captions,
            "action_feat": clip.actions,
        }
        if clip.region_classes is not None:
            row["region_target"] = clip.region_classes.dense()
        if clip.action_classes is not None:
            row["action_target"] = clip.action_classes
        return row

    def narration(self, index: int, neighbours: int, words: int) -> str:
        """What is said around clip ``index`` in its video, in order, each text once.

        From the clip's own captions it goes outward, to one clip before and one after in turn, up
        to ``neighbours`` of each, and on either side as long as no more than ``words`` words come
        together. Clips of a video lie side by side in a store that was packed video by video.
        """
        own = self.store.about(index)
        told = {index: _spoken(own)}
        known = set(told[index])
        left = words - _words(told[index])
        open_sides = [-1, 1]
        for distance in range(1, neighbours + 1):
            for side in tuple(open_sides):
                place = index + side * distance
                new = [text for text in self._spoken_in(own.video, place) if text not in known]
                if _words(new) > left or not self._is_of(own.video, place):
                    open_sides.remove(side)
                    continue
                told[place] = new
                known.update(new)
                left -= _words(new)
        return " ".join(text for place in sorted(told) for text in told[place])

    def _is_of(self, video: str, place: int) -> bool:
        return video != "" and 0 <= place < len(self) and self.store.about(place).video == video

    def _spoken_in(self, video: str, place: int) -> list[str]:
        return _spoken(self.store.about(place)) if self._is_of(video, place) else []


def _spoken(about: About) -> list[str]:
    """The captions of a clip that are not blank, in order of time where that is known."""
    times = about.times or [(0.0, 0.0)] * len(about.captions)
    texts = [(time[0], text) for time, text in zip(times, about.captions, strict=True)]
    return [text for _, text in sorted(texts, key=lambda timed: timed[0]) if text.strip()]


def _words(texts: Iterable[str]) -> int:
    return sum(len(text.split()) for text in texts)


class StoreRecords:
    """Clips by id, as :class:`paddlevideo.loader.legacy.RecordStore` gives them."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = str(path)
        self.store = FeatureStore(path)

    def __len__(self) -> int:
        return len(self.store)

    def ids(self) -> list[str]:
        """The ids of all clips, in order. Reads the head of every record."""
        return list(self.store.ids())

    def missing(self, ids: Iterable[str]) -> list[str]:
        """Those of ``ids`` that have no record."""
        return [name for name in ids if self.store.find(name) is None]

    def about(self, name: str) -> About | None:
        """What the record of clip ``name`` says beside its arrays, or None where there is none."""
        number = self.store.find(name)
        return None if number is None else self.store.about(number)

    def __getitem__(self, name: str) -> dict[str, Any]:
        """The record of clip ``name``; keys and errors as for PaddleVideo's records."""
        number = self.store.find(name)
        if number is None:
            raise DataError(f'{self.path}: clip "{name}": has no record')
        clip = self.store.usable(number)
        return {
            "features": clip.regions,
            "boxes": clip.boxes,
            "image_h": clip.image_h,
            "image_w": clip.image_w,
            "action_features": clip.actions,
        }
