"""Clips for pre-training."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from typing import Any

import numpy as np

from paddlevideo.loader.clips.clip import non_blank
from paddlevideo.loader.clips.opening import open_clips
from paddlevideo.loader.clips.rows import RowFile
from paddlevideo.loader.clips.sample import sample_of
from paddlevideo.loader.dataset.base import Dataset
from paddlevideo.loader.dataset.neighbours import narration
from paddlevideo.loader.dataset.retrieval import mean_words
from paddlevideo.loader.selection import MissingIds, select_clips
from paddlevideo.loader.store import FeatureStore
from paddlevideo.loader.store.split import clips_of_split, open_store
from paddlevideo.registry import DATASETS, InputPath, NameOrPath, Share, Split
from paddlevideo.utils.errors import ConfigError, DataError
from paddlevideo.utils.ranges import Count, CountOrZero


@DATASETS.register()
class ActBertDataset(Dataset):
    """Clips with regions, actions and captions: a feature store, or PaddleVideo's ``.npy`` rows.

    A sample has the keys of :func:`paddlevideo.loader.clips.sample.sample_of`, ``bert_model`` and
    ``index``; arrays are float32, classes int64.

    ``neighbours``: for a store with timed narrations, joins a clip's captions with those of at most
    N clips before and after it in its video, up to ``max_words`` words.

    ``bert_model`` names the vocabulary, see :func:`paddlevideo.loader.tokenizer.load_tokenizer`.
    ``only`` and ``exclude``: text files of the clips or videos to use or to leave out, see
    :func:`paddlevideo.loader.selection.select_clips`; ``missing_ids``: whether a line of them that
    matches nothing is an error.
    ``split``: use the clips of a feature store that are for "train", "valid" or "test", see
    :mod:`paddlevideo.loader.store.split`.
    ``share``: (rank, ranks): use the clips in this rank's shards of a feature store, see
    :func:`paddlevideo.loader.store.reader.shards_of`; lists of clips cannot be combined with it.
    ``data_prefix`` and ``test_mode`` are accepted because PaddleVideo's files have them, and
    ignored. Raises DataError.
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
        split: Split | None = None,
        share: Share | None = None,
    ):
        if share and (only or exclude):
            raise ConfigError(
                "DATASET.shards: by_rank cannot be combined with only and exclude, whose lines "
                "would name clips of other ranks. Make a split instead: paddlevideo split"
            )
        share = share and (share[0], share[1])
        self.clips = open_store(file_path, share) if share else open_clips(file_path)
        if not self.clips.has_captions:
            raise DataError(
                f"{file_path}: holds no captions, which pre-training needs. Use MSRVTTDataset "
                "with a caption file, or pack both into a store with tools/prepare_data.py"
            )
        if not len(self.clips):
            raise DataError(f"{file_path}: holds no clips")
        if neighbours and not isinstance(self.clips, FeatureStore):
            raise ConfigError(
                f"ActBertDataset: neighbours={neighbours} needs a feature store, which records the "
                f"videos of clips; {file_path} is not one. Pack it with tools/prepare_data.py"
            )
        self.kept: Sequence[int] | np.ndarray = range(len(self.clips))
        if only or exclude:
            self.kept = select_clips(
                self.clips.ids(), only, exclude, str(self.clips.path), missing_ids
            )
        if split:
            store = open_store(file_path, share)
            self.kept = np.intersect1d(self.kept, clips_of_split(store, split))
            if not len(self.kept):
                raise DataError(f"{file_path}: only={only} and exclude={exclude} leave no clip")
        self.bert_model, self.neighbours, self.max_words = bert_model, neighbours, max_words

    def __len__(self) -> int:
        """Returns the number of clips."""
        return len(self.kept)

    def __getitem__(self, index: int) -> dict[str, Any]:
        """Returns clip ``index``, checked. Raises DataError naming file, row and clip."""
        position = int(self.kept[index])
        clip = self.clips.read(position)
        captions = non_blank(clip.captions)
        if not captions:
            raise DataError(
                f'{self.clips.path}: clip {position} ("{clip.id}"): has no caption, or only '
                "blank ones. Leave the clip out, or give it one"
            )
        if self.neighbours:
            captions = [narration(self.clips, position, self.neighbours, self.max_words)]
        sample = sample_of(clip, captions)
        if isinstance(self.clips, RowFile):
            sample["caption"] = "!".join(captions)  # as in the file, for steps before RandomCap
        return {**sample, "bert_model": self.bert_model, "index": index}

    def request(self, indices: Iterable[int]) -> None:
        """Asks the system to read clips ahead."""
        self.clips.request(int(self.kept[index]) for index in indices)

    def name_of(self, index: int) -> str:
        """Returns the id of clip ``index``."""
        return self.clips.about(int(self.kept[index])).id

    def some_captions(self, count: int) -> Iterator[tuple[str, list[str]]]:
        """Yields the captions of some clips; a damaged clip is reported when it is read."""
        for index in range(0, len(self), max(1, len(self) // count)):
            with suppress(DataError):
                about = self.clips.about(int(self.kept[index]))
                yield about.id, non_blank(about.captions)

    def lengths(self, indices: np.ndarray) -> np.ndarray:
        """Returns the mean number of words of each clip's captions, without its neighbours'."""
        clips = (self.clips.about(int(self.kept[index])) for index in indices)
        return np.array([mean_words(non_blank(about.captions)) for about in clips])

    def extents(self) -> dict[str, Any]:
        """Returns the vocabulary, and the number of classes if known."""
        sizes = self.clips.sizes()
        return {
            "bert_model": self.bert_model,
            "region_target": sizes.region_classes,
            "action_target": sizes.action_classes,
        }

    def extraction(self) -> dict[str, Any] | None:
        """Returns the settings with which the features were extracted, if a store says so."""
        return self.clips.extraction()

    def describe(self) -> dict[str, Any]:
        """Returns file, rows and feature widths."""
        sizes = self.clips.sizes()
        widths = {
            "region": sizes.region,
            "region_classes": sizes.region_classes,
            "action": sizes.action,
        }
        return {**super().describe(), "file": str(self.clips.path), "widths": widths}
