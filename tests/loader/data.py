"""Small files in PaddleVideo's layouts, for the tests of the loader."""

from __future__ import annotations

import pickle
from pathlib import Path

import lmdb
import numpy as np

F, C, G = 6, 4, 3  # widths of regions, region classes, actions


def make_row(name="clip0", regions=3, actions=2, dtype=np.float32, caption="stir it!mix it well"):
    rng = np.random.default_rng(abs(hash_of(name)))
    target = rng.random((regions, C)) + 0.1
    low = rng.integers(0, 50, (regions, 2))
    return [
        rng.normal(size=(regions, F)).astype(dtype),
        (target / target.sum(axis=1, keepdims=True)).astype(dtype),
        np.concatenate([low, low + 20], axis=1).astype(np.float32),
        regions,
        80,
        100,
        name,
        caption,
        rng.normal(size=(actions, G)).astype(dtype),
        rng.integers(0, 9, actions),
        actions,
    ]


def hash_of(name: str) -> int:
    """A number that does not change from run to run."""
    return sum(ord(letter) * 31**place for place, letter in enumerate(name)) % 2**32


def save_rows(path: Path, rows) -> str:
    array = np.empty(len(rows), dtype=object)
    for number, row in enumerate(rows):
        array[number] = tuple(row)
    np.save(path, array)
    return str(path)


def make_record(name: str, regions=3, actions=2) -> dict:
    row = make_row(name, regions, actions)
    return {
        "video_id": name,
        "image_h": 80,
        "image_w": 100,
        "features": row[0],
        "boxes": row[2],
        "action_features": row[8],
    }


def save_lmdb(path: Path, records: dict, subdir: bool = True) -> str:
    with (
        lmdb.open(str(path), subdir=subdir, map_size=1 << 24) as store,
        store.begin(write=True) as transaction,
    ):
        for name, record in records.items():
            value = record if isinstance(record, bytes) else pickle.dumps(record, 4)
            transaction.put(name.encode(), value)
    return str(path)
