"""Converts a store to PaddleVideo's files."""

from __future__ import annotations

import csv
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import lmdb

from paddlevideo.files.whole import write_folder_whole
from paddlevideo.loader.clips.clip import Clip
from paddlevideo.loader.clips.records import write_records
from paddlevideo.loader.clips.rows import write_rows
from paddlevideo.loader.store import FeatureStore
from paddlevideo.utils.errors import DataError
from paddlevideo.utils.progress import track
from paddlevideo.utils.text_files import writable

KEY_BYTES = 511  # maximum length of LMDB's keys


def to_npy(store: FeatureStore, output: Path) -> int:
    """Writes HowTo100M rows in one ``.npy``, which requires all in memory. Returns their number.

    Class distributions become dense, several captions are joined by ``!``. Raises DataError if
    ``output`` exists, and for a clip without classes or captions.
    """
    _refuse_existing(output)
    write_rows(output, (store[index] for index in _indices(store, "rows")), len(store))
    return len(store)


def _indices(store: FeatureStore, work: str) -> Iterator[int]:
    return track(range(len(store)), work, len(store), "clips")


def to_lmdb(store: FeatureStore, output: Path) -> tuple[int, int]:
    """Writes MSR-VTT records in ``output`` and captions in a .csv beside it; returns their numbers.

    Both appear when all is written, or neither. The .csv is first written inside the folder: one
    that still has it was interrupted at the very end, and is replaced. Blank captions are left out.
    Raises DataError if one of them exists, for an id that these files cannot represent, and if LMDB
    cannot write.
    """
    if not _is_interrupted(output):
        _refuse_existing(output)
    table = caption_table(output)
    _refuse_existing(table)
    _check_ids(store)
    captions = 0

    def with_captions_written(lines: Any) -> Iterator[Clip]:
        """Yields all clips, and writes their captions."""
        nonlocal captions
        for index in _indices(store, "records"):
            clip = store[index]
            for text in filter(None, (" ".join(text.split()) for text in clip.captions)):
                lines.writerow([clip.id, writable(text, f'{store.path}: clip "{clip.id}"')])
                captions += 1
            yield clip

    def write(folder: Path) -> None:
        with open(folder / table.name, "w", encoding="utf-8", newline="") as file:
            try:
                write_records(folder, with_captions_written(csv.writer(file)))
            except lmdb.Error as error:
                text = f"{output}: cannot be written ({error}). Free some space"
                raise DataError(text) from None

    write_folder_whole(output, write)
    os.replace(output / table.name, table)
    return len(store), captions


def caption_table(output: Path) -> Path:
    """Returns the CSV of captions of an LMDB folder: x.csv for x.lmdb, x.v1.csv for x.v1."""
    return output.with_name(output.name.removesuffix(".lmdb") + ".csv")


def _is_interrupted(output: Path) -> bool:
    """Whether ``to_lmdb`` wrote the folder, but did not move the captions out of it."""
    return bool(output.name) and (output / caption_table(output).name).is_file()


def _refuse_existing(path: Path) -> None:
    if path.exists():
        raise DataError(f"{path}: already exists; name another one, or remove it")


def _check_ids(store: FeatureStore) -> None:
    """Checks that every id can be a key of LMDB and a field of CSV, before anything is written."""
    for index in _indices(store, "ids"):
        name = store.about(index).id
        where = f'{store.path}: clip {index} ("{name:.60}")'
        length = len(writable(name, where).encode())
        if not 0 < length <= KEY_BYTES:
            raise DataError(f"{where}: an id of {length} bytes; LMDB allows 1 to {KEY_BYTES}")
        if name != name.strip() or "\n" in name or "\r" in name:
            raise DataError(
                f"{where}: its id {name!r:.60} begins or ends with a space, or has a line break, "
                "which the CSV of captions cannot represent"
            )
