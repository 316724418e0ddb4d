"""Clips to describe, and their captions: for training a caption head, and for testing it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from paddlevideo.files.filetype import JSON, describe_file
from paddlevideo.loader.captions.files import kind_of
from paddlevideo.loader.clips.gallery import RegionCount
from paddlevideo.loader.dataset.base import Dataset
from paddlevideo.loader.dataset.msrvtt import MSRVTTDataset
from paddlevideo.loader.dataset.retrieval import RetrievalDataset
from paddlevideo.loader.dataset.youcook2 import YouCook2Dataset
from paddlevideo.loader.selection import MissingIds
from paddlevideo.loader.store import is_store
from paddlevideo.loader.tokenizer import TextLength, load_tokenizer
from paddlevideo.registry import DATASETS, InputPath, NameOrPath, Split
from paddlevideo.utils.ranges import Count, CountOrZero
from paddlevideo.utils.words import split_words


@dataclass(frozen=True)
class CaptionTruth:
    """The references of each clip, and the vocabulary that turns predicted ids into words."""

    references: Sequence[Sequence[str]]
    bert_model: str

    def __len__(self) -> int:
        """Returns the number of clips."""
        return len(self.references)

    def __getitem__(self, clips: slice) -> CaptionTruth:
        """Returns the truth of some clips."""
        return replace(self, references=self.references[clips])

    def captions(self, rows: Iterable[Iterable[int]]) -> list[str]:
        """Returns rows of ids as text."""
        tokenizer = load_tokenizer(self.bert_model)
        return [tokenizer.decode(row) for row in rows]


@DATASETS.register()
class CaptioningDataset(Dataset):
    """Clips to describe, with one or more captions each as references.

    ``file_path`` and the features are those of :class:`MSRVTTDataset`, or YouCook2's annotation
    file and clips named as in :class:`YouCook2Dataset`, whose ``subset`` and ``clip_id`` apply to
    it alone. The content of the file decides. ``split``: as for :class:`MSRVTTDataset`.

    In a test a sample is a clip: ``image_feat`` (R, F), ``image_loc`` (R, 5), ``image_mask`` (R,),
    ``action_feat`` (A, G), ``action_mask`` (A,), the text arrays (2,) of an empty sentence, [CLS]
    [SEP], and ``index``. In training it is a pair of a clip and one of its captions, which adds
    ``target_ids`` (T,) int64: [CLS] caption [SEP], truncated and padded to ``max_seq_length``.
    Padded actions are masked.
    """

    def __init__(  # noqa: PLR0913, PLR0917 - flat, as the other data sets are
        self,
        file_path: InputPath,
        features_path: InputPath,
        subset: Literal["training", "validation", "testing", ""] = "validation",
        clip_id: str = "{video}_{id:02d}",
        bert_model: NameOrPath = "bert-base-uncased",
        max_seq_length: TextLength = 36,
        max_region_num: RegionCount = 36,
        max_action_num: Count = 5,
        vision_feature_dim: Count = 2048,
        action_feature_dim: Count = 2048,
        only: InputPath | None = None,
        exclude: InputPath | None = None,
        captions_per_clip: CountOrZero = 0,
        missing_ids: MissingIds = "error",
        split: Split | None = None,
    ) -> None:
        common: dict[str, Any] = {
            "file_path": file_path,
            "features_path": features_path,
            "bert_model": bert_model,
            "max_seq_length": max_seq_length,
            "max_region_num": max_region_num,
            "max_action_num": max_action_num,
            "vision_feature_dim": vision_feature_dim,
            "action_feature_dim": action_feature_dim,
            "only": only,
            "exclude": exclude,
            "captions_per_clip": captions_per_clip,
            "missing_ids": missing_ids,
        }
        self.source: RetrievalDataset
        if not is_store(file_path) and is_youcook2(str(file_path)):
            self.source = YouCook2Dataset(subset=subset, clip_id=clip_id, **common)
        else:
            self.source = MSRVTTDataset(split=split, **common)
        self.bert_model: str = bert_model
        self.clips = self.source.captioned
        #: The captions of each clip, exact repeats once.
        self.captions: dict[str, list[str]] = {clip: [] for clip in self.clips}
        for clip, caption in dict.fromkeys(self.source.pairs):
            self.captions[clip].append(caption)
        empty = self.source.tokens.encode("")
        self._empty = {key: ids[:2] for key, ids in empty.items()}

    def __len__(self) -> int:
        """Returns the number of clips."""
        return len(self.clips)

    def __getitem__(self, index: int) -> dict[str, Any]:
        """Returns clip ``index`` without its captions. Raises DataError, naming file and clip."""
        return {"index": index, **self.encoder_arrays(self.clips[index])}

    def encoder_arrays(self, clip: str) -> dict[str, np.ndarray]:
        """Returns what the encoder reads: the features of a clip, and the empty sentence."""
        arrays = {key: rows[0] for key, rows in self.source.reader.read([clip]).items()}
        is_real = (arrays["action_feat"] != 0).any(axis=-1)
        return {**arrays, **self._empty, "action_mask": is_real.astype(np.int64)}

    def target_ids(self, caption: str) -> np.ndarray:
        """Returns [CLS] caption [SEP], truncated and padded: (T,) int64."""
        return self.source.tokens.encode(caption)["text_ids"]

    def name_of(self, index: int) -> str:
        """Returns the id of clip ``index``."""
        return self.clips[index]

    def some_captions(self, count: int) -> Iterator[tuple[str, list[str]]]:
        """Yields about ``count`` captions, spread evenly."""
        return self.source.some_captions(count)

    def for_training(self) -> ClipCaptionPairs:
        """Returns the pairs of a clip and a caption."""
        return ClipCaptionPairs(self)

    def extents(self) -> dict[str, Any]:
        """Returns the vocabulary and its number of words."""
        return self.source.extents()

    def truth(self) -> CaptionTruth:
        """Returns the references of each clip."""
        return CaptionTruth([self.captions[clip] for clip in self.clips], self.bert_model)

    def default_metric(self) -> dict[str, Any]:
        """Returns the METRIC section of a captioning test."""
        return {"name": "CaptionMetric"}

    def extraction(self) -> dict[str, Any] | None:
        """Returns the settings with which the features were extracted, if a store says so."""
        return self.source.extraction()

    def describe(self) -> dict[str, Any]:
        """Returns files and counts."""
        described = self.source.describe()
        return {**described, "format": type(self).__name__, "samples": len(self)}


class ClipCaptionPairs(Dataset):
    """Pairs of a clip and a caption, the training samples of :class:`CaptioningDataset`."""

    def __init__(self, source: CaptioningDataset) -> None:
        self.source, self.bert_model = source, source.bert_model
        self.pairs = [(c, text) for c, captions in source.captions.items() for text in captions]

    def __len__(self) -> int:
        """Returns the number of pairs."""
        return len(self.pairs)

    def __getitem__(self, index: int) -> dict[str, Any]:
        """Returns pair ``index``. Raises DataError, naming file and clip."""
        clip, caption = self.pairs[index]
        arrays = self.source.encoder_arrays(clip)
        return {"index": index, **arrays, "target_ids": self.source.target_ids(caption)}

    def name_of(self, index: int) -> str:
        """Returns the clip of pair ``index``."""
        return self.pairs[index][0]

    def lengths(self, indices: np.ndarray) -> np.ndarray:
        """Returns the number of words of each pair's caption."""
        return np.array([len(split_words(self.pairs[index][1])) for index in indices])

    def extents(self) -> dict[str, Any]:
        """Returns the vocabulary and its number of words."""
        return self.source.extents()

    def extraction(self) -> dict[str, Any] | None:
        """Returns the settings with which the features were extracted, if a store says so."""
        return self.source.extraction()

    def describe(self) -> dict[str, Any]:
        """Returns the description of the data set, with pairs as samples."""
        return {**self.source.describe(), "samples": len(self)}


def is_youcook2(path: str) -> bool:
    """Returns whether a file is YouCook2's annotation. Raises DataError for an unknown kind."""
    return describe_file(path) == JSON and kind_of(Path(path))[0] == "YouCook2"
