"""Writes clips as the files that users of PaddleVideo bring."""

from __future__ import annotations

import json
import pickle
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import lmdb
import numpy as np

from paddlevideo.demo.features import ClipFeatures

LIMIT = 5.0  # standardised values beyond are cut: one odd clip must not outweigh the others


@dataclass
class Clip:
    """A clip's name, its caption (alternatives joined by "!") and its features."""

    name: str
    caption: str
    features: ClipFeatures


@dataclass
class Scale:
    """Mean and deviation of each feature over the training clips."""

    mean: np.ndarray
    deviation: np.ndarray

    @classmethod
    def of(cls, arrays: Sequence[np.ndarray]) -> Scale:
        """The scale of all rows of ``arrays`` (each (n, F)) together."""
        rows = np.concatenate(arrays).astype(np.float64)
        return cls(rows.mean(0), np.maximum(rows.std(0), 1e-3))

    def __call__(self, rows: np.ndarray) -> np.ndarray:
        """``rows`` (n, F) in deviations from the mean, float32."""
        scaled = (rows - self.mean) / self.deviation
        return scaled.clip(-LIMIT, LIMIT).astype(np.float32)


def standardise(splits: dict[str, list[Clip]]) -> None:
    """Scales all features, in place, by the statistics of the split "train"."""
    regions = Scale.of([clip.features.regions for clip in splits["train"]])
    actions = Scale.of([clip.features.actions for clip in splits["train"]])
    for clips in splits.values():
        for clip in clips:
            clip.features.regions = regions(clip.features.regions)
            clip.features.actions = actions(clip.features.actions)


def write_rows(path: Path, clips: Sequence[Clip]) -> None:
    """HowTo100M rows: an object array of tuples of 11 (docs/data.md, HowTo100M rows)."""
    rows = np.empty(len(clips), object)
    for index, clip in enumerate(clips):
        features = clip.features
        rows[index] = (
            features.regions,
            features.classes,
            features.boxes,
            len(features.regions),
            features.height,
            features.width,
            clip.name,
            clip.caption,
            features.actions,
            features.action_classes,
            len(features.actions),
        )
    np.save(path, rows, allow_pickle=True)


def write_caption_list(path: Path, clips: Sequence[Clip]) -> None:
    """The captions that ``RandomCap`` takes its negatives from."""
    path.write_text(json.dumps([clip.caption for clip in clips], indent=0) + "\n", "utf-8")


def write_records(folder: Path, clips: Sequence[Clip]) -> None:
    """An MSR-VTT store: one pickled dict a clip, under the clip's name."""
    records = {clip.name.encode(): pickle.dumps(_record(clip), protocol=4) for clip in clips}
    size = 2 * sum(map(len, records.values())) + len(records) * 8192 + (1 << 20)
    with (
        lmdb.open(str(folder), map_size=size, lock=False) as store,
        store.begin(write=True) as transaction,
    ):
        for key in sorted(records):
            transaction.put(key, records[key])


def _record(clip: Clip) -> dict[str, object]:
    return {
        "video_id": clip.name,
        "image_h": clip.features.height,
        "image_w": clip.features.width,
        "features": clip.features.regions,
        "boxes": clip.features.boxes,
        "action_features": clip.features.actions,
    }


def write_caption_table(path: Path, clips: Sequence[Clip]) -> None:
    """``clip id,caption`` lines without a header; the captions hold no comma."""
    path.write_text("".join(f"{clip.name},{clip.caption}\n" for clip in clips), "utf-8")


def write_all_captions(path: Path, clips: Sequence[Clip]) -> None:
    """The same lines for clips whose captions have alternatives: a line for each of them."""
    lines = (f"{clip.name},{text}\n" for clip in clips for text in clip.caption.split("!"))
    path.write_text("".join(lines), "utf-8")
