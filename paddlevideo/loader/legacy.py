"""PaddleVideo's files, read safely: HowTo100M rows (.npy) and MSR-VTT records (LMDB)."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import lmdb
import numpy as np

from paddlevideo import safe_pickle
from paddlevideo.loader.lmdb_files import environment
from paddlevideo.loader.regions import as_caption, as_count, as_matrix, check_boxes
from paddlevideo.utils.errors import DataError
from paddlevideo.utils.printable import some

ROW_LENGTH = 11
_RECORD_KEYS = ("video_id", "image_h", "image_w", "features", "boxes", "action_features")


class RowFile:
    """The rows of a HowTo100M ``.npy`` file: a sequence of checked dictionaries.

    The file is mapped: rows are read when they are used. Length, row sizes and clip ids are
    checked when it is opened, the contents of a row whenever it is read. Raises DataError.
    """

    def __init__(self, path: str | os.PathLike[str]):
        self.path = str(path)
        self.rows = self._open()
        self.ids = [str(row[6]) for row in self.rows]
        repeated = [name for name, count in Counter(self.ids).items() if count > 1]
        if repeated:
            raise DataError(
                f"{self.path}: {len(repeated)} clip ids occur in several rows: {some(repeated)}. "
                "Keep one row for each clip"
            )
        first = self.rows[0]
        # The first row sets the widths that all others must have.
        self.widths = [self._width(first[place], place) for place in (0, 1, 8)]
        self.action_classes = 0  # not known without reading all rows

    def _open(self) -> list[Any]:
        array = safe_pickle.load_npy(self.path)
        if array.dtype != object or array.ndim not in (1, 2):
            raise DataError(f"{self.path}: not an object array of HowTo100M rows")
        rows = list(array)
        if not rows:
            raise DataError(f"{self.path}: holds no rows")
        for number, row in enumerate(rows):
            length = len(row) if isinstance(row, (tuple, list, np.ndarray)) else 0
            if length != ROW_LENGTH:
                raise DataError(
                    f"{self.path}: row {number} has {length} entries, where {ROW_LENGTH} belong"
                )
        return rows

    def _width(self, array: Any, place: int) -> int:
        if not isinstance(array, np.ndarray) or array.ndim != 2:
            raise DataError(f"{self.path}: row 0: entry {place} is not a two-dimensional array")
        return array.shape[1]

    def __len__(self) -> int:
        return len(self.rows)

    def name_of(self, index: int) -> str:
        """The id of clip ``index``."""
        return self.ids[index]

    def captions_of(self, index: int) -> list[str]:
        """The alternatives of row ``index``'s caption that are not blank."""
        caption = self.rows[index][7]
        parts = caption.split("!") if isinstance(caption, str) else []
        return [part.strip() for part in parts if part.strip()]

    def __getitem__(self, index: int) -> dict[str, Any]:
        """Row ``index``: clip, its id, region_feat (n, F), region_target (n, C), boxes (n, 4),
        image_h, image_w, caption, action_feat (m, G), action_target (m,) int64; float32.

        Raises DataError.
        """
        row = self.rows[index]
        where = f'{self.path}: row {index} (clip "{self.ids[index]}")'
        regions, actions = as_count(row[3], "n", where), as_count(row[10], "m", where)
        if regions == 0:
            raise DataError(f"{where}: has no regions. Leave the clip out")
        region_width, classes, action_width = self.widths
        sample: dict[str, Any] = {
            "clip": self.ids[index],
            "region_feat": as_matrix(row[0], "region features", where, regions, region_width),
            "region_target": as_matrix(row[1], "class distribution", where, regions, classes),
            "boxes": as_matrix(row[2], "boxes", where, regions, 4),
            "image_h": as_count(row[4], "image height", where),
            "image_w": as_count(row[5], "image width", where),
            "caption": as_caption(row[7], where),
            "action_feat": as_matrix(row[8], "action features", where, actions, action_width),
            "action_target": _classes(row[9], actions, where),
        }
        check_boxes(sample["boxes"], sample["image_h"], sample["image_w"], where)
        _check_distribution(sample["region_target"], where)
        return sample


def _classes(array: Any, count: int, where: str) -> np.ndarray:
    if not isinstance(array, np.ndarray) or array.dtype.kind not in "iu":
        raise DataError(f"{where}: action classes are not an array of whole numbers")
    if array.shape != (count,):
        raise DataError(f"{where}: action classes have shape {array.shape}, not ({count},)")
    return np.asarray(array, np.int64)


def _check_distribution(target: np.ndarray, where: str) -> None:
    if target.min() < 0 or not target.any(axis=1).all():
        raise DataError(
            f"{where}: a class distribution has negative entries or is all zero. "
            "It should hold probabilities"
        )


class RecordStore:
    """MSR-VTT records in an LMDB folder or file: checked dictionaries by clip id.

    The environment is opened when it is first used in a process, and again after a fork: LMDB
    forbids carrying it over. Several stores of one path in a process share it.
    """

    def __init__(self, path: str | os.PathLike[str]):
        self.path = str(path)

    @contextmanager
    def reading(self) -> Iterator[lmdb.Transaction]:
        """A transaction for use at once; what LMDB itself reports becomes a DataError."""
        try:
            with environment(self.path).begin() as transaction:
                yield transaction
        except lmdb.Error as fault:
            raise DataError(
                f"{self.path}: not a whole LMDB ({fault}). Copy or write it again"
            ) from None

    def __len__(self) -> int:
        with self.reading() as transaction:
            return transaction.stat()["entries"]

    def ids(self) -> list[str]:
        """The ids of all clips, in the store's order. Raises DataError on a key that is no text."""
        with self.reading() as transaction, transaction.cursor() as cursor:
            keys = [bytes(key) for key in cursor.iternext(keys=True, values=False)]
        try:
            return [key.decode() for key in keys]
        except UnicodeDecodeError as fault:
            raise DataError(f"{self.path}: a key is not a clip id ({fault})") from None

    def missing(self, ids: Iterable[str]) -> list[str]:
        """Those of ``ids`` that have no record."""
        with self.reading() as transaction, transaction.cursor() as cursor:
            return [name for name in ids if not cursor.set_key(name.encode())]

    def __getitem__(self, name: str) -> dict[str, Any]:
        """The record of clip ``name``: features (n, F), boxes (n, 4), image_h, image_w,
        action_features (m, G); float32. Raises DataError; KeyError is never raised.
        """
        where = f'{self.path}: clip "{name}"'
        with self.reading() as transaction:
            # Without buffers=True these are bytes: nothing refers to the map afterwards.
            value = transaction.get(name.encode())
        if value is None:
            raise DataError(f"{where}: has no record")
        record = safe_pickle.loads(bytes(value), where)
        if not isinstance(record, dict):
            raise DataError(f"{where}: the record is a {type(record).__name__}, not a dictionary")
        absent = [key for key in _RECORD_KEYS if key not in record]
        if absent:
            raise DataError(f"{where}: the record lacks {some(absent)}")
        if record["video_id"] != name:
            raise DataError(f'{where}: the record is that of clip "{record["video_id"]!s:.60}"')
        return _checked_record(record, where)


def _checked_record(record: dict[str, Any], where: str) -> dict[str, Any]:
    regions, actions = record["features"], record["action_features"]
    if not all(isinstance(array, np.ndarray) and array.ndim == 2 for array in (regions, actions)):
        raise DataError(f"{where}: features and action_features have two dimensions each")
    if len(regions) == 0:
        raise DataError(f"{where}: has no regions. Leave the clip out")
    checked: dict[str, Any] = {
        "features": as_matrix(regions, "features", where, len(regions), None),
        "boxes": as_matrix(record["boxes"], "boxes", where, len(regions), 4),
        "image_h": as_count(record["image_h"], "image_h", where),
        "image_w": as_count(record["image_w"], "image_w", where),
        "action_features": as_matrix(actions, "action_features", where, len(actions), None),
    }
    check_boxes(checked["boxes"], checked["image_h"], checked["image_w"], where)
    return checked
