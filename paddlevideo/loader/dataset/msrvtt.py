"""MSR-VTT, and other data sets of captions by clip."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from paddlevideo.files.filetype import JSON, describe_file
from paddlevideo.loader.captions import read_captions, read_lines
from paddlevideo.loader.clips.gallery import ClipReader, RegionCount
from paddlevideo.loader.dataset.retrieval import (
    GalleryClips,
    Pair,
    RetrievalDataset,
    TokenSettings,
)
from paddlevideo.loader.selection import MissingIds
from paddlevideo.loader.store import is_store
from paddlevideo.loader.store.split import captions_of_split, open_store
from paddlevideo.loader.tokenizer import TextLength
from paddlevideo.registry import DATASETS, InputPath, NameOrPath, Split
from paddlevideo.utils.errors import ConfigError, DataError
from paddlevideo.utils.ranges import Count, CountOrZero


@DATASETS.register()
class MSRVTTDataset(RetrievalDataset):
    """Captions in a file (the samples of a test) and clips in an LMDB or a store (the gallery).

    ``file_path``: lines ``clip id,caption``, ``MSRVTT_JSFUSION_test.csv``, ``MSRVTT_data.json``,
    another file of captions by clip, or a feature store, whose captions are used.
    ``features_path``: PaddleVideo's LMDB, or a feature store.
    ``only`` and ``exclude``: text files of the clips or videos to use or to leave out, such as
    ``MSRVTT_train.9k.csv``; see :func:`paddlevideo.loader.selection.select_clips`.
    ``missing_ids``: "warn" if lines of them may match nothing.
    ``captions_per_clip``: use only the first captions of each clip; 0 uses all.
    ``split``: use the clips of the store ``file_path`` that are for "train", "valid" or "test", see
    :mod:`paddlevideo.loader.store.split`.
    ``gallery``: "all" makes every clip of ``features_path`` a candidate, also those without a
    caption, whatever the other keys select. ``max_region_num`` includes the global region.

    ``data_prefix`` and ``test_mode`` are accepted because PaddleVideo's files have them. Raises
    DataError for an invalid file and for captions whose clip has no features.
    """

    def __init__(  # noqa: PLR0913, PLR0917 - the names of PaddleVideo's files
        self,
        file_path: InputPath,
        features_path: InputPath,
        bert_model: NameOrPath = "bert-base-uncased",
        padding_index: CountOrZero = 0,
        max_seq_length: TextLength = 36,
        max_region_num: RegionCount = 36,
        max_action_num: Count = 5,
        vision_feature_dim: Count = 2048,
        action_feature_dim: Count = 2048,
        spatials_dim: int = 5,
        gallery_batch: Count = 32,
        data_prefix: str | None = None,
        test_mode: bool = False,
        only: InputPath | None = None,
        exclude: InputPath | None = None,
        captions_per_clip: CountOrZero = 0,
        missing_ids: MissingIds = "error",
        split: Split | None = None,
        gallery: GalleryClips = "captioned",
    ):
        if spatials_dim != 5:
            raise ConfigError(f"spatials_dim is {spatials_dim}; a box has 5 numbers")
        super().__init__(
            read_pairs(str(file_path), split),
            str(file_path),
            ClipReader(
                features_path,
                max_region_num,
                max_action_num,
                vision_feature_dim,
                action_feature_dim,
            ),
            TokenSettings(bert_model, max_seq_length, padding_index),
            gallery_batch,
            only,
            exclude,
            captions_per_clip,
            missing_ids,
            gallery,
        )
        self.split = split

    def describe(self) -> dict[str, Any]:
        """Returns files and counts, and the part of the store."""
        return {**super().describe(), **({"split": self.split} if self.split else {})}


def read_pairs(path: str, split: Split | None = None) -> list[Pair]:
    """Returns clip and caption of every line or entry of a file, or of a store's ``split``.

    Raises DataError, and ConfigError for the ``split`` of another file.
    """
    if split or is_store(path):
        return captions_of_split(open_store(path), split)
    if describe_file(path) != JSON:
        return read_captions(path)
    pairs = []
    for line in read_lines(Path(path)):
        if line.is_video:
            raise DataError(
                f"{path}: has timed captions of videos; expected captions of clips. Pack them "
                "into a store with tools/prepare_data.py, and use ActBertDataset"
            )
        if line.text is not None:
            pairs.append((line.name, line.text))
    if not pairs:
        raise DataError(f"{path}: holds no captions")
    return pairs
