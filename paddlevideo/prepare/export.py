"""A store back to PaddleVideo's files."""

from __future__ import annotations

import csv
import pickle
from pathlib import Path

import lmdb
import numpy as np

from paddlevideo.loader.store import Clip, FeatureStore
from paddlevideo.utils.errors import DataError
from paddlevideo.utils.files import write_whole
from paddlevideo.utils.progress import track


def to_npy(store: FeatureStore, output: Path) -> int:
    """HowTo100M rows in one ``.npy``; returns how many. The format holds all rows in memory.

    Class distributions become dense, several captions are joined by ``!``. Raises DataError for a
    clip without classes or captions.
    """
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
    """MSR-VTT records in ``output`` and captions in ``output`` with the ending .csv; their counts.

    Raises DataError where ``output`` exists, or an id is too long for LMDB's keys.
    """
    if output.exists():
        raise DataError(f"{output}: exists already; name another folder, or remove it")
    output.mkdir(parents=True)
    captions = 0
    with (
        lmdb.open(str(output), map_size=1 << 40) as environment,
        open(output.with_suffix(".csv"), "w", encoding="utf-8", newline="") as file,
    ):
        lines = csv.writer(file)
        for number in track(range(len(store)), "records", len(store), "clips"):
            clip = store[number]
            key = clip.id.encode("utf-8")
            if not 0 < len(key) <= environment.max_key_size():
                raise DataError(f'clip "{clip.id:.60}...": LMDB keys end at 511 bytes')
            with environment.begin(write=True) as transaction:
                transaction.put(key, pickle.dumps(_record(clip), protocol=4))
            for text in clip.captions:
                lines.writerow([clip.id, " ".join(text.split())])
                captions += 1
    return len(store), captions


def _record(clip: Clip) -> dict[str, object]:
    return {
        "video_id": clip.id,
        "image_h": clip.image_h,
        "image_w": clip.image_w,
        "features": clip.regions,
        "boxes": clip.boxes,
        "action_features": clip.actions,
    }
