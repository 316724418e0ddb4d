"""Captions and the gallery of clips that they are searched in."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from paddlevideo.loader.dataset.base import Dataset
from paddlevideo.loader.legacy import RecordStore, few
from paddlevideo.loader.pipelines.text import pad_ids
from paddlevideo.loader.regions import as_caption, box_vectors
from paddlevideo.loader.selection import select_clips
from paddlevideo.loader.tokenizer import load_tokenizer
from paddlevideo.registry import DATASETS, InputPath
from paddlevideo.utils.errors import ConfigError, DataError


def read_captions(path: str) -> list[tuple[str, str]]:
    """(clip id, caption) of every line of a CSV file, in order.

    Two forms: without a header, ``clip id,caption``, where everything after the first comma
    belongs to the caption; and with a header that names ``video_id`` and ``sentence``. Quotes
    are as usual in CSV, within one line. Raises DataError naming file and line.
    """
    try:
        lines = Path(path).read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as fault:
        raise DataError(f"{path}: cannot be read as UTF-8 text ({fault})") from None
    # Line by line: a stray quote must not swallow the captions after it.
    rows = [
        (number, next(csv.reader([line]))) for number, line in enumerate(lines, 1) if line.strip()
    ]
    clip_column, text_column, is_last = 0, 1, True
    header = [name.strip().lower() for name in rows[0][1]] if rows else []
    if "video_id" in header and "sentence" in header:
        clip_column, text_column = header.index("video_id"), header.index("sentence")
        is_last = text_column == len(header) - 1
        rows = rows[1:]
    if not rows:
        raise DataError(f"{path}: holds no captions")
    captions = []
    for number, row in rows:
        where = f"{path}: line {number}"
        if len(row) <= max(clip_column, text_column):
            raise DataError(f'{where}: "{",".join(row)[:60]}" is not a clip id, a comma, a caption')
        # Commas that nobody quoted belong to the caption where it is the last column.
        text = ",".join(row[text_column:]) if is_last else row[text_column]
        clip = row[clip_column].strip()
        if not clip:
            raise DataError(f"{where}: the clip id is empty")
        captions.append((clip, as_caption(text, f'{where} (clip "{clip}")').strip()))
    return captions


@DATASETS.register()
class MSRVTTDataset(Dataset):
    """Captions of a CSV file (the samples) and clips of an LMDB (the gallery).

    A sample: ``text_ids``, ``token_type_ids``, ``text_mask`` (T,) int64 and ``index``. The gallery,
    ``video_ids``, holds the distinct clips in the order of their first captions. Raises
    DataError on a faulty file and on captions whose clip has no features.

    ``only`` and ``exclude``: text files of the clips or videos to take or to leave out, see
    :func:`paddlevideo.loader.selection.select_clips`.

    ``data_prefix`` and ``test_mode`` are accepted because PaddleVideo's files have them.
    """

    def __init__(  # noqa: PLR0913, PLR0917 - the names of PaddleVideo's files
        self,
        file_path: InputPath,
        features_path: InputPath,
        bert_model: str = "bert-base-uncased",
        padding_index: int = 0,
        max_seq_length: int = 36,
        max_region_num: int = 36,
        max_action_num: int = 5,
        vision_feature_dim: int = 2048,
        action_feature_dim: int = 2048,
        spatials_dim: int = 5,
        gallery_batch: int = 32,
        data_prefix: str | None = None,
        test_mode: bool = False,
        only: InputPath | None = None,
        exclude: InputPath | None = None,
    ):
        if spatials_dim != 5:
            raise ConfigError(f"spatials_dim is {spatials_dim}; a box has 5 numbers")
        if min(max_seq_length - 2, max_region_num - 1, max_action_num, gallery_batch) < 1:
            raise ConfigError(
                "MSRVTTDataset needs max_seq_length >= 3, max_region_num >= 2, max_action_num >= 1 "
                "and gallery_batch >= 1"
            )
        self.file_path, self.bert_model = str(file_path), bert_model
        self.padding_index, self.max_seq_length = padding_index, max_seq_length
        self.max_region_num, self.max_action_num = max_region_num, max_action_num
        self.region_width, self.action_width = vision_feature_dim, action_feature_dim
        self.gallery_batch = gallery_batch
        pairs = read_captions(self.file_path)
        kept = select_clips([clip for clip, _ in pairs], only, exclude, self.file_path)
        self.pairs = [pairs[place] for place in kept]
        self.captions = [caption for _, caption in self.pairs]
        self.video_ids = list(dict.fromkeys(clip for clip, _ in self.pairs))
        self.store = RecordStore(features_path)
        self._check_clips()

    def _check_clips(self) -> None:
        missing = self.store.missing(self.video_ids)
        if missing:
            raise DataError(
                f"{self.file_path}: {len(missing)} of {len(self.video_ids)} clips have no features "
                f"in {self.store.path}: {few(missing)}"
            )

    def __len__(self) -> int:
        """The number of captions."""
        return len(self.captions)

    def __getitem__(self, index: int) -> dict[str, Any]:
        """Caption ``index`` as ids."""
        ids = load_tokenizer(self.bert_model).encode(self.captions[index], self.max_seq_length)
        return {"index": index, **pad_ids(ids, self.max_seq_length, self.padding_index)}

    def name_of(self, index: int) -> str:
        """The clip that caption ``index`` belongs to."""
        return self.pairs[index][0]

    def truth(self) -> np.ndarray:
        """Each caption's clip as its place in the gallery: (captions,) int64."""
        place = {clip: number for number, clip in enumerate(self.video_ids)}
        return np.array([place[clip] for clip, _ in self.pairs], np.int64)

    def context(self) -> Iterator[dict[str, np.ndarray]]:
        """The gallery in batches of ``gallery_batch`` clips, each clip once.

        ``image_feat`` (b, R, F) and ``image_loc`` (b, R, 5) float32, ``image_mask`` (b, R) int64,
        ``action_feat`` (b, A, G) float32, ``action_mask`` (b, A) int64; R counts the global region.
        """
        for first in range(0, len(self.video_ids), self.gallery_batch):
            yield self.clips(self.video_ids[first : first + self.gallery_batch])

    def clips(self, names: list[str]) -> dict[str, np.ndarray]:
        """The arrays of some clips, as :meth:`context` yields them. Raises DataError."""
        count, regions, actions = len(names), self.max_region_num, self.max_action_num
        arrays: dict[str, np.ndarray] = {
            "image_feat": np.zeros((count, regions, self.region_width), np.float32),
            "image_loc": np.zeros((count, regions, 5), np.float32),
            "image_mask": np.zeros((count, regions), np.int64),
            "action_feat": np.zeros((count, actions, self.action_width), np.float32),
            # All ones, also where a clip has fewer actions: published weights were tested so.
            "action_mask": np.ones((count, actions), np.int64),
        }
        for row, name in enumerate(names):
            self._fill({key: array[row] for key, array in arrays.items()}, name)
        return arrays

    def _fill(self, clip: dict[str, np.ndarray], name: str) -> None:
        record = self.store[name]
        features, actions = record["features"], record["action_features"]
        self._check_width(name, "features", features, self.region_width, "vision_feature_dim")
        self._check_width(name, "action_features", actions, self.action_width, "action_feature_dim")
        kept = min(len(features), self.max_region_num - 1)
        clip["image_feat"][0] = features.mean(axis=0)  # of all regions, those cut off included
        clip["image_feat"][1 : kept + 1] = features[:kept]
        clip["image_loc"][0] = (0, 0, 1, 1, 1)
        boxes = record["boxes"][:kept]
        clip["image_loc"][1 : kept + 1] = box_vectors(boxes, record["image_h"], record["image_w"])
        clip["image_mask"][: kept + 1] = 1
        kept_actions = actions[: self.max_action_num]
        clip["action_feat"][: len(kept_actions)] = kept_actions

    def _check_width(self, name: str, key: str, array: np.ndarray, width: int, option: str) -> None:
        if array.shape[1] != width:
            raise DataError(
                f'{self.store.path}: clip "{name}": {key} are {array.shape[1]} wide, where {width} '
                f"belong. Set {option} of MSRVTTDataset and the backbone's to their width"
            )

    def describe(self) -> dict[str, Any]:
        """Files and counts; ``repeated_lines`` counts exact repeats in the CSV file."""
        return {
            **super().describe(),
            "file": self.file_path,
            "features": self.store.path,
            "captions": len(self.captions),
            "videos": len(self.video_ids),
            "repeated_lines": sum(count - 1 for count in Counter(self.pairs).values()),
        }
