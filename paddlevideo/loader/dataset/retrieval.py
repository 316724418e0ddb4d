"""Captions and their gallery of clips, for retrieval tests and for training."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any, Literal

import numpy as np

from paddlevideo.loader.clips.gallery import ClipBatches, ClipIds, ClipReader
from paddlevideo.loader.clips.sample import sample_of
from paddlevideo.loader.dataset.base import Dataset
from paddlevideo.loader.dataset.clip_ids import ids_in_features
from paddlevideo.loader.pipelines.text import pad_ids
from paddlevideo.loader.selection import MissingIds, select_clips
from paddlevideo.loader.tokenizer import load_tokenizer
from paddlevideo.utils.errors import ConfigError
from paddlevideo.utils.words import split_words

Pair = tuple[str, str]  # clip id, caption
#: The clips of a gallery: those of the captions, or all that have features.
GalleryClips = Literal["captioned", "all"]


class RetrievalDataset(Dataset):
    """Captions (the samples) and clips (the gallery).

    A sample: ``text_ids``, ``token_type_ids``, ``text_mask`` (T,) int64 and ``index``. The gallery,
    ``video_ids``, begins with ``captioned``, the distinct clips in the order of their first
    captions; distractors may follow. In training a sample is a clip with all its captions: see
    :class:`ClipsWithCaptions`.
    """

    def __init__(  # noqa: PLR0913, PLR0917 - flat, as its subclasses are
        self,
        pairs: Sequence[Pair],
        file_path: str,
        reader: ClipReader,
        tokens: TokenSettings,
        gallery_batch: int = 32,
        only: str | None = None,
        exclude: str | None = None,
        captions_per_clip: int = 0,
        missing_ids: MissingIds = "error",
        gallery: GalleryClips = "captioned",
    ):
        """``file_path``: the source of the pairs, for messages.

        ``captions_per_clip``: use only the first captions of each clip; 0 uses all.

        ``only`` and ``exclude``: text files of the clips or videos to use or to leave out, see
        :func:`paddlevideo.loader.selection.select_clips`.

        ``gallery``: "captioned" for the clips of the captions, "all" for every clip of the
        features. Raises DataError for captions whose clip has no features.
        """
        if gallery_batch < 1 or captions_per_clip < 0:
            raise ConfigError(
                f"{type(self).__name__}: gallery_batch must be at least 1, "
                "captions_per_clip at least 0"
            )
        self.file_path, self.reader, self.tokens = file_path, reader, tokens
        self.gallery_batch, self.bert_model = gallery_batch, tokens.bert_model
        clips = [clip for clip, _ in pairs]
        kept = select_clips(clips, only, exclude, file_path, missing_ids)
        named = self._with_ids([pairs[index] for index in kept])
        self.pairs = first_captions(named, captions_per_clip)
        self.captions = [caption for _, caption in self.pairs]
        self.captioned = list(dict.fromkeys(clip for clip, _ in self.pairs))
        self.video_ids: Sequence[str] = self.captioned
        if gallery == "all":
            self.video_ids = ClipIds(reader.source, self._with_distractors())

    def _with_distractors(self) -> np.ndarray:
        """Returns the indices (V,) int64 of the captioned clips and then of all others."""
        source = self.reader.source
        found = (source.find(clip) for clip in self.captioned)
        first = np.array([index for index in found if index is not None], np.int64)
        is_distractor = np.ones(len(source), bool)
        is_distractor[first] = False
        return np.concatenate([first, np.flatnonzero(is_distractor)])

    def _with_ids(self, pairs: list[Pair]) -> list[Pair]:
        """Returns the pairs with the clips' ids in the features in place of other names."""
        clips = (clip for clip, _ in pairs)
        ids = ids_in_features(clips, self.reader.source, self.file_path, pairs)
        return [(ids[clip], caption) for clip, caption in pairs]

    def __len__(self) -> int:
        """Returns the number of captions."""
        return len(self.captions)

    def __getitem__(self, index: int) -> dict[str, Any]:
        """Returns caption ``index`` as ids."""
        return {"index": index, **self.tokens.encode(self.captions[index])}

    def name_of(self, index: int) -> str:
        """Returns the clip that caption ``index`` belongs to."""
        return self.pairs[index][0]

    def some_captions(self, count: int) -> Iterator[tuple[str, list[str]]]:
        """Yields about ``count`` captions, spread evenly."""
        for clip, caption in self.pairs[:: max(1, len(self.pairs) // count)]:
            yield clip, [caption]

    def for_training(self) -> ClipsWithCaptions:
        """Returns the clips, each with its captions."""
        return ClipsWithCaptions(self)

    def extents(self) -> dict[str, Any]:
        """Returns the vocabulary and its number of words."""
        name = self.tokens.bert_model
        return {"bert_model": name, "text_ids": load_tokenizer(name).vocabulary_size}

    def truth(self) -> np.ndarray:
        """Returns the position of each caption's clip in the gallery: (captions,) int64."""
        position = {clip: index for index, clip in enumerate(self.captioned)}
        return np.array([position[clip] for clip, _ in self.pairs], np.int64)

    def default_metric(self) -> dict[str, Any]:
        """Returns the METRIC section of a retrieval test."""
        return {"name": "MSRVTTMetric"}

    def context(self) -> ClipBatches:
        """Returns the gallery in batches of ``gallery_batch`` clips, each clip once."""
        ids = self.video_ids
        clips = ids.indices if isinstance(ids, ClipIds) else ids
        return ClipBatches(self.reader, clips, self.gallery_batch, "gallery")

    def extraction(self) -> dict[str, Any] | None:
        """Returns the settings with which the features were extracted, if a store says so."""
        return self.reader.source.extraction()

    def describe(self) -> dict[str, Any]:
        """Returns files and counts; ``repeated_lines`` counts exact repeats in the file."""
        return {
            **super().describe(),
            "file": self.file_path,
            "features": str(self.reader.source.path),
            "captions": len(self.captions),
            "videos": len(self.video_ids),
            **self._described_distractors(),
            "repeated_lines": sum(count - 1 for count in Counter(self.pairs).values()),
        }

    def _described_distractors(self) -> dict[str, int]:
        """Returns the number of distractors, if the gallery may have any."""
        if not isinstance(self.video_ids, ClipIds):
            return {}
        return {"distractors": len(self.video_ids) - len(self.captioned)}


def first_captions(pairs: list[Pair], count: int) -> list[Pair]:
    """Returns the first ``count`` captions of each clip, in order; all for 0."""
    if not count:
        return pairs
    taken: Counter[str] = Counter()
    kept = []
    for clip, caption in pairs:
        taken[clip] += 1
        if taken[clip] <= count:
            kept.append((clip, caption))
    return kept


class TokenSettings:
    """Converts captions to ids: the vocabulary, and the length to truncate and pad to."""

    def __init__(self, bert_model: str, length: int, padding_index: int) -> None:
        if length < 3:
            raise ConfigError("max_seq_length must be at least 3: [CLS], a word, [SEP]")
        self.bert_model, self.length, self.padding_index = bert_model, length, padding_index

    def encode(self, caption: str) -> dict[str, np.ndarray]:
        """Returns ``text_ids``, ``token_type_ids`` and ``text_mask`` (T,) int64."""
        ids = load_tokenizer(self.bert_model).encode(caption, self.length)
        return pad_ids(ids, self.length, self.padding_index)


class ClipsWithCaptions(Dataset):
    """Clips of a retrieval data set as training samples, like those of :class:`ActBertDataset`.

    A sample: ``region_feat`` (n, F), ``boxes`` (n, 4), ``image_h``, ``image_w``, ``action_feat``
    (m, G), ``captions``, of which ``RandomCap`` chooses one, ``caption``, the first, ``bert_model``
    and ``index``. There are no classes, so only words can be masked.
    """

    def __init__(self, source: RetrievalDataset) -> None:
        self.source, self.clips = source, source.captioned
        self.captions: dict[str, list[str]] = {clip: [] for clip in self.clips}
        for clip, caption in dict.fromkeys(source.pairs):  # exact repeats once
            self.captions[clip].append(caption)

    def __len__(self) -> int:
        """Returns the number of clips."""
        return len(self.clips)

    def __getitem__(self, index: int) -> dict[str, Any]:
        """Returns clip ``index`` with its captions. Raises DataError, naming file and clip."""
        name = self.clips[index]
        clip = self.source.reader.clip(name)
        # Only some clips may have classes, but a batch needs equal keys.
        plain = replace(clip, action_classes=None, region_classes=None, distributions=None)
        more = {"bert_model": self.source.tokens.bert_model, "index": index}
        return {**sample_of(plain, self.captions[name]), **more}

    def request(self, indices: Iterable[int]) -> None:
        """Asks the system to read clips ahead."""
        self.source.reader.source.request_named(self.clips[index] for index in indices)

    def name_of(self, index: int) -> str:
        """Returns the id of clip ``index``."""
        return self.clips[index]

    def extents(self) -> dict[str, Any]:
        """Returns the vocabulary; the step that uses it adds its number of words."""
        return {"bert_model": self.source.tokens.bert_model}

    def lengths(self, indices: np.ndarray) -> np.ndarray:
        """Returns the mean number of words of each clip's captions."""
        return np.array([mean_words(self.captions[self.clips[index]]) for index in indices])

    def extraction(self) -> dict[str, Any] | None:
        """Returns the settings with which the features were extracted, if a store says so."""
        return self.source.extraction()

    def describe(self) -> dict[str, Any]:
        """Returns the description of the retrieval data set, with clips as samples."""
        return {**self.source.describe(), "samples": len(self)}


def mean_words(captions: Sequence[str]) -> float:
    """Returns the mean number of words of the captions; 0 if there are none."""
    return sum(len(split_words(text)) for text in captions) / max(len(captions), 1)
