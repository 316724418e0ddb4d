"""A store as the data sets see it: in the place of PaddleVideo's rows and of its records."""

from __future__ import annotations

import os
from collections.abc import Iterable
from functools import cached_property
from pathlib import Path
from typing import Any

from paddlevideo.loader.regions import check_boxes
from paddlevideo.loader.store.manifest import COMPLETE, UNFINISHED
from paddlevideo.loader.store.reader import FeatureStore
from paddlevideo.loader.store.records import Clip
from paddlevideo.utils.errors import DataError


def is_store(path: str | os.PathLike[str]) -> bool:
    """Whether ``path`` is the folder of a feature store, finished or not."""
    return any((Path(path) / name).is_file() for name in (COMPLETE, UNFINISHED))


class StoreRows:
    """Clips for pre-training, as :class:`paddlevideo.loader.legacy.RowFile` gives them.

    A row has ``captions``, all of the clip's, beside ``caption``, the first. Ids are read from all
    records when they are first asked for; nothing else grows with the store.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = str(path)
        self.store = FeatureStore(path)
        sizes = self.store.manifest.sizes
        self.widths = [sizes.region, sizes.region_classes, sizes.action]
        if not len(self.store):
            raise DataError(f"{self.path}: holds no clips")

    def __len__(self) -> int:
        return len(self.store)

    @cached_property
    def ids(self) -> list[str]:
        """The ids of all clips, in order. Reads the whole store."""
        return [self.store[number].id for number in range(len(self.store))]

    def name_of(self, index: int) -> str:
        """The id of clip ``index``."""
        return self.store[index].id

    def __getitem__(self, index: int) -> dict[str, Any]:
        """Clip ``index``; keys and errors as for a row of PaddleVideo's file."""
        clip = self.store[index]
        where = f'{self.path}: clip {index} ("{clip.id}")'
        if clip.region_classes is None or clip.action_classes is None:
            raise DataError(f"{where}: has no classes: this store was made for retrieval alone")
        if not len(clip.regions):
            raise DataError(f"{where}: has no regions. Leave the clip out")
        captions = [text for text in clip.captions if text.strip()]
        if not captions:
            raise DataError(f"{where}: has no caption. Leave the clip out, or give it one")
        check_boxes(clip.boxes, clip.image_h, clip.image_w, where)
        return {
            "region_feat": clip.regions,
            "region_target": clip.region_classes.dense(),
            "boxes": clip.boxes,
            "image_h": clip.image_h,
            "image_w": clip.image_w,
            "caption": captions[0],
            "captions": captions,
            "action_feat": clip.actions,
            "action_target": clip.action_classes,
        }


class StoreRecords:
    """Clips by id, as :class:`paddlevideo.loader.legacy.RecordStore` gives them."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = str(path)
        self.store = FeatureStore(path)

    def __len__(self) -> int:
        return len(self.store)

    def ids(self) -> list[str]:
        """The ids of all clips, in order. Reads the whole store."""
        return [self.store[number].id for number in range(len(self.store))]

    def missing(self, ids: Iterable[str]) -> list[str]:
        """Those of ``ids`` that have no record."""
        return [name for name in ids if self.store.find(name) is None]

    def __getitem__(self, name: str) -> dict[str, Any]:
        """The record of clip ``name``; keys and errors as for PaddleVideo's records."""
        number = self.store.find(name)
        if number is None:
            raise DataError(f'{self.path}: clip "{name}": has no record')
        clip: Clip = self.store[number]
        where = f'{self.path}: clip "{name}"'
        if not len(clip.regions):
            raise DataError(f"{where}: has no regions. Leave the clip out")
        check_boxes(clip.boxes, clip.image_h, clip.image_w, where)
        return {
            "features": clip.regions,
            "boxes": clip.boxes,
            "image_h": clip.image_h,
            "image_w": clip.image_w,
            "action_features": clip.actions,
        }
