"""A store back to PaddleVideo's files."""

from __future__ import annotations

import csv
import os
import pickle
from pathlib import Path
from typing import Any

import lmdb
import numpy as np

from paddlevideo.files.whole import write_folder_whole, write_whole
from paddlevideo.loader.captions.text import writable
from paddlevideo.loader.store import Clip, FeatureStore
from paddlevideo.utils.errors import DataError
from paddlevideo.utils.progress import track

KEY_BYTES = 511  # of LMDB's keys, at most
BATCH = 64  # clips that are written at once


def to_npy(store: FeatureStore, output: Path) -> int:
    """HowTo100M rows in one ``.npy``; returns how many. The format holds all rows in memory.

    Class distributions become dense, several captions are joined by ``!``. Raises DataError where
    ``output`` exists, and for a clip without classes or captions.
    """
    _refuse_existing(output)
    rows = np.empty(len(store), dtype=object)
    for number in track(range(len(store)), "rows", len(store), "clips"):
        rows[number] = _row(store[number])

    def write(partial: Path) -> None:
        with open(partial, "wb") as file:
            np.save(file, rows, allow_pickle=True)

    output.parent.mkdir(parents=True, exist_ok=True)
    write_whole(output, write)
    return len(rows)


def _row(clip: Clip) -> tuple:
    if clip.region_classes is None or clip.action_classes is None or not clip.captions:
        raise DataError(f'clip "{clip.id}": a HowTo100M row needs classes and a caption')
    return (
        clip.regions,
        clip.region_classes.dense(),
        clip.boxes,
        len(clip.regions),
        clip.image_h,
        clip.image_w,
        clip.id,
        "!".join(text.replace("!", ".") for text in clip.captions),
        clip.actions,
        clip.action_classes,
        len(clip.actions),
    )


def to_lmdb(store: FeatureStore, output: Path) -> tuple[int, int]:
    """MSR-VTT records in ``output`` and captions in a .csv beside it; their counts.

    Both are there when all is written, or neither. A folder that still has the .csv in it, where
    it is written first, was interrupted in its last moment, and is replaced. Blank captions are
    left out. Raises DataError where one of them exists, for an id that these files cannot hold, and
    where LMDB cannot write.
    """
    if not _is_interrupted(output):
        _refuse_existing(output)
    table = caption_table(output)
    _refuse_existing(table)
    _check_ids(store)
    captions = 0

    def write(folder: Path) -> None:
        nonlocal captions
        with open(folder / table.name, "w", encoding="utf-8", newline="") as file:
            captions = _write_records(store, folder, csv.writer(file), output)

    write_folder_whole(output, write)
    os.replace(output / table.name, table)
    return len(store), captions


def caption_table(output: Path) -> Path:
    """The CSV of captions that belongs to an LMDB folder: x.csv for x.lmdb, x.v1.csv for x.v1."""
    return output.with_name(output.name.removesuffix(".lmdb") + ".csv")


def _is_interrupted(output: Path) -> bool:
    """Whether ``to_lmdb`` wrote the folder, and had no time to take the captions out of it."""
    return bool(output.name) and (output / caption_table(output).name).is_file()


def _refuse_existing(path: Path) -> None:
    if path.exists():
        raise DataError(f"{path}: exists already; name another one, or remove it")


def _check_ids(store: FeatureStore) -> None:
    """Before anything is written: a key of LMDB, and a field of a line of CSV, from every id."""
    for number in track(range(len(store)), "ids", len(store), "clips"):
        name = store.about(number).id
        where = f'{store.path}: clip {number} ("{name:.60}")'
        length = len(writable(name, where).encode())
        if not 0 < length <= KEY_BYTES:
            raise DataError(
                f"{where}: an id of {length} bytes, where 1 to {KEY_BYTES} fit into LMDB"
            )
        if name != name.strip() or "\n" in name or "\r" in name:
            raise DataError(
                f"{where}: its id {name!r:.60} begins or ends with a space, or has a line break, "
                "which the CSV of captions cannot hold"
            )


def _write_records(store: FeatureStore, folder: Path, lines: Any, output: Path) -> int:
    """Writes the records into ``folder``, and the captions as ``lines``; returns how many."""
    captions = 0
    try:
        # Without a lock file, which LMDB maps: on a full disk that would end the process.
        with lmdb.open(str(folder), map_size=1 << 40, lock=False) as environment:
            for start in track(range(0, len(store), BATCH), "records", unit="batches"):
                numbers = range(start, min(start + BATCH, len(store)))
                captions += _write_batch(store, numbers, environment, lines)
    except lmdb.Error as error:
        raise DataError(f"{output}: cannot be written ({error}). Make room for it") from None
    return captions


def _write_batch(
    store: FeatureStore, numbers: range, environment: lmdb.Environment, lines: Any
) -> int:
    captions = 0
    with environment.begin(write=True) as transaction:
        for number in numbers:
            clip = store[number]
            value = pickle.dumps(_record(clip), protocol=4)
            if not transaction.put(clip.id.encode(), value, overwrite=False):
                raise DataError(
                    f'{store.path}: clip {number}: an earlier clip has its id "{clip.id}". '
                    "tools/prepare_data.py validate --fix leaves it out"
                )
            for text in filter(None, (" ".join(text.split()) for text in clip.captions)):
                lines.writerow([clip.id, writable(text, f'{store.path}: clip "{clip.id}"')])
                captions += 1
    return captions


def _record(clip: Clip) -> dict[str, object]:
    return {
        "video_id": clip.id,
        "image_h": clip.image_h,
        "image_w": clip.image_w,
        "features": clip.regions,
        "boxes": clip.boxes,
        "action_features": clip.actions,
    }
