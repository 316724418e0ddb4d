"""Clips for pre-training."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import Any

import numpy as np

from paddlevideo.loader.dataset.base import Dataset
from paddlevideo.loader.dataset.retrieval import mean_words
from paddlevideo.loader.legacy import RowFile
from paddlevideo.loader.selection import MissingIds, select_clips
from paddlevideo.loader.store import StoreRows, is_store
from paddlevideo.registry import DATASETS, InputPath, NameOrPath
from paddlevideo.utils.errors import ConfigError, DataError
from paddlevideo.utils.ranges import Count, CountOrZero


@DATASETS.register()
class ActBertDataset(Dataset):
    """Clips with regions, actions and captions: a feature store, or PaddleVideo's ``.npy`` rows.

    A sample: ``clip``, its id, ``region_feat`` (n, F), ``region_target`` (n, C), ``boxes`` (n, 4)
    in pixels, ``image_h``, ``image_w``, ``action_feat`` (m, G), ``action_target`` (m,),
    ``caption``, ``bert_model`` and ``index``; arrays are float32, classes int64. From a store also
    ``captions``, a list, and no classes where the clip has none.

    ``neighbours``: of a store with narrations by time, join a clip's captions with those of up to
    so many clips before and after it in its video, as long as ``max_words`` words come together.

    ``bert_model`` names the vocabulary, see :func:`paddlevideo.loader.tokenizer.load_tokenizer`.
    ``only`` and ``exclude``: text files of the clips or videos to take or to leave out, see
    :func:`paddlevideo.loader.selection.select_clips`; ``missing_ids``: whether a line of them that
    names nothing is an error.
    ``data_prefix`` and ``test_mode`` are accepted because PaddleVideo's files have them; the
    paths here are complete, and rows are the same in a test. Raises DataError.
    """

    def __init__(  # noqa: PLR0913, PLR0917 - flat, as the other data sets are
        self,
        file_path: InputPath,
        bert_model: NameOrPath = "bert-base-uncased",
        data_prefix: str | None = None,
        test_mode: bool = False,
        only: InputPath | None = None,
        exclude: InputPath | None = None,
        neighbours: CountOrZero = 0,
        max_words: Count = 30,
        missing_ids: MissingIds = "error",
    ):
        self.rows = StoreRows(file_path) if is_store(file_path) else RowFile(file_path)
        self.kept: Sequence[int] | np.ndarray = range(len(self.rows))
        if only or exclude:
            self.kept = select_clips(self.rows.ids, only, exclude, self.rows.path, missing_ids)
        if neighbours and not isinstance(self.rows, StoreRows):
            raise ConfigError(
                f"ActBertDataset: neighbours={neighbours} needs a feature store, which knows the "
                f"videos of clips; {file_path} is none. Pack it with tools/prepare_data.py"
            )
        self.bert_model, self.neighbours, self.max_words = bert_model, neighbours, max_words

    def __len__(self) -> int:
        """The number of clips."""
        return len(self.kept)

    def __getitem__(self, index: int) -> dict[str, Any]:
        """Clip ``index``, checked. Raises DataError naming file, row and clip."""
        place = int(self.kept[index])
        sample = {**self.rows[place], "bert_model": self.bert_model, "index": index}
        if self.neighbours:
            assert isinstance(self.rows, StoreRows)
            text = self.rows.narration(place, self.neighbours, self.max_words)
            sample |= {"caption": text, "captions": [text]}
        return sample

    def name_of(self, index: int) -> str:
        """The id of clip ``index``."""
        return self.rows.name_of(int(self.kept[index]))

    def some_captions(self, count: int) -> Iterator[tuple[str, list[str]]]:
        """The captions of some clips; a damaged clip is told when it is read."""
        for index in range(0, len(self), max(1, len(self) // count)):
            number = int(self.kept[index])
            with suppress(DataError):
                yield self.rows.name_of(number), list(self.rows.captions_of(number))

    def lengths(self, indices: np.ndarray) -> np.ndarray:
        """Words of a caption, on average over the clip's (without its neighbours')."""
        return np.array([mean_words(self.rows.captions_of(int(self.kept[i]))) for i in indices])

    def extents(self) -> dict[str, Any]:
        """The vocabulary, and the classes as far as they are known."""
        return {
            "bert_model": self.bert_model,
            "region_target": self.rows.widths[1],
            "action_target": self.rows.action_classes,
        }

    def describe(self) -> dict[str, Any]:
        """File, rows and feature widths."""
        widths = dict(zip(("region", "region_classes", "action"), self.rows.widths, strict=True))
        return {**super().describe(), "file": self.rows.path, "widths": widths}
