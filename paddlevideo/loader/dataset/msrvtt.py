"""Captions and the gallery of clips that they are searched in."""

from __future__ import annotations

import csv
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

from paddlevideo.loader.clips import ClipBatches, ClipReader
from paddlevideo.loader.dataset.base import Dataset
from paddlevideo.loader.legacy import few
from paddlevideo.loader.pipelines.text import pad_ids
from paddlevideo.loader.regions import as_caption
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
        self.gallery_batch = gallery_batch
        pairs = read_captions(self.file_path)
        kept = select_clips([clip for clip, _ in pairs], only, exclude, self.file_path)
        self.pairs = [pairs[place] for place in kept]
        self.captions = [caption for _, caption in self.pairs]
        self.video_ids = list(dict.fromkeys(clip for clip, _ in self.pairs))
        self.reader = ClipReader(
            features_path, max_region_num, max_action_num, vision_feature_dim, action_feature_dim
        )
        self._check_clips()

    def _check_clips(self) -> None:
        store = self.reader.store
        missing = store.missing(self.video_ids)
        if missing:
            raise DataError(
                f"{self.file_path}: {len(missing)} of {len(self.video_ids)} clips have no features "
                f"in {store.path}: {few(missing)}"
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

    def context(self) -> ClipBatches:
        """The gallery in batches of ``gallery_batch`` clips, each clip once."""
        return ClipBatches(self.reader, self.video_ids, self.gallery_batch)

    def describe(self) -> dict[str, Any]:
        """Files and counts; ``repeated_lines`` counts exact repeats in the CSV file."""
        return {
            **super().describe(),
            "file": self.file_path,
            "features": self.reader.store.path,
            "captions": len(self.captions),
            "videos": len(self.video_ids),
            "repeated_lines": sum(count - 1 for count in Counter(self.pairs).values()),
        }
